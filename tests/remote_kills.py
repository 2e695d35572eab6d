"""Runs a push or a pull many times over, each time killed (SIGKILL) at another line of our code, and says how often.

    python remote_kills.py push|pull HOME URL STRIDE

HOME holds the store with `tiny@1` and `tiny@2`; URL is the remote: a folder, in which `tiny@1` lies and is copied for
each kill, or the prefix of a bucket, of which each kill uses another folder. After each kill what is written to must
be in the old state or in the new one, and the same command must succeed. Kills at every STRIDE-th line.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import s3fs  # noqa: F401  # once, before the forks

from aigc_core import files
from aigc_core.weights import store as store_module
from aigc_core.weights.layout import blob_path
from aigc_core.weights.remotes import bucket, catalogue
from aigc_core.weights.remotes.address import open_remote
from aigc_core.weights.remotes.pull import pull
from aigc_core.weights.remotes.push import push
from aigc_core.weights.store import Store

OURS = (str(Path(store_module.__file__).parent), files.__file__)


def kill_at(line: int) -> None:
    """Has this process killed at the n-th line of the store's and the remotes' code that it comes to."""
    left = line

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a fork that does it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
    return os.waitpid(child, 0)[1]


def whole_versions(url: str) -> list[str]:
    """The versions there. Fails unless each is whole, to the last byte."""
    remote = open_remote(url, writing=True)
    found, remarks = catalogue.listing(remote)
    assert not remarks, remarks
    for listed in found:
        for file in listed.manifest.files.values():
            assert remote.digest(blob_path(file.digest), file.size) == file.digest, listed.record
    return [f"{listed.record.name}@{listed.record.number}" for listed in found]


def check(url: str, *states: list[str]) -> Callable[[], None]:
    def work() -> None:
        found = whole_versions(url)
        assert found in states, f"{found} is none of {states}"

    return work


def place(verb: str, home: Path, url: str, number: int) -> tuple[Callable[[], object], str, list[str]]:
    """What is run, where it writes to, and what is there before."""
    if verb == "push":
        if "://" in url:
            target, before = f"{url}/{number}", []
        else:
            target, before = f"{url}-now", ["tiny@1"]
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(url, target)
        return (lambda: push("tiny@2", target, store=Store(home / "store"))), target, before
    target = str(home / "here")
    shutil.rmtree(target, ignore_errors=True)
    return (lambda: pull("tiny@2", url, store=Store(Path(target)))), target, []


def main() -> None:
    bucket.PART = 5 * 2**20  # so that a small file is sent in parts
    verb, home, url, stride = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    for kills in itertools.count():
        number = 1 + kills * stride
        work, target, before = place(verb, home, url, number)
        after = [*before, "tiny@2"]

        def doomed(work: Callable[[], object] = work, number: int = number) -> None:
            kill_at(number)
            work()

        status = in_child(doomed)
        assert in_child(check(target, before, after)) == 0, f"after a kill at line {number}"
        if not os.WIFSIGNALED(status):
            assert status == 0
            sys.stdout.write(str(kills))
            return
        assert in_child(work) == 0, f"the same again, after a kill at line {number}"
        assert in_child(check(target, after)) == 0, f"the same again, after a kill at line {number}"


main()
