"""Several processes of one command begin, fail and end as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import Site

BACKEND = """
from aigc_core import CommandSpec, hookimpl

@hookimpl
def aigc_register_commands(registry):
    registry.add(CommandSpec(name="act", summary="Play a part.", command="aigc_crew_commands:act"))
"""
COMMANDS = """
import os, signal, sys, time
from pathlib import Path
import click
from aigc_core.errors import InterruptedRun, StorageError
from aigc_core.launch import launched, rank, world

@click.command()
@click.argument("parts", nargs=-1)
@click.option("--note", type=Path)
def act(parts, note):
    '''The n-th part is played by rank n, the last one by all that are left.'''
    part = parts[min(rank(), len(parts) - 1)]
    print("out of", rank(), world(), launched(), sys.stdin.read(), os.environ["OMP_NUM_THREADS"], flush=True)
    print("err of", rank(), file=sys.stderr, flush=True)
    if part == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        if note:
            note.joinpath(f"{rank()}").write_text(str(os.getpid()))
            while len(list(note.iterdir())) < world():
                time.sleep(0.01)
        if part in ("wait", "stubborn"):
            time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5 * rank())  # rank 0 is the first to end
        raise InterruptedRun(f"rank {rank()} has kept all")
    if part == "full":
        raise StorageError(f"the disk of rank {rank()} is full")
    if part == "late":
        time.sleep(0.3)
        raise StorageError("lost its partner")
    if part.startswith("kill"):
        os.kill(os.getpid(), int(part[4:]))
        time.sleep(60)
    if part == "child":
        import subprocess
        done = subprocess.run([sys.executable, "-m", "aigc_core", "models", "show", "none"], stderr=-1)
        print("child", done.returncode, done.stderr.decode().strip(), flush=True)
"""
START = "import sys; from aigc_core.launch import launch; sys.exit(launch(sys.argv[2:], int(sys.argv[1])))"

Crew = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def crew(site: Site, tmp_path: Path) -> Iterator[Crew]:
    """Starts a process that launches others: `crew(2, "wait", "full")`."""
    site.add("crew", BACKEND)
    (site.path / "aigc_crew_commands.py").write_text(COMMANDS)
    notes = tmp_path / "notes"
    notes.mkdir()
    started = []

    def start(count: int, *parts: str, **environment: str) -> subprocess.Popen[str]:
        arguments = ["crew", "act", *parts, "--note", str(notes)]
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(count), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    assert not alive(notes)


def members(notes: Path, count: int) -> list[int]:
    """The ids of the processes, as soon as all of them are at work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        texts = [path.read_text() for path in sorted(notes.iterdir())]
        if len(texts) == count and all(texts):
            return [int(text) for text in texts]
        time.sleep(0.02)
    raise AssertionError("they did not start")


def alive(notes: Path) -> list[int]:
    """Those of them that still run; a moment is given to those that were killed."""
    for _ in range(100):
        left = [int(path.read_text()) for path in notes.iterdir() if running(int(path.read_text()))]
        if not left:
            return []
        time.sleep(0.02)
    return left


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), err.splitlines()


def test_all_of_them_end_well_and_only_the_first_one_is_heard(crew: Crew) -> None:
    code, out, err = ended(crew(3, "", OMP_NUM_THREADS="5"))
    assert (code, out, err) == (0, ["out of 0 3 True  5"], ["err of 0"])


def test_the_cores_are_shared_out(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert ended(crew(2, ""))[1] == [f"out of 0 2 True  {share}"]


@pytest.mark.parametrize("failing", [0, 1])
def test_the_error_of_the_first_that_fails_is_shown_once(crew: Crew, failing: int) -> None:
    parts = ["late", "late"]
    parts[failing] = "full"
    code, _, err = ended(crew(2, *parts))
    assert code == 8
    own = ["err of 1"] if failing else []
    assert err == ["err of 0", *own, f"aigc: the disk of rank {failing} is full"]


def test_a_killed_one_ends_the_others_and_is_named(crew: Crew) -> None:
    code, _, err = ended(crew(3, "wait", "kill9", "wait"))
    assert code == 128 + 9
    assert "err of 1" not in err[:1]
    code, _, err = ended(crew(2, "kill15", "wait"))
    assert code == 128 + 15
    assert err[-1].startswith("aigc: process 1 of 2 was ended by SIGTERM; the same command goes on")


def test_one_that_does_not_end_is_killed(crew: Crew) -> None:
    begun = time.monotonic()
    code, _, err = ended(crew(2, "stubborn", "full"))
    assert code == 8
    assert err[-1] == "aigc: the disk of rank 1 is full"
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_all_of_them(crew: Crew, tmp_path: Path, number: int, code: int) -> None:
    process = crew(2, "wait")
    members(tmp_path / "notes", 2)
    process.send_signal(number)
    returned, _, err = ended(process)
    assert returned == code
    expected = ["err of 0"] + ["aigc: rank 0 has kept all"] * (number == signal.SIGINT)
    assert err[: len(expected)] == expected
    assert not [line for line in err if "rank 1 has" in line]


def test_none_is_left_when_the_launching_process_is_killed(crew: Crew, tmp_path: Path) -> None:
    process = crew(2, "stubborn")
    ids = members(tmp_path / "notes", 2)
    assert all(running(i) for i in ids)
    process.kill()
    process.wait()
    assert not alive(tmp_path / "notes")


def test_what_they_start_in_their_turn_does_not_take_itself_for_one_of_them(crew: Crew) -> None:
    code, out, _ = ended(crew(2, "child"))
    assert code == 0
    assert out[1].startswith("child 3 aigc: no model 'none'")
