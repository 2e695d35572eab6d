"""Backends come and go, in real environments, from real wheels; what does not work leaves no trace."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import sys
import time
import zipfile
from pathlib import Path

import pytest
from helpers import good_backend
from hostile import whole
from wheels import ROOT, UV, Environment, build, environment, running, wheel

from aigc_core.plugins.changes import changes_of_pip, changes_of_uv

pytestmark = pytest.mark.skipif(UV is None, reason="needs uv: pip install uv")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core's wheel and the GAN's, side by side."""
    folder = tmp_path_factory.mktemp("dist")
    for project in (ROOT, ROOT / "plugins" / "gan"):
        build(project, folder)
    return folder


@pytest.fixture(scope="module")
def core(wheels: Path) -> Path:
    return next(wheels.glob("aigc_core-*.whl"))


@pytest.fixture(scope="module")
def gan(wheels: Path) -> Path:
    return next(wheels.glob("aigc_gan-*.whl"))


@pytest.fixture(scope="module")
def env(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the core's wheel alone; each test leaves it as it was."""
    return environment(tmp_path_factory.mktemp("environment") / "with a space", core)


@pytest.mark.long
def test_from_the_cores_wheel_alone_a_backend_comes_works_and_goes(env: Environment, tmp_path: Path) -> None:
    """The wheels lie side by side, as in an index: the catalogue's name finds the GAN's beside the core's."""
    before = env.freeze()
    searched = json.loads(env.aigc("plugins", "search", "gan", "--json").out)
    assert [(row["name"], row["installed"], row["models"]["gan/dcgan"]["license"]) for row in searched] == [
        ("gan", False, "MIT")
    ]
    assert "aigc plugins install gan" in env.aigc("models", "list", "--all").out
    plan = env.aigc("plugins", "install", "gan", "--dry-run")
    assert plan.code == 0, plan.err
    assert "install --python" in plan.out
    assert "aigc-gan 0.1.0" in plan.out
    assert env.freeze() == before
    done = env.aigc("plugins", "install", "gan")
    assert done.code == 0, done.err
    assert "installed aigc-gan 0.1.0 (backend gan)" in done.out
    assert "gan/dcgan" in env.aigc("models").out
    again = env.aigc("plugins", "install", "gan")
    assert again.code == 0, again.err
    train = env.aigc("train", "gan/dcgan", "--data", "digits", "--steps", "2", "--name", "w")
    assert train.code == 0, train.err
    assert env.aigc("sample", "w", "--out", tmp_path / "w.png").code == 0
    gone = env.aigc("plugins", "uninstall", "gan")
    assert gone.code == 0, gone.err
    assert "w@1" in gone.out
    assert "back    aigc plugins install gan" in gone.out
    assert env.freeze() == before
    assert "w@1" in env.aigc("weights").out
    wanted = env.aigc("sample", "w", "--out", tmp_path / "x.png")
    assert wanted.code == 4
    assert "aigc plugins install gan" in wanted.error


@pytest.mark.long
def test_a_new_backend_is_written_installed_checked_and_used(env: Environment, tmp_path: Path) -> None:
    before = env.freeze()
    assert env.aigc("plugins", "new", "demo", cwd=tmp_path).code == 0
    assert env.aigc("plugins", "install", "./demo", cwd=tmp_path).code == 0
    checked = env.aigc("plugins", "check", "demo", cwd=tmp_path)
    assert checked.code == 0, checked.out
    assert "checks passed" in checked.out
    train = env.aigc("train", "demo/small", "--data", "digits", "--steps", "20", "--name", "d", cwd=tmp_path)
    assert train.code == 0, train.err
    assert env.aigc("sample", "d", "--out", "d.png", cwd=tmp_path).code == 0
    changed = tmp_path / "demo" / "aigc_demo" / "network.py"
    changed.write_text(changed.read_text().replace("nn.SiLU()", "nn.Mish()"))
    assert env.aigc("plugins", "install", "./demo", cwd=tmp_path).code == 0, "a changed folder is built anew"
    assert "nn.Mish()" in (env.site / "aigc_demo" / "network.py").read_text()
    assert env.aigc("plugins", "uninstall", "demo").code == 0
    assert env.freeze() == before


@pytest.mark.long
def test_what_was_lost_is_restored_and_what_was_removed_is_not(
    env: Environment, gan: Path, tmp_path: Path
) -> None:
    before = env.freeze()
    good, gone = (wheel(tmp_path, name, whole(name)) for name in ("good", "gone"))
    assert "nothing" in env.aigc("plugins", "restore").err
    installed = env.aigc("plugins", "install", gan, good, gone)
    assert installed.code == 0, installed.err
    assert installed.out.count("installed aigc-") == 3
    assert env.aigc("plugins", "uninstall", "gone").code == 0
    env.uv("uninstall", "--quiet", "aigc-gan")  # as when the tool's environment is built anew
    assert "gan/dcgan" not in env.aigc("models").out
    env.uv("uninstall", "--quiet", "aigc-good")
    good.unlink()
    restored = env.aigc("plugins", "restore")
    assert restored.code == 3, restored.err
    assert "not restored: aigc-good" in restored.err.splitlines()[-1]
    assert "gan/dcgan" in env.aigc("models").out
    assert "gone" not in env.freeze()
    env.aigc("plugins", "uninstall", "gan")
    assert env.freeze() == before


@pytest.mark.long
def test_an_upgrade_that_does_not_work_leaves_the_version_that_does(env: Environment, tmp_path: Path) -> None:
    before = env.freeze()
    project = tmp_path / "up"
    assert env.aigc("plugins", "new", "up", cwd=tmp_path).code == 0
    assert env.aigc("plugins", "install", "./up", cwd=tmp_path).code == 0
    tree = env.tree()

    def release(version: str, break_it: bool) -> None:
        file = project / "pyproject.toml"
        number = file.read_text().partition('\nversion = "')[2].partition('"')[0]
        file.write_text(file.read_text().replace(f'version = "{number}"', f'version = "{version}"'))
        network = project / "aigc_up" / "network.py"
        fine, broken = "return Output(", "return Output(1 / 0, "
        text = network.read_text()
        network.write_text(text.replace(fine, broken) if break_it else text.replace(broken, fine))

    release("0.2.0", True)
    failed = env.aigc("plugins", "upgrade", "up")
    assert failed.code == 4
    assert "not installed, since it does not work" in failed.err
    assert "network.py" in failed.err
    assert env.tree() == tree
    release("0.3.0", False)
    upgraded = env.aigc("plugins", "upgrade")
    assert upgraded.code == 0, upgraded.err
    assert "installed aigc-up 0.3.0" in upgraded.out
    env.aigc("plugins", "uninstall", "up")
    assert env.freeze() == before


def test_a_change_of_torch_is_made_only_if_the_user_says_yes(env: Environment, tmp_path: Path) -> None:
    """A stand-in for an older torch: a wheel of that name in a folder that the backend's requirement finds."""
    before = env.freeze()
    current = next(line.partition("==")[2] for line in before.splitlines() if line.startswith("torch=="))
    older = tmp_path / f"torch-{current.split('+')[0]}.post1-py3-none-any.whl"
    version = older.name.split("-")[1]
    plain = wheel(tmp_path / "made", "torch", {"nothing.py": ""}, requires=(), group="", version=version)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(b"aigc-torch", b"torch").replace(b"aigc_torch", b"torch")
            target.writestr(name.replace("aigc_torch", "torch"), content)
    greedy = wheel(
        tmp_path, "greedy", {"aigc_greedy.py": good_backend("greedy", "a")},
        requires=("aigc-core>=0.1,<0.2", f"torch @ {older.as_uri()}"),
    )  # fmt: skip
    shown = env.aigc("plugins", "install", greedy, "--dry-run")
    assert shown.code == 0, shown.err
    assert f"torch {current} -> " in shown.out
    refused = env.aigc("plugins", "install", greedy)
    assert refused.code == 2, refused.err
    assert "it would change what other backends stand on: torch" in refused.err
    assert "--yes" in refused.err
    assert env.freeze() == before


SHIM = """#!{python}
import os, signal, subprocess, sys
arguments = sys.argv[1:]
code = subprocess.run([{uv!r}, *arguments]).returncode
if arguments[1] == {verb!r} and "--dry-run" not in arguments and "--target" not in arguments:
    for path in {spoil!r}:
        os.path.exists(path) and os.remove(path)
    os.kill(os.getppid(), signal.SIGKILL)
sys.exit(code)
"""


def shim(folder: Path, verb: str, spoil: list[Path]) -> str:
    """A PATH with an installer that kills aigc when its change is made, having lost some files of it."""
    folder.mkdir()
    script = folder / "uv"
    script.write_text(SHIM.format(python=sys.executable, uv=UV, verb=verb, spoil=[str(p) for p in spoil]))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_an_install_killed_half_way_is_undone(env: Environment, gan: Path, tmp_path: Path) -> None:
    before, tree = env.freeze(), env.tree()
    lost = [env.site / "aigc_gan" / "dcgan.py", env.site / "aigc_gan-0.1.0.dist-info" / "RECORD"]
    path = shim(tmp_path / "bin", "install", lost)
    killed = env.aigc("plugins", "install", gan, PATH=path)
    assert killed.code == -signal.SIGKILL
    assert env.tree() != tree
    listed = env.aigc("plugins", "list")
    assert "an install or removal of aigc-gan had been killed half-way; it is undone now" in listed.err
    assert env.tree() == tree
    assert env.freeze() == before


def test_an_upgrade_or_removal_killed_half_way_is_undone(env: Environment, gan: Path, tmp_path: Path) -> None:
    before = env.freeze()
    assert env.aigc("plugins", "install", gan).code == 0
    tree = env.tree()
    assert (
        env.aigc("plugins", "uninstall", "gan", PATH=shim(tmp_path / "a", "uninstall", [])).code
        == -signal.SIGKILL
    )
    assert env.tree() != tree
    assert "undone" in env.aigc("plugins").err
    assert env.tree() == tree
    path = shim(tmp_path / "b", "install", [env.site / "aigc_gan" / "mlp.py"])
    assert env.aigc("plugins", "install", gan, PATH=path).code == -signal.SIGKILL
    assert env.tree() != tree
    assert "undone" in env.aigc("plugins", "uninstall", "gan").err
    assert env.freeze() == before


def test_killed_at_any_moment_it_leaves_the_environment_as_it_was(env: Environment, tmp_path: Path) -> None:
    before, tree = env.freeze(), env.tree()
    bad = wheel(
        tmp_path, "late", {"aigc_late.py": "import time; time.sleep(4)\n" + good_backend("late", "a")}
    )
    for seconds in (0.3, 0.8, 1.4, 2.2, 3.5):
        with running(env, "plugins", "install", bad) as process:
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
        assert env.freeze() == before, f"killed after {seconds} s"
        assert env.tree() == tree, f"killed after {seconds} s"
    assert env.aigc("plugins", "list").code == 0
    left = [p for p in (env.home / "plugins").rglob("*") if "stage" in p.parts]
    assert env.aigc("plugins", "install", "no-such-backend").code == 3
    assert not left or env.aigc("plugins", "restore").code == 0


def test_two_installs_at_once_do_not_meet(env: Environment, tmp_path: Path) -> None:
    slow = wheel(
        tmp_path, "late", {"aigc_late.py": "import time; time.sleep(3)\n" + good_backend("late", "a")}
    )
    with running(env, "plugins", "install", slow) as process:
        time.sleep(1.5)
        second = env.aigc("plugins", "install", slow)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    assert second.code == 2
    assert "another `aigc plugins` command is changing this environment" in second.err


def test_a_catalogue_of_ones_own_comes_first_and_its_wheel_must_be_what_it_says(
    env: Environment, gan: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256(gan.read_bytes()).hexdigest()
    file = tmp_path / "mine.toml"

    def catalogue(sha256: str) -> Path:
        file.write_text(
            f'format = 1\n[backends.gan]\ndistribution = "aigc-gan"\nsummary = "My own"\n'
            f'wheel = "{os.path.relpath(gan, tmp_path)}"\nsha256 = "{sha256}"\n'
        )
        return file

    refused = env.aigc("plugins", "install", "gan", "--registry", catalogue("0" * 64))
    assert refused.code == 5
    assert "its sha256 is" in refused.error
    found = json.loads(env.aigc("plugins", "search", "--registry", catalogue(digest), "--json").out)
    assert {"gan": "My own"}.items() <= {row["name"]: row["summary"] for row in found}.items()
    shown = env.aigc("plugins", "install", "gan", "--registry", file, "--dry-run")
    assert shown.code == 0, shown.err
    assert str(gan) in shown.out
    env.home.mkdir(exist_ok=True)
    (env.home / "registry.toml").write_text(catalogue(digest).read_text().replace("My own", "In my home"))
    assert "In my home" in env.aigc("plugins", "search").out
    (env.home / "registry.toml").write_text("format = 2")
    broken = env.aigc("plugins", "search")
    assert broken.code == 5
    assert "registry.toml: not a catalogue of format 1" in broken.error
    (env.home / "registry.toml").unlink()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gna"], 3, "did you mean 'gan'"),
        (["./nowhere"], 3, "no file or folder"),
        (["{tmp}"], 2, "without a pyproject.toml"),
        (["{tmp}/notes.txt"], 2, "not a wheel"),
        (["{tmp}/torn-1.0-py3-none-any.whl"], 5, "not a whole wheel"),
        (["gan==0.0.0"], 4, "aigc-gan==0.0.0"),
        (["no-such-distribution-of-aigc==9.9"], 4, "can't be installed here"),
        (["gan", "--registry", "{tmp}/none.toml"], 3, "no catalogue"),
        (["{tmp}/notes.txt", "-e"], 2, "only a folder"),
    ],
    ids=lambda v: str(v),
)
def test_mistakes_are_answered_in_one_line(
    env: Environment, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "torn-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 no more")
    result = env.aigc("plugins", "install", *[a.format(tmp=tmp_path) for a in arguments])
    assert result.code == code, result.err
    assert words in result.err.splitlines()[-1]
    assert result.err.splitlines()[-1].startswith("aigc: ")


def test_uninstalling_what_is_not_there_is_answered(env: Environment) -> None:
    assert env.aigc("plugins", "uninstall", "gan").code == 3
    assert "no backend 'aigc-core'" in env.aigc("plugins", "uninstall", "aigc-core").error


@pytest.mark.slow
def test_pip_serves_where_there_is_no_uv(core: Path, gan: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "pip env", core)
    env.uv("install", "--quiet", "pip")
    before = env.freeze()
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "uv").exists())
    shown = env.aigc("plugins", "install", gan, "--dry-run", PATH=path)
    assert shown.code == 0, shown.err
    assert "-m pip install" in shown.out
    assert "aigc-gan 0.1.0" in shown.out
    bad = wheel(tmp_path, "bad", {"aigc_bad.py": "raise RuntimeError('no luck')"})
    refused = env.aigc("plugins", "install", bad, PATH=path)
    assert refused.code == 4
    assert "no luck" in refused.err
    assert env.freeze() == before
    done = env.aigc("plugins", "install", gan, PATH=path)
    assert done.code == 0, done.err
    assert "gan/dcgan" in env.aigc("models").out
    assert env.aigc("plugins", "uninstall", "gan", PATH=path).code == 0
    assert env.freeze() == before


def test_a_python_of_the_operating_system_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sysconfig

    from aigc_core.errors import UsageError
    from aigc_core.plugins.environment import Environment as Detected

    found = sysconfig.get_path
    (tmp_path / "EXTERNALLY-MANAGED").write_text("[externally-managed]\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda n, *a: str(tmp_path) if n == "stdlib" else found(n, *a))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    detected = Detected.detect()
    assert detected.managed
    with pytest.raises(UsageError, match="managed by the operating system"):
        detected.check_changeable(False)
    detected.check_changeable(True)
    assert "--break-system-packages" in detected.install("x")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("uv-receipt.toml", "a uv tool"),
        ("pipx_metadata.json", "a pipx application"),
        ("conda-meta/x", "a conda"),
    ],
)
def test_kinds_of_environments_are_known(
    file: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from aigc_core.plugins.environment import Environment as Detected

    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert kind in Detected.detect().kind


def test_the_reports_of_both_installers_are_read() -> None:
    text = (
        "Resolved 61 packages in 748ms\nWould uninstall 1 package\n - aigc-up==0.1.0 (from file:///x)\n"
        " + aigc-up @ file:///x/up\n - numpy==2.4.6\n + numpy==2.3.5\n + new-thing==1.0\n"
    )
    changes = {
        c.name: (c.before, c.after, c.pin)
        for c in changes_of_uv(text, {"numpy": "2.4.6", "aigc-up": "0.1.0"})
    }
    assert changes == {
        "aigc-up": ("0.1.0", "built anew", "aigc-up @ file:///x/up"),
        "new-thing": (None, "1.0", "new-thing==1.0"),
        "numpy": ("2.4.6", "2.3.5", "numpy==2.3.5"),
    }
    report = {"install": [{"metadata": {"name": "New_Thing", "version": "1.0"}}]}
    assert [(c.name, c.after) for c in changes_of_pip(report, {})] == [("new-thing", "1.0")]
