"""The store's lock: shared by all who read or write, held alone by what deletes.

It guards deletion and nothing else. Publishing is right without it, so a file system that knows no locks only
loses `gc`. The kernel lets go of the lock of a process that was killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aigc_core.errors import UsageError

PATIENCE: Final = 30.0
"""Seconds to wait for others."""
_PAUSE: Final = 0.002
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Within the block nothing is deleted. Raises UsageError if another process has been deleting for long."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:  # a store that only can be read, by whom it can be read; or none yet
        yield
        return
    try:
        with contextlib.suppress(OSError):
            _acquire(handle, fcntl.LOCK_SH, "a gc is at work in this store; wait for it")
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Within the block nobody else reads, writes or deletes. Raises UsageError where others don't end, or where
    the file system knows no locks; OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            _acquire(
                handle,
                fcntl.LOCK_EX,
                "other commands are using this store; wait for them, then try again",
                patience,
            )
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise UsageError(
                f"{path.parent} lies on a file system without locks, so nothing can be deleted from it safely"
            ) from None
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, kind: int, busy: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise UsageError(busy) from None
            time.sleep(_PAUSE)
        else:
            return
