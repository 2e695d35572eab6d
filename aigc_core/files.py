"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from aigc_core.errors import StorageError


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` that takes its place when the block ends without an error.

    Raises StorageError where the file system refuses; then nothing is left behind.
    """
    with temporary_in(path.parent, path.name) as (file, temporary):
        yield file
        flush(file)
        os.replace(temporary, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def create_exclusively(path: Path) -> Iterator[BinaryIO]:
    """The same, but raises FileExistsError if `path` exists by then: no other writer is ever overwritten."""
    with temporary_in(path.parent, path.name) as (file, temporary):
        yield file
        flush(file)
        _link(temporary, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns what the file system refuses into a StorageError that names the path and the reason."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        advice = {
            errno.ENOSPC: "free some space, or choose another place",
            errno.EDQUOT: "free some space, or choose another place",
            errno.EACCES: "choose a place that you may write to",
            errno.EPERM: "choose a place that you may write to",
            errno.EROFS: "choose a place that can be written to",
            errno.EIO: "the disk fails; look after it, then run the same command again",
        }.get(error.errno or 0, "nothing was kept there")
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"cannot write {path}: {reason}; {advice}") from None


@contextlib.contextmanager
def temporary_in(folder: Path, name: str) -> Iterator[tuple[BinaryIO, str]]:
    """Opens a temporary file in a folder, that becomes `name`: gives it and its path, and removes it after the block.

    It is locked, so that `remove_unfinished` knows it from what a killed process left. Raises StorageError.
    """
    with storage_errors(folder / name):
        make_folder(folder)
        handle, temporary = _locked_temporary(folder, name)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o666 & ~umask())
                yield file, temporary
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _locked_temporary(folder: Path, name: str) -> tuple[int, str]:
    while True:
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".partial", dir=folder)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # before it was locked, another process took it for one that was left behind


def make_folder(folder: Path) -> None:
    """Makes a folder and what is missing above it, durably. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        try:
            path.mkdir()
        except FileExistsError as error:
            if path.is_dir():  # another process was faster
                continue
            raise NotADirectoryError(errno.ENOTDIR, "its folder is a file") from error
        sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder; one that is being written is locked."""
    for path in folder.glob(".*.partial"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def user_path(text: str | Path) -> Path:
    """A path with `~` expanded where that can be done."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # `~nobody`
        return Path(text)


def _link(temporary: str, path: Path) -> None:
    """Gives a finished file its name, unless the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as FAT: one writer after the other
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
            os.replace(temporary, path)
        finally:
            os.close(folder)


def flush(file: BinaryIO) -> None:
    """Has the disk hold what was written. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Has the disk hold the names in a folder. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """The permission bits that this process takes from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
