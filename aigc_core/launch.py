"""One command in several processes on this machine, under the environment variables of torchrun.

Standard library only: the launching process imports no torch.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import IO, Final

GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL, once one of the processes has failed."""
PATIENCE: Final = 60.0
"""Seconds that the others get to end by themselves after a Ctrl-C: one may be writing a checkpoint."""


def rank() -> int:
    """Which of the processes of its job this one is; 0 where it is the only one."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes share the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Whether `launch` started this process; False in what it starts in its turn."""
    return os.environ.get("AIGC_LAUNCHED") == "1" and _error_handle() is not None


def launch(arguments: Sequence[str], processes: int) -> int:
    """Runs `aigc ARGUMENTS` in that many processes and returns the job's exit code.

    The code is 0 if all of them ended well, else that of the first that failed: 128 + n if signal n ended it,
    130 after a Ctrl-C, 143 after SIGTERM. SIGINT and SIGTERM are passed on. When one fails, the others are
    ended too, and only its error is shown. The processes of rank 1 and above print nothing else.
    """
    with _Crew() as crew, _signals(crew.events):
        crew.start(arguments, processes)
        return crew.wait()


def enlist() -> None:
    """What a launched process does first of all: it asks to be killed when the launching one dies, however
    that happens.

    Only Linux knows how to; elsewhere the death of the launching process goes unnoticed.
    """
    # What this process starts in its turn was not launched, and must not take itself for it.
    parent, handle = os.environ.pop("AIGC_LAUNCHER"), os.environ.pop("AIGC_ERROR_HANDLE")
    os.environ["AIGC_ERRORS"] = f"{os.getpid()}:{handle}"
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL))
    if os.getppid() != int(parent):  # it died before the line above
        os._exit(128 + signal.SIGKILL)


def report(line: str) -> None:
    """Writes the line of an error to stderr; in a launched process, to where `launch` reads it: of several
    processes that fail, only the first one is heard."""
    handle = _error_handle()
    if handle is None:
        sys.stderr.write(line)
    else:
        os.write(handle, line.encode())


def _error_handle() -> int | None:
    """The file for the errors of this very process, if `launch` gave it one."""
    process, _, handle = os.environ.get("AIGC_ERRORS", "").partition(":")
    return int(handle) if process == str(os.getpid()) else None


class _Crew:
    """The processes of one job, and what is known of their ends."""

    def __init__(self) -> None:
        self.events: Final[queue.SimpleQueue[tuple[str, int]]] = queue.SimpleQueue()
        """("exit", rank) and ("signal", number), as they happen. A signal handler may put into it."""
        self._members: Final[list[subprocess.Popen[bytes]]] = []
        self._errors: Final[list[IO[bytes]]] = []
        self._stack: Final = ExitStack()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            if member.poll() is None:
                member.kill()
            member.wait()
        self._stack.close()

    def start(self, arguments: Sequence[str], processes: int) -> None:
        environment = {
            **os.environ,
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "AIGC_LAUNCHED": "1",
            "AIGC_LAUNCHER": str(os.getpid()),
        }
        environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // processes)))
        for number in range(processes):
            # a file without a name: nothing of it is left, even if this process is killed
            error = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            self._errors.append(error)
            first = number == 0
            own = {"RANK": str(number), "LOCAL_RANK": str(number), "AIGC_ERROR_HANDLE": str(error.fileno())}
            member = subprocess.Popen(
                [sys.executable, "-m", "aigc_core", *arguments],
                env={**environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=None if first else subprocess.DEVNULL,
                stderr=None if first else error,
                pass_fds=(error.fileno(),),
                process_group=0,  # a terminal sends Ctrl-C to its whole group: they would get it twice
            )
            self._members.append(member)
            threading.Thread(target=self._watch, args=(number,), daemon=True).start()

    def _watch(self, number: int) -> None:
        self._members[number].wait()
        self.events.put(("exit", number))

    def wait(self) -> int:
        """Until the last one has ended."""
        left, failed, asked = len(self._members), -1, 0
        deadline, final = float("inf"), False
        while left:
            pause = max(0.0, deadline - time.monotonic())
            try:
                kind, number = self.events.get(timeout=None if pause == float("inf") else pause)
            except queue.Empty:
                self._send(signal.SIGKILL if final else signal.SIGTERM)
                deadline, final = time.monotonic() + GRACE, True
                continue
            if kind == "signal":
                asked = asked or number
                self._send(number)
                continue
            left -= 1
            if self._members[number].returncode and failed < 0:
                failed = number
                if not asked:
                    self._send(signal.SIGTERM)
                    final = True
                deadline = time.monotonic() + (PATIENCE if asked else GRACE)
        return 0 if failed < 0 else self._failure(failed, asked)

    def _send(self, number: int) -> None:
        for member in self._members:
            member.send_signal(number)  # not to those that have ended

    def _failure(self, number: int, asked: int) -> int:
        """Shows why a process failed; returns the exit code."""
        error, code = self._errors[number], self._members[number].returncode
        error.seek(0)
        text = error.read().decode(errors="replace")
        sys.stderr.write(text)
        if code < 0 and not asked and not text:
            name = signal.Signals(-code).name
            hint = " (where memory runs out, fewer processes need less)" if name == "SIGKILL" else ""
            sys.stderr.write(
                f"aigc: process {number + 1} of {len(self._members)} was ended by {name}{hint}; the same command "
                "goes on from what was kept\n"
            )
        sys.stderr.flush()
        code = 128 - code if code < 0 else code
        stopped = (128 + signal.SIGINT, 128 + signal.SIGTERM)
        return 128 + asked if asked and code in stopped else code


@contextmanager
def _signals(events: queue.SimpleQueue[tuple[str, int]]) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM become events."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        events.put(("signal", number))

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
