"""The store under faults: every command is broken off at every call that it makes, and on every disk that may be
found after a power cut.

python -m pytest tests/test_faults.py -n0 -q -s -m slow

tries each call, and prints how many cases there are; what is not slow tries some.
"""

from __future__ import annotations

import collections
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import power
import pytest
from faults import GROWS, WRITES, Ended, Fault, Faults, faults, publish, seen
from helpers import weights_bytes

from aigc_core.errors import AigcError
from aigc_core.weights.store import Store

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="the paths of handles are asked of Linux"
)

EVERYWHERE = [pytest.param(1, marks=pytest.mark.slow, id="each"), pytest.param(7, id="some")]
"""Every n-th call, or disk."""


@dataclass(frozen=True)
class Command:
    """Something done to a store, that must be done wholly or not at all."""

    action: str
    arguments: tuple[Any, ...]
    empty: bool = False
    """Begin with no store at all."""


COMMANDS = {
    "first publish": Command("publish", ("a", 9, "prod", True), empty=True),
    "publish": Command("publish", ("a", 9, "prod", True)),
    "publish of the same bytes": Command("publish", ("a", 1)),
    "publish of a file": Command("publish_file", ("c", "FILE")),
    "alias flip": Command("tag", ("a@2", "prod")),
    "alias taken away": Command("untag", ("a", "prod")),
    "rm": Command("remove", ("a@2",)),
    "restore": Command("restore", ("a@3",)),
    "gc": Command("gc", ()),
    "first pull": Command("pull", ("r@1", "SOURCE"), empty=True),
    "pull": Command("pull", ("r@1", "SOURCE")),
    "push": Command("push", ("r@1", "SOURCE")),
}


KINDS = {
    "kill": "SIGKILL before a call",
    "torn": "SIGKILL with half of a write done",
    "ENOSPC": "no space at a call",
    "EIO": "the disk fails at a call",
}


class Tally(collections.Counter[str]):
    """Cases by their kind."""


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    counted = Tally()
    yield counted
    for what, number in counted.items():
        print(f"\n{number:7,} x {what}", end="")  # noqa: T201
    print(f"\n{sum(counted.values()):7,} fault cases")  # noqa: T201


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder in memory, where there is one: only calls are counted here, not what the disk makes of them."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def broken(place: Path) -> Iterator[Faults]:
    with faults(place) as served:
        yield served


class Bench:
    """Copies of one store, to be broken."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._number = 0
        self._whole = place / "whole"
        store = Store(self._whole / "home" / "store")
        publish(store, "a", 1, "prod"), publish(store, "a", 2, None, True), publish(store, "a", 3)
        publish(store, "b", 1), publish(store, "b", 4)
        store.remove("a@3"), store.remove("b@2")
        store.add_blob(b"nobody needs this")
        (store.layout.partial / ".left.partial").write_bytes(b"by one who was killed")
        self.file = place / "c.safetensors"
        self.file.write_bytes(weights_bytes(50))
        self.source = place / "source"
        publish(Store(self.source), "r", 60, None, True)

    def store(self, empty: bool = False) -> Path:
        """The root of another copy; the last one is removed."""
        shutil.rmtree(self._place / str(self._number), ignore_errors=True)
        self._number += 1
        folder = self._place / str(self._number)
        if empty:
            folder.mkdir()
        else:
            shutil.copytree(self._whole, folder, copy_function=shutil.copy)
        return folder / "home" / "store"

    def prepared(self, command: Command) -> tuple[Path, str, list[Any]]:
        paths = {"FILE": str(self.file), "SOURCE": str(self.source)}
        arguments = [paths.get(argument, argument) for argument in command.arguments]
        return self.store(command.empty), command.action, arguments


@pytest.fixture(scope="module")
def bench(place: Path) -> Bench:
    return Bench(place)


def before_and_after(command: Command, bench: Bench, broken: Faults) -> tuple[Any, Any, list[list[str]]]:
    """What is seen without faults, and the calls that are made."""
    root, action, arguments = bench.prepared(command)
    before = seen(Store(root))
    done = broken.run(root, action, *arguments)
    assert not done.error
    return before, seen(Store(root)), done.log


def check_either(found: Any, before: Any, after: Any, what: str) -> None:
    """All or nothing; an alias that is given with a publish comes last, and gc lets go of one version after another."""
    for part in ("live", "aliases"):
        assert found[part] in (before[part], after[part]), f"{what}: {part} is neither as before nor as after"
    if found["aliases"] == after["aliases"] != before["aliases"]:
        assert found["live"] == after["live"], f"{what}: the alias stands for what is not there"
    if before["live"] == after["live"]:
        assert after["removed"].items() <= found["removed"].items() <= before["removed"].items(), what
    else:
        assert found["removed"] == (before if found["live"] == before["live"] else after)["removed"], what


def check_aftermath(
    root: Path, command: Command, arguments: list[Any], before: Any, after: Any, broken: Faults, what: str
) -> None:
    """What a fresh process sees and can do."""
    told = broken.run(root, "aftermath", command.action, arguments)
    assert not told.error, f"{what}: {told.error}"
    result = told.value
    check_either(result["seen"], before, after, what)
    assert result["seconds"] < 10, f"{what}: the next command waited"
    if result["seen"]["live"] != after["live"] or command.action in ("tag", "gc"):
        assert "Error" not in str(result["again"]), f"{what}: the same once more: {result['again']}"
        if command.action != "publish" or result["seen"]["live"] == before["live"]:
            assert result["then"] == after, f"{what}: the same once more"
    numbers = [int(v.partition("@")[2]) for s in (before, result["then"]) for k in ("live", "removed")
               for v in s[k] if v.startswith("a@")]  # fmt: skip
    assert result["following"] == f"a@{max(numbers, default=0) + 1}", what
    live = {k: v for k, v in result["last"]["live"].items() if k != result["following"]}
    assert live == result["then"]["live"], f"{what}: gc took what is needed"
    assert result["last"]["removed"] == {}, what
    assert (result["left"], result["garbage"]) == ([], 0), f"{what}: left behind"


def broken_everywhere(
    name: str, fault: str, kinds: tuple[str, ...], every: int, bench: Bench, broken: Faults, tally: Tally
) -> Iterator[tuple[Ended, Path, str]]:
    """A command that meets a fault at every call of some kinds, and what must be true thereafter."""
    command = COMMANDS[name]
    before, after, log = before_and_after(command, bench, broken)
    # What is created above the store is counted too.
    made = [call[1] if call[0] == "in vain" else call[0] for call in log]
    calls = [kind for kind in made if not kinds or kind in kinds]
    assert calls or name == "alias taken away" or (kinds and name in ("gc", "restore"))
    for number in sorted({*range(0, len(calls), every), *range(max(0, len(calls) - 2), len(calls))}):
        root, action, arguments = bench.prepared(command)
        ended = broken.run(root, action, *arguments, fault=Fault(number, fault, kinds))
        what = f"{name}, {fault} at {calls[number]}, call {number} of {len(calls)}"
        yield ended, root, what
        check_aftermath(root, command, arguments, before, after, broken, what)
        tally[KINDS[fault]] += 1


@pytest.mark.parametrize("every", EVERYWHERE)
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_call_the_store_is_as_before_or_as_after(
    name: str, every: int, bench: Bench, broken: Faults, tally: Tally
) -> None:
    for ended, _, what in broken_everywhere(name, "kill", (), every, bench, broken, tally):
        assert ended.signal == 9, what
    for ended, _, what in broken_everywhere(name, "torn", WRITES, every, bench, broken, tally):
        assert ended.signal == 9, what


@pytest.mark.parametrize("every", EVERYWHERE)
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("fault", "kinds"), [("ENOSPC", GROWS), ("EIO", ())])
def test_what_the_disk_refuses_fails_the_command_and_leaves_nothing_half(
    name: str, fault: str, kinds: tuple[str, ...], every: int, bench: Bench, broken: Faults, tally: Tally
) -> None:
    for ended, root, what in broken_everywhere(name, fault, kinds, every, bench, broken, tally):
        if ended.error:
            assert ended.error.startswith("StorageError: "), f"{what}: {ended.error}"
            assert "\n" not in ended.error
        else:  # what is not needed may fail
            assert "lock" in what or ended.value is not None, what
        left = [path.name for path in root.rglob("*.partial") if path.name != ".left.partial"]
        assert left == [] or "unlink" in what, what


@pytest.mark.parametrize("every", EVERYWHERE)
@pytest.mark.parametrize("name", COMMANDS)
def test_after_a_power_cut_the_store_is_as_before_or_as_after(
    name: str, every: int, bench: Bench, broken: Faults, tally: Tally
) -> None:
    command = COMMANDS[name]
    root, action, arguments = bench.prepared(command)
    top = root.parent.parent
    before = seen(Store(root))
    disk = power.Disk(top)
    done = broken.run(root, action, *arguments)
    assert not done.error
    after = seen(Store(root))
    tried: set[str] = set()
    for number, call in enumerate([[], *done.log]):
        if call:
            disk.happen(*call)
        what = f"{name}, power cut after {call[:2]}, call {number} of {len(done.log)}"
        last = number == len(done.log)
        for found in _disks(disk, 1 if last else every, set() if last else tried):
            check_either(found, before, after, what)
            if last:
                assert found["live"] == after["live"], f"{what}: it had returned"
                assert found["aliases"] == after["aliases"], f"{what}: it had returned"
                if action != "gc":
                    assert found["removed"] == after["removed"], f"{what}: it had returned"
            tally["the power goes, and a disk that may be found then is read"] += 1


def _disks(disk: power.Disk, every: int, tried: set[str]) -> Iterator[Any]:
    """What is seen on each disk that may be found and was not tried before."""
    for number, node in enumerate(disk.after_power_cut(every == 1)):
        mark = power.fingerprint(node)
        if (number % every == 0 or number < 6) and mark not in tried:
            tried.add(mark)
            with tempfile.TemporaryDirectory(
                dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            ) as folder:
                power.write(node, Path(folder, "disk"))
                try:
                    yield seen(Store(Path(folder, "disk", "home", "store")))
                except AigcError as error:
                    yield {"live": str(error), "aliases": str(error), "removed": {}}


@pytest.mark.parametrize("every", EVERYWHERE)
def test_what_is_published_after_another_was_killed_survives_a_power_cut(
    every: int, bench: Bench, broken: Faults, tally: Tally
) -> None:
    """The second finds the blob of the first under its name, whole, but perhaps not yet on the disk."""
    command = COMMANDS["first publish"]
    _, _, log = before_and_after(command, bench, broken)
    named = {number + 1 for number, call in enumerate(log[:-1]) if call[0] in ("rename", "link")}
    for number in sorted({*range(0, len(log), every), *named}):
        root, action, arguments = bench.prepared(command)
        disk = power.Disk(root.parent.parent)
        killed = broken.run(root, action, *arguments, fault=Fault(number, "kill"))
        done = broken.run(root, action, *arguments)
        assert not done.error
        after = seen(Store(root))
        for call in [*killed.log, *done.log]:
            disk.happen(*call)
        for found in _disks(disk, 1, set()):
            assert found["live"] == after["live"], f"the first was killed at {number}"
            tally["the power goes after one publish was killed and the next returned"] += 1
