"""Ctrl-C and SIGTERM while bytes travel: one line, and what has arrived is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from aigc_core.errors import InterruptedRun, TerminatedRun


class _Terminated(BaseException):
    """No library's `except Exception` keeps it."""


@contextlib.contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Raises InterruptedRun after a Ctrl-C within the block, TerminatedRun after SIGTERM."""
    message = f"stopped; {kept}, and the same command goes on from there"
    with _terminable():
        try:
            yield
        except KeyboardInterrupt:
            raise InterruptedRun(message) from None
        except _Terminated:
            raise TerminatedRun(message) from None


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
