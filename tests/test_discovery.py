"""Backends are taken alone: what one does wrong harms no other."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import zipfile
from pathlib import Path

import pytest
from helpers import Run, Site, good_backend

from aigc_core import registry as registry_module
from aigc_core.errors import NotFoundError, UsageError
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
    "prints": ("print('hello')\n" + good_backend("prints", "a"), "it prints on import: 'hello'"),
    "prints-below": (
        "import os\nos.write(1, b'hello')\n" + good_backend("prints-below", "a"),
        "it prints on import: 'hello'",
    ),
    "dies": ("import os; os._exit(0)", "ends the process (exit code 0)"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "ends the process (SIGSEGV)"),
    "hangs": ("while True: pass", "takes more than 1 s"),
    "no-class": (
        good_backend("no-class", "a").replace("interfaces:Generator", "interfaces:Generater"),
        "did you mean 'Generator'?",
    ),
    "no-module": (good_backend("no-module", "a").replace("aigc_core.options", "nowhere"), "named 'nowhere'"),
    "no-schema": (
        good_backend("no-schema", "a").replace("aigc_core.options:Options", "pathlib:Path"),
        "is no aigc_core.options.Options",
    ),
    "no-spec": (
        "from aigc_core import hookimpl\n@hookimpl\ndef aigc_register_models(registry): registry.add({})",
        "takes a spec, not dict",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_backend_leaves_the_others_listed(
    site: Site, aigc: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_IMPORT_LIMIT", "1" if name == "hangs" else "20")
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
    assert row["state"] == ("slow" if name == "hangs" else "broken")
    assert row["problem"]["mend"]
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
    registry_module.discovered.cache_clear()
    assert "incompatible" in aigc("plugins", "list").out


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
    registry_module.discovered.cache_clear()
    result = aigc("plugins", "doctor")
    assert result.code == 4
    assert result.out == "ill: own-check: needs a GPU\n"


def test_a_known_backend_that_is_missing_is_named_with_the_command_that_installs_it(
    aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigc_core.plugins.discovery.entry_points", list)
    registry_module.discovered.cache_clear()
    try:
        listed = aigc("models")
        assert listed.code == 0
        assert "no backend is installed" in listed.err
        assert "aigc plugins install gan" in listed.err
        assert json.loads(aigc("models", "--json").out) == []
        assert "known ones" in aigc("plugins").err
        shown = aigc("models", "show", "gan/dcgan")
        assert shown.code == 4
        assert "aigc plugins install gan" in shown.error
        assert "not installed" in aigc("models", "--all").out
        demo = aigc("demo")
        assert demo.code == 4
        assert "aigc plugins install vae gan" in demo.error
    finally:
        registry_module.discovered.cache_clear()


def test_a_command_that_cannot_be_imported_names_its_backend(site: Site, aigc: Run) -> None:
    site.add(
        "lame",
        "from aigc_core import CommandSpec, hookimpl\n@hookimpl\ndef aigc_register_commands(registry):\n"
        "    registry.add(CommandSpec(name='go', summary='Go.', command='fragile_command:go'))\n"
        "    registry.add(CommandSpec(name='path', summary='Path.', command='pathlib:Path'))\n",
    )
    (site.path / "fragile_command.py").write_text("import no_such_module\ndef go(): ...\n")
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
    examined = aigc("plugins", "doctor").out
    assert "quits: own-check: SystemExit: 1" in examined
    assert "quits: listens: " in examined


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


def test_backends_can_be_turned_off_and_chosen(
    site: Site, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("good", good_backend("good", "fine"))

    def families() -> set[str]:
        registry_module.discovered.cache_clear()
        listed = aigc("models", "--json")
        assert listed.err == ""
        return {row["id"].partition("/")[0] for row in json.loads(listed.out)}

    assert families() == {"audio", "diffusion", "gan", "text", "vae", "good"}
    monkeypatch.setenv("AIGC_DISABLE_PLUGINS", "gan, aigc-good")
    assert families() == {"audio", "diffusion", "text", "vae"}
    wanted = aigc("models", "show", "gan/dcgan")
    assert wanted.code == 4
    assert "AIGC_DISABLE_PLUGINS turns it off" in wanted.error
    states = {row["name"]: row["state"] for row in json.loads(aigc("plugins", "--json").out)}
    assert states == {
        "audio": "ok", "diffusion": "ok", "gan": "disabled", "good": "disabled", "text": "ok", "vae": "ok",
    }  # fmt: skip
    monkeypatch.setenv("AIGC_DISABLE_PLUGINS", "")
    monkeypatch.setenv("AIGC_PLUGINS", "good,vae")
    assert families() == {"vae", "good"}
    assert "AIGC_PLUGINS does not name it" in aigc("models", "show", "gan/dcgan").error


def test_strict_makes_anything_wrong_fatal_but_for_looking_at_it(
    site: Site, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_STRICT_PLUGINS", "1")
    assert aigc("models").code == 0
    site.add("bad", "raise RuntimeError('no luck')")
    registry_module.discovered.cache_clear()
    for command in (["models"], ["data"], ["sample", "x"], ["train", "gan/mlp", "--data", "digits"]):
        result = aigc(*command)
        assert result.code == 4, command
        assert "AIGC_STRICT_PLUGINS is set, and backend 'bad'" in result.error
        assert "no luck" in result.error
    for command in (["plugins"], ["--help"], ["--version"], ["plugins", "search"]):
        assert aigc(*command).code == 0, command


def test_a_trial_is_made_once_and_again_when_the_backend_changes(
    site: Site, process: Run, home: Path
) -> None:
    module = site.add("slow", "import time; time.sleep(30)\n" + good_backend("slow", "a"))
    started = time.monotonic()
    first = process("models", "--json", AIGC_IMPORT_LIMIT="1")
    assert time.monotonic() - started < 15
    assert "backend 'slow' (aigc-slow 1.0) is slow: its import takes more than 1 s" in first.err
    assert "aigc plugins list --retry" in first.err
    started = time.monotonic()
    second = process("models", "--json", AIGC_IMPORT_LIMIT="1")
    assert time.monotonic() - started < 1, "it was tried again"
    assert second.err == first.err
    (site.path / f"{module}.py").write_text(good_backend("slow", "a"))
    again = process("models", "--json", AIGC_IMPORT_LIMIT="1").out
    assert "slow/a" not in again, "only a retry, or more patience, looks at it again"
    listed = process("plugins", "list", "--retry", "--json", AIGC_IMPORT_LIMIT="1").out
    retried = {row["name"]: row["state"] for row in json.loads(listed)}
    assert retried["slow"] == "ok"
    assert "slow/a" in process("models", "--json").out
    assert (home / "plugins" / "verdicts.tsv").is_file()


def test_more_patience_looks_again_at_what_was_slow(site: Site, process: Run) -> None:
    site.add("slow", "import time; time.sleep(1.5)\n" + good_backend("slow", "a"))
    assert "slow/a" not in process("models", AIGC_IMPORT_LIMIT="0.5").out
    assert "slow/a" in process("models", AIGC_IMPORT_LIMIT="60").out
    assert "slow/a" in process("models").out


def test_a_variable_that_names_nothing_is_remarked_upon(aigc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_DISABLE_PLUGINS", "vea")
    registry_module.discovered.cache_clear()
    listed = aigc("models", "--json")
    assert "vae/conv" in listed.out
    assert "AIGC_DISABLE_PLUGINS names no installed backend 'vea'; did you mean 'vae'?" in listed.error
    monkeypatch.setenv("AIGC_DISABLE_PLUGINS", "")
    monkeypatch.setenv("AIGC_PLUGINS", "gna")
    registry_module.discovered.cache_clear()
    assert "leave no backend in use" in aigc("models").err
    registry_module.discovered.cache_clear()


def test_a_newcomer_does_not_take_over_the_name_of_one_that_is_known(site: Site, aigc: Run) -> None:
    site.add("gan", good_backend("gan", "dcgan"), distribution="aaa-gan")
    rows = json.loads(aigc("plugins", "--json").out)
    states = {row["distribution"]: (row["state"], row["reason"]) for row in rows if row["name"] == "gan"}
    assert states["aigc-gan"] == ("ok", None)
    assert "aigc plugins uninstall aaa-gan" in states["aaa-gan"][1]


def test_a_mistake_in_the_networks_source_is_told_with_its_line(site: Site, aigc: Run) -> None:
    code = good_backend("typo", "a").replace("aigc_core.interfaces:Generator", "typo_net:Net")
    (site.path / "typo_net.py").write_text("x = 1\ndef broken(:\n")
    site.add("typo", code)
    (row,) = [row for row in json.loads(aigc("plugins", "--json").out) if row["name"] == "typo"]
    assert row["problem"]["where"].endswith("typo_net.py:2")
    assert row["problem"]["mend"].startswith("mend that line")


def test_without_a_command_the_help_is_shown(aigc: Run) -> None:
    shown = aigc()
    assert shown.code == 2
    assert shown.err.startswith("Usage: aigc")
    assert len(shown.err.splitlines()) > 10


def test_a_spoilt_record_of_trials_is_made_anew(site: Site, process: Run, home: Path) -> None:
    site.add("good", good_backend("good", "fine"))
    assert "good/fine" in process("models").out
    for content in (b"", b"\xff\xfe", b"a\tb\n", b"\x00" * 4096):
        (home / "plugins" / "verdicts.tsv").write_bytes(content)
        listed = process("models")
        assert "good/fine" in listed.out
        assert listed.err == ""


def test_a_home_that_cannot_be_written_to_is_no_hindrance(site: Site, process: Run, tmp_path: Path) -> None:
    site.add("good", good_backend("good", "fine"))
    site.add("dies", "import os; os._exit(1)")
    (tmp_path / "file").write_text("")
    listed = process("models", AIGC_HOME=str(tmp_path / "file" / "home"))
    assert listed.code == 0
    assert "good/fine" in listed.out


def test_one_that_dies_does_not_spoil_the_trial_of_those_behind_it(site: Site, aigc: Run) -> None:
    for name in ("a", "c", "e"):
        site.add(name, "import os; os._exit(0)")
    for name in ("b", "d", "f"):
        site.add(name, good_backend(name, "fine"))
    ids = [row["id"] for row in json.loads(aigc("models", "--json").out)]
    assert {"b/fine", "d/fine", "f/fine", "gan/dcgan"} <= set(ids)


def test_timings_name_the_heaviest_module(site: Site, aigc: Run) -> None:
    (site.path / "ballast.py").write_text("import time; time.sleep(0.05)")
    site.add("heavy", "import ballast\n" + good_backend("heavy", "a"))
    (row,) = [
        r for r in json.loads(aigc("plugins", "list", "--timings", "--json").out) if r["name"] == "heavy"
    ]
    assert row["timings"]["heaviest"] == "ballast"
    assert row["timings"]["ms"] >= row["timings"]["heaviest_ms"] >= 50
    assert "ballast (5" in aigc("plugins", "list", "--timings").out


def test_the_users_data_folder_is_platformdirs(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    from aigc_core.home import home

    monkeypatch.delenv("AIGC_HOME")
    for value in ("", "/somewhere/else"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert home() == platformdirs.user_data_path("aigc", appauthor=False)
