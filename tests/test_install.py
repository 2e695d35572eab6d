"""Wheels in environments of their own. Slow, but for building and reading the wheels."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three wheels, built from copies of the sources as they are, in a folder with a space in its name."""
    out = tmp_path_factory.mktemp("built wheels")
    for project in (ROOT, ROOT / "plugins" / "gan", ROOT / "plugins" / "vae"):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, project],
            check=True, capture_output=True,
        )  # fmt: skip
    return out


def run(command: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["AIGC_HOME"] = str(cwd / "home")
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )


def test_each_distribution_is_a_wheel_of_its_own(wheels: Path) -> None:
    contents = {}
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            contents[wheel.name.partition("-")[0]] = set(archive.namelist())
    assert set(contents) == {"aigc_core", "aigc_gan", "aigc_vae"}
    assert {"aigc_core/registry.toml", "aigc_core/cli/root.py"} <= contents["aigc_core"]
    for name, files in contents.items():
        assert not [f for f in files if f.startswith("tests/") or ("/tests/" in f and "/templates/" not in f)]
        assert all(f.startswith((name + "/", name + "-")) for f in files)
    assert "aigc_gan/dcgan.py" in contents["aigc_gan"]


def light_environment(folder: Path, wheels: Path, *names: str) -> Path:
    """A venv with wheels of ours and, by a path file, the libraries of this environment without our packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run([python, "-c", "import site; print(site.getsitepackages()[0])"], folder).stdout.strip())
    libraries = folder / "libraries"
    libraries.mkdir()
    import click

    for entry in Path(click.__file__).resolve().parents[1].iterdir():
        if not entry.name.lower().startswith(("aigc", "_aigc", "__editable__")) and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    for name in names:
        with zipfile.ZipFile(next(wheels.glob(f"{name}-*.whl"))) as archive:
            archive.extractall(site)
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return python


def test_the_core_alone_says_what_to_install(wheels: Path, tmp_path: Path) -> None:
    python = light_environment(tmp_path / "alone env", wheels, "aigc_core")
    listed = run([python, "-m", "aigc_core", "models"], tmp_path)
    assert listed.returncode == 0
    assert listed.stdout == ""
    assert listed.stderr == (
        "aigc: no backend is installed, so there are no models; install the known ones: "
        "aigc plugins install gan diffusion vae text audio\n"
    )
    wanted = run([python, "-m", "aigc_core", "train", "gan/dcgan", "--data", "digits"], tmp_path)
    assert wanted.returncode == 4
    assert "install it: aigc plugins install gan" in wanted.stderr


@pytest.mark.long
def test_one_backend_beside_the_core_works_from_wheels(wheels: Path, tmp_path: Path) -> None:
    python = light_environment(tmp_path / "with vae", wheels, "aigc_core", "aigc_vae")
    assert "vae/conv" in run([python, "-m", "aigc_core", "models"], tmp_path).stdout
    train = ["train", "vae/mlp", "--data", "digits", "--steps", "2", "--name", "w"]
    done = run([python, "-m", "aigc_core", *train], tmp_path)
    assert done.returncode == 0, done.stderr
    sample = run([python, "-m", "aigc_core", "sample", "w", "--out", "x.png"], tmp_path)
    assert sample.returncode == 0, sample.stderr
    assert (tmp_path / "x.png").is_file()
    assert "not installed" in run([python, "-m", "aigc_core", "models", "--all"], tmp_path).stdout


@pytest.mark.slow
def test_plain_pip_installs_wheels_and_folders_into_an_empty_environment(
    wheels: Path, tmp_path: Path
) -> None:
    """The real thing: every dependency is fetched; takes minutes and gigabytes."""
    venv.create(tmp_path / "env", with_pip=True)
    pip, aigc = tmp_path / "env" / "bin" / "pip", tmp_path / "env" / "bin" / "aigc"
    constraints = ["-c", ROOT / "constraints.txt"]
    core = run([pip, "install", "-q", *constraints, next(wheels.glob("aigc_core-*.whl"))], tmp_path)
    assert core.returncode == 0, core.stderr
    assert "no backend is installed" in run([aigc, "models"], tmp_path).stderr
    for target in (next(wheels.glob("aigc_gan-*.whl")), ROOT / "plugins" / "vae"):
        done = run([pip, "install", "-q", *constraints, target], tmp_path)
        assert done.returncode == 0, done.stderr
    listed = run([aigc, "models"], tmp_path)
    assert "gan/dcgan" in listed.stdout
    assert "vae/conv" in listed.stdout
    demo = run([aigc, "demo"], tmp_path)
    assert demo.returncode == 0, demo.stderr
    assert (tmp_path / "aigc-demo.png").is_file()
