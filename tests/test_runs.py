"""The runs there are: listed, shown, gone on with, removed."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers import Result, Run, Site
from PIL import Image

from aigc_core.errors import DamagedFileError, InterruptedRun, NotFoundError, UsageError
from aigc_core.training.history import Record, find, matches, runs
from aigc_core.training.job import train
from aigc_core.training.removal import remove

KEY = "0123456789ab"


def make(
    home: Path,
    name: str = "mine",
    key: str = KEY,
    *,
    steps: int = 300,
    logged: int = 0,
    kept: tuple[int, ...] = (),
    age: float = 0.0,
    **entries: Any,
) -> Path:
    """A run's folder as a training leaves it, last written `age` seconds ago."""
    folder = home / "runs" / f"{name}-{key}"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "sheets").mkdir()
    plan = {
        "name": name,
        "model": "vae/mlp",
        "config": {"latent": 10},
        "data": {"name": "digits", "split": "train", "digest": "sha256:00", "count": 1797},
        "training": {"steps": steps, "seed": 7, "options": {"lr": 0.002}, "parents": []},
        "environment": {"backend": ["aigc-vae", "0.1.0"], "core": "0.1.0", "device": "cpu"},
        "command": {"model": "vae/mlp", "data": "digits", "name": name, "steps": steps, "seed": 7},
        "began": "2026-01-02T03:04:05+00:00",
        "weights": None,
        "failed": None,
    }
    (folder / "run.json").write_text(json.dumps({**plan, **entries}))
    lines = [json.dumps({"step": s, "loss": 1 / s}) for s in range(25, logged + 1, 25)]
    if lines:
        (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 9999, "lo']))
    for step in kept:
        (folder / "checkpoints" / f"{step:08d}.safetensors").write_bytes(b"x" * 1000)
        Image.new("L", (4, 4)).save(folder / "sheets" / f"{step:08d}.png")
    (folder / ".lock").touch()
    for path in folder.rglob("*"):
        at = path.stat().st_mtime - age
        os.utime(path, (at, at))
    return folder


def listed(aigc: Run, *arguments: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(aigc("runs", "list", *arguments, "--json").out)}


# the listing


def test_without_a_run_the_listing_says_how_to_get_one(aigc: Run) -> None:
    for command in (["runs"], ["runs", "list"]):
        done = aigc(*command)
        assert done.code == 0
        assert "there are no runs yet; train something: aigc train" in done.error
    assert json.loads(aigc("runs", "list", "--json").out) == []
    assert "no run is unfinished" in aigc("runs", "list", "--unfinished").err
    assert "nothing to remove" in aigc("runs", "rm", "--finished").err


def test_each_run_has_a_state(aigc: Run, home: Path) -> None:
    make(home, "done", logged=300, weights="done@1")
    make(home, "stopped", logged=150, kept=(100, 150))
    make(home, "diverged", logged=75, kept=(50,), failed="loss is nan at step 80")
    locked = make(home, "busy", logged=25)
    with FileLock(locked / ".lock"):
        rows = listed(aigc)
        text = aigc("runs")
    assert {name: (row["state"], row["done"]) for name, row in rows.items()} == {
        "done": ("finished", 300), "stopped": ("interrupted", 150), "diverged": ("failed", 75),
        "busy": ("running", 25),
    }  # fmt: skip
    assert rows["done"]["weights"] == "done@1"
    assert rows["stopped"]["checkpoint"] == 150
    assert rows["diverged"]["reason"] == "loss is nan at step 80"
    assert f"diverged-{KEY}: loss is nan at step 80" in text.out
    assert "150/300" in text.out
    assert rows["stopped"]["bytes"] > 2000
    assert set(listed(aigc, "--unfinished")) == {"stopped", "diverged", "busy"}
    assert listed(aigc)["busy"]["state"] == "interrupted", "the lock is free again"


def test_the_newest_run_comes_first(aigc: Run, home: Path) -> None:
    make(home, "old", age=2000)
    make(home, "new", age=10)
    make(home, "middle", age=1000)
    assert list(listed(aigc)) == ["new", "middle", "old"]


def test_to_look_whether_a_run_is_trained_does_not_change_it(home: Path) -> None:
    folder = make(home)
    (folder / ".lock").unlink()
    before = find("mine")
    assert find("mine") == before
    assert not (folder / ".lock").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\udc80", "[" * 100_000])
def test_a_damaged_run_is_named_and_the_rest_is_shown(text: str, aigc: Run, home: Path) -> None:
    broken = make(home, "broken")
    (broken / "run.json").write_text(text, errors="surrogateescape")
    make(home, "whole")
    done = aigc("runs", "list", "--json")
    assert [row["name"] for row in json.loads(done.out)] == ["whole"]
    assert f"{broken / 'run.json'}: cannot be read" in done.error
    assert f"aigc runs rm broken-{KEY}" in done.error
    for reference in ("broken", f"broken-{KEY}"):
        assert aigc("runs", "show", reference).code == DamagedFileError.exit_code
    assert aigc("runs", "rm", f"broken-{KEY}", "--yes").code == 0
    assert not broken.exists()


@pytest.mark.parametrize(
    "entries",
    [{"data": None, "training": 3}, {"model": None, "training": {"steps": "many"}}, {"command": [1]}],
    ids=str,
)
def test_a_run_that_says_less_than_it_should_is_listed(
    entries: dict[str, Any], aigc: Run, home: Path
) -> None:
    make(home, logged=50, **entries)
    assert listed(aigc)["mine"]["done"] == 50
    assert aigc("runs").code == 0
    assert aigc("runs", "show", "mine").code == 0


def test_an_older_run_is_listed_and_says_how_to_go_on(aigc: Run, home: Path) -> None:
    folder = make(home, logged=50)
    plan = json.loads((folder / "run.json").read_text())
    for key in ("command", "environment", "began", "failed"):
        del plan[key]
    plan["backend"] = ["aigc-vae", "0.0.9"]
    (folder / "run.json").write_text(json.dumps(plan))
    (folder / "checkpoint.safetensors").write_bytes(b"x")
    shown = aigc("runs", "show", "mine").out
    assert "backend aigc-vae 0.0.9" in shown
    assert str(folder / "checkpoint.safetensors") in shown
    assert "give the command that began it once more: aigc train vae/mlp" in shown
    refused = aigc("runs", "resume", "mine")
    assert refused.code == UsageError.exit_code
    assert "aigc train vae/mlp" in refused.error


def test_a_run_that_was_killed_before_it_began_is_listed(aigc: Run, home: Path) -> None:
    folder = home / "runs" / f"early-{KEY}"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    assert listed(aigc)["early"]["state"] == "interrupted"
    assert f"aigc runs rm early-{KEY}" in aigc("runs", "show", "early").out
    assert "killed before it began" in aigc("runs", "resume", "early").error


def test_what_is_no_run_is_passed_over(home: Path) -> None:
    make(home)
    (home / "runs" / "notes").mkdir()
    (home / "runs" / f"file-{KEY}").write_text("")
    assert [record.name for record in runs()] == ["mine"]


# one of them


def test_a_run_is_found_by_its_name_its_key_and_both(home: Path) -> None:
    make(home, "a-b", "aaaa11112222")
    make(home, "c", "aaaa33334444")
    for reference in ("a-b", "a-b-aaaa11112222", "aaaa1", "aaaa11112222"):
        assert find(reference).id == "a-b-aaaa11112222"
    with pytest.raises(UsageError, match="ambiguous: a-b-aaaa11112222 and c-aaaa33334444; give more"):
        find("aaaa")
    with pytest.raises(NotFoundError, match="no run 'aaa'"):
        find("aaa")
    with pytest.raises(NotFoundError, match="did you mean 'a-b'"):
        find("a-c")
    with pytest.raises(NotFoundError, match="see: aigc runs list"):
        find("quite-another")


def test_of_runs_with_one_name_the_newest_unfinished_is_taken_and_told(aigc: Run, home: Path) -> None:
    make(home, "x", "aaaaaaaaaaaa", weights="x@1", age=10)
    make(home, "x", "bbbbbbbbbbbb", age=3000)
    make(home, "x", "cccccccccccc", age=2000)
    assert [record.key[0] for record in matches("x")] == ["c", "b", "a"]
    shown = aigc("runs", "show", "x", "--json")
    assert json.loads(shown.out)["key"] == "cccccccccccc"
    assert "3 runs are named 'x'; taking the newest unfinished one: x-cccccccccccc" in shown.error
    removed = aigc("runs", "rm", "x", "--yes")
    assert removed.code == UsageError.exit_code
    assert "x-aaaaaaaaaaaa (finished)" in removed.error
    assert len(list(runs())) == 3


def test_a_run_tells_all_that_is_known_of_it(aigc: Run, home: Path) -> None:
    folder = make(home, logged=175, kept=(50, 150))
    (folder / "curves.png").write_bytes(b"x")
    text = aigc("runs", "show", "mine").out
    for part in (
        "vae/mlp", "digits, train, 1797 items", "latent=10, lr=0.002", "backend aigc-vae 0.1.0", "device cpu",
        "175 of 300 steps; it goes on from the checkpoint of step 150", "loss 0.005714 at step 175",
        "2, the last one", "sheets/00000150.png", "curves.png", f"aigc runs resume mine-{KEY}",
    ):  # fmt: skip
        assert part in text
    record = json.loads(aigc("runs", "show", "mine", "--json").out)
    assert record["plan"]["training"]["seed"] == 7
    assert record["last"] == {"step": 175, "loss": pytest.approx(1 / 175)}
    assert [Path(p).name for p in record["checkpoints"]] == ["00000050.safetensors", "00000150.safetensors"]
    assert record["resume"] == f"aigc runs resume mine-{KEY}"


def test_json_has_no_number_that_is_none(aigc: Run, home: Path) -> None:
    folder = make(home)
    (folder / "metrics.jsonl").write_text('{"step": 25, "loss": NaN}\n')
    assert json.loads(aigc("runs", "show", "mine", "--json").out)["last"] == {"step": 25, "loss": None}


def test_a_finished_run_is_not_offered_for_resuming(aigc: Run, home: Path) -> None:
    make(home, weights="mine@1")
    assert "resume" not in aigc("runs", "show", "mine").out


@pytest.mark.parametrize("command", ["show", "resume", "rm"])
def test_a_name_that_is_no_runs_is_one_line(command: str, aigc: Run, home: Path) -> None:
    make(home, "mnist-gan")
    result = aigc("runs", command, "mnist-gna")
    assert result.code == 3
    assert "did you mean 'mnist-gan'" in result.error


# going on

STOPPER = """
import os, signal
from aigc_core import hookimpl

@hookimpl
def aigc_on_event(event):
    if event.kind == "train.log" and event.data["step"] == int(os.environ.get("STOP_AT", "0")):
        os.kill(os.getpid(), signal.SIGINT)
"""


def stop_at(step: int, site: Site, monkeypatch: pytest.MonkeyPatch, **command: Any) -> Record:
    """A real training that gets Ctrl-C at a step, and its run."""
    site.add("stopper", STOPPER)
    monkeypatch.setenv("STOP_AT", str(step))
    with pytest.raises(InterruptedRun):
        train(**command)
    monkeypatch.delenv("STOP_AT")
    (record,) = runs()
    tell_command(record.folder, command)
    return find(record.id)


def tell_command(folder: Path, command: Mapping[str, Any]) -> None:
    plan = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**plan, "command": {**command, "again": True}}))


COMMAND = {"model": "vae/mlp", "data": "digits", "name": "mine", "steps": 60, "options": {"latent": 4}}


def test_an_interrupted_run_goes_on_where_it_stopped(
    aigc: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = stop_at(25, site, monkeypatch, **COMMAND)
    assert (record.state, record.steps) == ("interrupted", 60)
    assert 25 <= record.done < 60
    done = aigc("runs", "resume", "mine", "--quiet")
    assert done.code == 0, done.err
    assert "kept mine@1: 60 steps" in done.out
    assert "resumed at step" in done.out
    assert "aigc sample mine@1" in done.out
    assert find("mine").finished
    whole = train(**{**COMMAND, "name": "whole"})  # type: ignore[arg-type]
    tell_command(record.folder, COMMAND)
    again = json.loads(aigc("runs", "resume", "mine", "--json").out)
    assert again["already_finished"] is True
    assert again["tensors_digest"] == whole.record["tensors_digest"]


def test_a_run_whose_data_has_changed_does_not_begin_anew_unasked(
    aigc: Run, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from helpers import write_pictures

    pictures = write_pictures(tmp_path / "p", 4)
    command = {"model": "vae/mlp", "data": str(tmp_path / "p"), "name": "mine", "steps": 60}
    record = stop_at(25, site, monkeypatch, **command)
    pictures[0].unlink()
    refused = aigc("runs", "resume", "mine")
    assert refused.code == UsageError.exit_code
    assert "has changed since (data)" in refused.error
    assert [r.id for r in runs()] == [record.id]


def test_a_running_run_is_not_gone_on_with(aigc: Run, home: Path) -> None:
    folder = make(home)
    with FileLock(folder / ".lock"):
        refused = aigc("runs", "resume", "mine")
    assert refused.code == UsageError.exit_code
    assert "is being trained by another process" in refused.error


def test_arguments_of_a_newer_version_are_refused(aigc: Run, home: Path) -> None:
    make(home, command={"model": "vae/mlp", "data": "digits", "warp": 9})
    refused = aigc("runs", "resume", "mine")
    assert refused.code == UsageError.exit_code
    assert "begun with warp, which this version of aigc does not know" in refused.error


# removing


def test_removed_runs_are_gone_and_their_weights_remain(aigc: Run, home: Path) -> None:
    train("vae/mlp", "digits", name="kept", steps=1)
    make(home, "other", weights="other@1")
    make(home, "unfinished")
    done = aigc("runs", "rm", "--finished")
    assert done.code == 0
    assert done.out.count("removed ") == 2
    assert f"removed other-{KEY} (" in done.out
    assert sorted(p.name for p in (home / "runs").iterdir()) == [f"unfinished-{KEY}"]
    assert "kept@1" in aigc("weights").out


def test_an_unfinished_run_is_removed_only_on_demand(aigc: Run, home: Path) -> None:
    make(home, "done", weights="done@1")
    folder = make(home, "half", logged=150)
    refused = aigc("runs", "rm", "done", "half")
    assert refused.code == UsageError.exit_code
    assert f"half-{KEY} (interrupted, 150/300): not finished; give --yes" in refused.error
    assert len(list(runs())) == 2, "nothing is removed before all is known"
    assert aigc("runs", "rm", "half", "--yes").code == 0
    assert not folder.exists()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_is_asked_about(answer: str, home: Path) -> None:
    folder = make(home, "half")
    master, slave = pty.openpty()
    os.write(master, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "aigc_core", "runs", "rm", "half"], stdin=slave, capture_output=True, text=True
    )
    os.close(master)
    os.close(slave)
    assert "not finished; remove it all the same? [y/N]" in done.stdout
    assert folder.exists() == (answer == "n")
    assert done.returncode == (0 if answer == "y" else 130)


def test_a_run_that_is_trained_is_not_removed(aigc: Run, home: Path) -> None:
    make(home, "done", weights="done@1")
    folder = make(home, "busy")
    with FileLock(folder / ".lock"):
        refused = aigc("runs", "rm", "done", "busy", "--yes")
        with pytest.raises(UsageError, match="is being trained"):
            remove(folder)
    assert refused.code == UsageError.exit_code
    assert f"busy-{KEY} is being trained; stop it first" in refused.error
    assert len(list(runs())) == 2
    assert [p.name for p in (home / "runs").iterdir() if p.name.startswith(".")] == []


def test_a_removal_that_was_killed_leaves_no_half_run(
    aigc: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home, "first")
    make(home, "second")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        remove(find("first").folder)
    assert [record.name for record in runs()] == ["second"]
    assert aigc("runs", "rm", "second", "--yes").code == 0
    assert list((home / "runs").iterdir()) == []


def test_nothing_named_is_nothing_removed(aigc: Run, home: Path) -> None:
    make(home, weights="mine@1")
    refused = aigc("runs", "rm")
    assert refused.code == UsageError.exit_code
    assert "give --finished" in refused.error
    assert aigc("runs", "rm", "mine", f"mine-{KEY}").out.count("removed") == 1, "named twice"


def test_where_a_run_cannot_be_removed_it_is_said(home: Path, process: Run) -> None:
    folder = make(home, weights="mine@1")
    if subprocess.run(["chattr", "+i", folder / "run.json", folder], capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        result: Result = process("runs", "rm", "mine")
        assert result.code == 8
        assert f"cannot remove {folder}: operation not permitted" in result.error
        assert folder.exists()
    finally:
        subprocess.run(["chattr", "-i", folder, folder / "run.json"], check=True)


# completion


@pytest.mark.parametrize("command", ["show", "resume", "rm"])
def test_the_shell_completes_a_run(command: str, process: Run, home: Path) -> None:
    make(home, "alpha")
    make(home, "beta")
    words = {"COMP_WORDS": f"aigc runs {command} al", "COMP_CWORD": "3"}
    done = process(_AIGC_COMPLETE="bash_complete", **words)
    assert done.out.split() == [f"plain,alpha-{KEY}"]


# the page


def test_the_page_shows_what_the_commands_print(
    aigc: Run, site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first words of its lines: figures, dates and keys are of the day."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "runs.md").read_text(encoding="utf-8")
    second = {"model": "vae/mlp", "data": "digits", "name": "second", "steps": 60}
    record = stop_at(25, site, monkeypatch, **second)
    train("vae/mlp", "digits", name="first", steps=2)
    (record.folder / "curves.png").touch()
    (record.folder / "checkpoints").mkdir(exist_ok=True)
    (record.folder / "checkpoints" / "00000020.safetensors").touch()
    plan = json.loads((record.folder / "run.json").read_text())
    (record.folder / "run.json").write_text(json.dumps({**plan, "began": "2026-01-02T03:04:05+00:00"}))
    blocks = re.findall(r"^```console\n\$ aigc (.*)\n((?:.*\n)*?)```", page, re.MULTILINE)
    assert len(blocks) == 4
    for command, shown in blocks:
        if "resume" in command:
            (record.folder / "checkpoints" / "00000020.safetensors").unlink()
        done = aigc(*command.split())
        assert done.code == 0, done.err
        words = [
            [line.partition(" ")[0].partition("-")[0] for line in t.splitlines()] for t in (shown, done.out)
        ]
        assert sorted(words[0]) == sorted(words[1]), command
