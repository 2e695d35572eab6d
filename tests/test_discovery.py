"""Backends are taken alone: what one does wrong harms no other."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import Run, Site, good_backend

from aigc_core import registry as registry_module
from aigc_core.errors import BackendError, NotFoundError, UsageError
from aigc_core.events import Event
from aigc_core.plugins.entrypoints import entry_points

BAD = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "syntax": ("def broken(:", "SyntaxError"),
    "missing": ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
    "no-hooks": ("x = 1", "implements no hook"),
    "misspelt": (
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_register_model(registry): pass",
        "did you mean 'aigc_register_models'",
    ),
    "argument": (
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_register_models(reg): pass",
        "aigc_register_models",
    ),
    "hook-raises": (
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_register_models(registry): 1 / 0",
        "ZeroDivisionError",
    ),
    "foreign-id": (good_backend("good", "stolen"), "must be of the form 'foreign-id'"),
    "twice": (good_backend("twice", "a", "a"), "'twice/a' is registered already"),
    "no-spec": (
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_register_models(registry): registry.add({})",
        "takes a spec, not dict",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_backend_leaves_the_others_listed(site: Site, aigc: Run, name: str) -> None:
    code, reason = BAD[name]
    site.add(name, code)
    site.add("good", good_backend("good", "fine"))
    listed = aigc("models", "list", "--json")
    assert listed.code == 0
    ids = [row["id"] for row in json.loads(listed.out)]
    assert "good/fine" in ids
    assert "gan/dcgan" in ids
    assert not [i for i in ids if i.startswith(f"{name}/")]
    assert f"backend {name!r}" in listed.err
    assert reason in listed.err

    wanted = aigc("models", "show", f"{name}/thing")
    assert wanted.code == 4
    assert name in wanted.err
    assert reason in wanted.err

    (row,) = [b for b in json.loads(aigc("plugins", "list", "--json").out) if b["name"] == name]
    assert row["state"] == "broken"
    assert reason in row["reason"]
    assert aigc("plugins", "doctor").code == 4


def test_the_reason_names_file_and_line(site: Site) -> None:
    module = site.add("bad", "\n\nraise RuntimeError('third line')")
    backend = registry_module.default().backends["bad"]
    assert f"{module}.py:3" in backend.reason


def test_a_backend_for_another_api_is_not_imported(site: Site, aigc: Run) -> None:
    module = site.add("future", "raise AssertionError('imported')", group="aigc.v2")
    result = aigc("models", "show", "future/thing")
    assert result.code == 4
    assert "upgrade aigc-core" in result.err
    assert module not in sys.modules
    site.add("past", "raise AssertionError('imported')", group="aigc.v0")
    registry_module.default.cache_clear()
    assert "incompatible" in aigc("plugins", "list").out


def test_a_print_on_import_does_not_spoil_json(site: Site, aigc: Run) -> None:
    site.add("loud", "print('hello')\n" + good_backend("loud", "a"))
    assert "loud/a" in [row["id"] for row in json.loads(aigc("models", "--json").out)]


def test_two_distributions_of_one_family_are_told_apart(site: Site, aigc: Run) -> None:
    site.add("twin", good_backend("twin", "one"), distribution="a-twin")
    site.add("twin", good_backend("twin", "two"), distribution="b-twin")
    result = aigc("plugins", "list")
    assert "a-twin has that name already" in result.out
    assert [i for i in registry_module.default().models if i.startswith("twin/")] == ["twin/one"]


def test_short_names_work_while_they_are_unambiguous(site: Site, aigc: Run) -> None:
    registry = registry_module.default()
    assert registry.find("dcgan").id == "gan/dcgan"
    with pytest.raises(UsageError, match="gan/mlp and vae/mlp"):
        registry.find("mlp")
    with pytest.raises(NotFoundError, match="did you mean 'dcgan'"):
        registry.find("dcgna")


def test_a_class_that_is_not_there_is_an_error_that_names_the_backend(site: Site, aigc: Run) -> None:
    site.add("hollow", good_backend("hollow", "shell"))
    assert "hollow/shell" in aigc("models").out
    shown = aigc("models", "show", "hollow/shell")
    assert shown.code == 4
    assert "'hollow'" in shown.error
    assert "nowhere" in shown.error
    with pytest.raises(BackendError):
        _ = registry_module.default().load("hollow/shell").generator
    assert aigc("plugins", "doctor").code == 4


def test_a_class_of_the_wrong_kind_is_refused(site: Site) -> None:
    site.add("odd", good_backend("odd", "x").replace("nowhere:Config", "pathlib:Path"))
    with pytest.raises(BackendError, match="is no aigc_core.options.Options"):
        _ = registry_module.default().load("odd/x").config


def test_entry_points_agree_with_importlib_metadata(site: Site) -> None:
    site.add("good", good_backend("good", "fine"))
    site.add("other", "x = 1", group="aigc.v7")
    site.add("console", "x = 1", group="console_scripts")
    ours = {(p.api, p.name, p.value, p.distribution, p.version) for p in entry_points()}
    theirs = {
        (int(p.group.removeprefix("aigc.v")), p.name, p.value, d.name, d.version)
        for d in importlib.metadata.distributions()
        for p in d.entry_points
        if p.group.startswith("aigc.v")
    }
    assert ours == theirs
    assert {"gan", "vae", "good", "other"} <= {p[1] for p in ours}


def test_entry_points_inside_a_zip_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped\nVersion: 2.0\n")
        file.writestr("zipped-2.0.dist-info/entry_points.txt", "[aigc.v1]\nzipped = zipped_backend\n")
    monkeypatch.syspath_prepend(str(archive))
    assert ("zipped", "2.0") in {(p.distribution, p.version) for p in entry_points()}


def test_commands_of_a_backend_are_run_under_its_name_and_imported_late(site: Site, aigc: Run) -> None:
    (site.path / "late_command.py").write_text(
        "import click\n@click.command()\ndef hello():\n    'Say hello.'\n    click.echo('hello there')\n"
    )
    site.add(
        "extra",
        "from aigc_core import CommandSpec, hookimpl\n@hookimpl\ndef aigc_register_commands(registry):\n"
        "    registry.add(CommandSpec(name='hello', summary='Say hello.', command='late_command:hello'))\n",
    )
    assert "Commands of backend 'extra'" in aigc("--help").out
    assert "late_command" not in sys.modules
    assert aigc("extra", "hello").out == "hello there\n"
    sys.modules.pop("late_command")


def test_a_backend_cannot_replace_a_core_command(site: Site, aigc: Run) -> None:
    site.add(
        "models",
        "from aigc_core import CommandSpec, hookimpl\n@hookimpl\ndef aigc_register_commands(registry):\n"
        "    registry.add(CommandSpec(name='list', summary='Mine.', command='nowhere:x'))\n",
    )
    assert "gan/dcgan" in aigc("models", "list").out


def test_events_reach_every_listener_and_a_failing_one_is_reported_once(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add(
        "watch",
        "from aigc_core import hookimpl\nheard = []\n@hookimpl\ndef aigc_on_event(event): heard.append(event.kind)\n",
    )
    site.add(
        "deaf",
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_on_event(event): raise ValueError('no')\n",
    )
    registry = registry_module.default()
    registry.emit(Event("train.start"))
    registry.emit(Event("train.end"))
    assert sys.modules["aigc_watch_backend"].heard == ["train.start", "train.end"]
    assert capsys.readouterr().err.count("backend 'deaf' failed") == 1


def test_doctor_runs_the_backends_own_checks(site: Site, aigc: Run) -> None:
    assert aigc("plugins", "doctor").code == 0
    site.add(
        "ill",
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_check(context): context.problem('needs a GPU')\n",
    )
    registry_module.default.cache_clear()
    result = aigc("plugins", "doctor")
    assert result.code == 4
    assert "ill: needs a GPU" in result.out


def test_a_known_backend_that_is_missing_is_named_with_the_command_that_installs_it(
    aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigc_core.plugins.discovery.entry_points", list)
    registry_module.default.cache_clear()
    try:
        listed = aigc("models")
        assert listed.code == 0
        assert "no backend is installed" in listed.err
        assert "pip install" in listed.err
        assert json.loads(aigc("models", "--json").out) == []
        assert "known ones" in aigc("plugins").err
        shown = aigc("models", "show", "gan/dcgan")
        assert shown.code == 4
        assert "pip install" in shown.error
        assert "not installed" in aigc("models", "--all").out
        demo = aigc("demo")
        assert demo.code == 4
        assert "pip install" in demo.error
    finally:
        registry_module.default.cache_clear()


def test_a_command_that_cannot_be_imported_names_its_backend(site: Site, aigc: Run) -> None:
    site.add(
        "lame",
        "from aigc_core import CommandSpec, hookimpl\n@hookimpl\ndef aigc_register_commands(registry):\n"
        "    registry.add(CommandSpec(name='go', summary='Go.', command='no_such_module:go'))\n"
        "    registry.add(CommandSpec(name='path', summary='Path.', command='pathlib:Path'))\n",
    )
    result = aigc("lame", "go")
    assert result.code == 4
    assert "backend 'lame'" in result.error
    assert "no_such_module" in result.error
    assert "is no click command" in aigc("lame", "path").error
    assert aigc("plugins", "doctor").code == 4


def test_exits_in_events_and_checks_are_caught(
    site: Site, aigc: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add(
        "quits",
        "import sys\nfrom aigc_core import hookimpl\n@hookimpl\ndef aigc_on_event(event): sys.exit(1)\n"
        "@hookimpl\ndef aigc_check(context): sys.exit(1)\n",
    )
    registry_module.default().emit(Event("train.start"))
    assert "backend 'quits' failed on event" in capsys.readouterr().err
    assert "its check failed: SystemExit" in aigc("plugins", "doctor").out


def test_a_distribution_may_serve_several_apis(site: Site, aigc: Run) -> None:
    module = site.add("both", good_backend("both", "one"))
    info = site.path / "aigc_both-1.0.dist-info" / "entry_points.txt"
    info.write_text(f"[aigc.v2]\nboth = {module}_v2\n[aigc.v1]\nboth = {module}\n")
    listed = aigc("models", "--json")
    assert "both/one" in [row["id"] for row in json.loads(listed.out)]
    assert listed.err == ""


def test_commands_hidden_by_the_cores_are_reported(site: Site, aigc: Run) -> None:
    site.add(
        "data",
        "from aigc_core import CommandSpec, hookimpl\n@hookimpl\ndef aigc_register_commands(registry):\n"
        "    registry.add(CommandSpec(name='x', summary='X.', command='click:Command'))\n",
    )
    assert "can't be reached" in aigc("plugins", "doctor").out
