"""What `aigc plugins new` writes is a whole backend of its kind, and what stands in the way is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Run, Site

from aigc_core import __version__
from aigc_core import registry as registry_module
from aigc_core.plugins.scaffold import write
from aigc_core.testing.kit import cases, outcomes

FAMILIES = ("image", "text", "audio")


def put(site: Site, folder: Path, name: str) -> None:
    """Puts a written backend on the path, as an installer would."""
    module = f"aigc_{name.replace('-', '_')}"
    (folder / module).rename(site.path / module)
    info = site.path / f"{module}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: aigc-{name}\nVersion: 0.1.0\nRequires-Dist: aigc-core<0.2,>=0.1\n"
    )
    (info / "entry_points.txt").write_text(f"[aigc.v1]\n{name} = {module}\n")
    registry_module.discovered.cache_clear()


@pytest.fixture
def forget(site: Site) -> object:
    """Modules of written backends are forgotten after the test."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("aigc_my_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "family", [f if f == "image" else pytest.param(f, marks=pytest.mark.long) for f in FAMILIES]
)
def test_what_is_written_passes_the_whole_kit(family: str, site: Site, tmp_path: Path, forget: None) -> None:
    name = f"my-{family}"
    write(name, family, tmp_path / name)
    put(site, tmp_path / name, name)
    found = list(outcomes(cases(name, tmp_path / "bench")))
    assert len(found) >= 25
    assert [(o.name, o.problem) for o in found if not o.ok] == []


def test_the_backend_in_one_file_of_the_docs_passes_too(site: Site, tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[1] / "docs" / "examples" / "tiny" / "aigc_tiny.py"
    module = site.add("tiny", "")
    (site.path / f"{module}.py").unlink()
    (site.path / "aigc_tiny-1.0.dist-info" / "entry_points.txt").write_text("[aigc.v1]\ntiny = aigc_tiny\n")
    shutil.copy(example, site.path)
    found = list(outcomes(cases("tiny", tmp_path / "bench")))
    assert len(found) >= 25
    assert [(o.name, o.problem) for o in found if not o.ok] == []
    del sys.modules["aigc_tiny"]


@pytest.mark.long
def test_what_is_written_is_typed_and_tidy(tmp_path: Path) -> None:
    rules = ["--isolated", "--select", "E,F,B,UP,SIM", "--line-length", "110", "--no-cache"]
    for family in FAMILIES:
        write(f"my-{family}", family, tmp_path / f"my-{family}")
        for command in (["ruff", "check", *rules], ["mypy", "--strict", "--follow-imports=silent"]):
            done = subprocess.run(
                [sys.executable, "-m", *command, f"aigc_my_{family}"], cwd=tmp_path / f"my-{family}",
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout


def test_nothing_of_the_template_is_left_in_it(tmp_path: Path) -> None:
    for family in FAMILIES:
        files = write("some-thing", family, tmp_path / family)
        assert Path(".github/workflows/check.yml") in files
        for file in files:
            assert "template" not in str(file).lower()
            assert "template" not in (tmp_path / family / file).read_text().lower()
    text = (tmp_path / "image" / "pyproject.toml").read_text()
    assert 'name = "aigc-some-thing"' in text
    assert 'some-thing = "aigc_some_thing"' in text
    assert "class SomeThingGenerator" in (tmp_path / "image" / "aigc_some_thing" / "network.py").read_text()
    low, high = text.partition("aigc-core>=")[2].partition('"')[0].split(",<")
    versions = [tuple(map(int, version.split(".")[:2])) for version in (low, __version__, high)]
    assert versions[0] <= versions[1] < versions[2]


@pytest.mark.parametrize(
    "name", ["Gan", "9lives", "a b", "a--b", "-a", "a/b", "core", "class", "é", "", "x" * 41]
)
def test_a_name_that_cannot_be_one_is_refused(name: str, aigc: Run, tmp_path: Path) -> None:
    result = aigc("plugins", "new", "--out", tmp_path / "x", "--", name)
    assert result.code == 2
    assert not (tmp_path / "x").exists()


def test_a_name_or_a_folder_that_is_taken_is_refused(aigc: Run, tmp_path: Path) -> None:
    assert "there is a backend 'gan' already (aigc-gan)" in aigc("plugins", "new", "gan").error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "is there already" in aigc("plugins", "new", "new", "--out", tmp_path / "full").error
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert aigc("plugins", "new", "new", "--out", tmp_path / "empty").code == 0
    below = aigc("plugins", "new", "new", "--out", tmp_path / "full" / "mine" / "new")
    assert below.code == 8
    assert not list(tmp_path.glob(".*"))


def test_pytest_runs_the_kit_and_shows_what_fails(site: Site, tmp_path: Path, forget: None) -> None:
    write("my-image", "image", tmp_path / "my-image")
    put(site, tmp_path / "my-image", "my-image")
    sampling = site.path / "aigc_my_image" / "sampling.py"
    text = sampling.read_text()
    assert text.count("block.randn(generator.latent)") == 1
    spoilt = "__import__('torch').randn(block.size, generator.latent)"
    sampling.write_text(text.replace("block.randn(generator.latent)", spoilt))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--aigc-backend", "my-image"]
    done = subprocess.run(
        [*command, "-k", "sample-independent or moves or names"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert "draw from the block alone" in done.stdout
    unknown = subprocess.run([*command[:-1], "my-imago"], cwd=tmp_path, capture_output=True, text=True)
    assert unknown.returncode == 4
    assert "did you mean 'my-image'" in unknown.stderr + unknown.stdout


def test_check_can_be_confined_and_explained(aigc: Run, process: Run) -> None:
    explained = aigc("plugins", "check", "gan", "--explain").out
    assert "resumes (trainer): Stopped after three steps" in explained
    only = process(
        "plugins", "check", "gan", "--only", "names", "--only", "params", "--only", "gan/mlp", "--json"
    )
    assert only.code == 0, only.err
    assert [row["check"] for row in json.loads(only.out)] == ["params gan/mlp"]
    assert "did you mean 'resumes'" in process("plugins", "check", "gan", "--only", "resume").error
    assert process("plugins", "check", "gna").code == 3
