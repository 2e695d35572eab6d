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
    with _temporary_beside(path) as (file, temporary):
        yield file
        _flush(file)
        os.replace(temporary, path)
    _sync_folder(path.parent)


@contextlib.contextmanager
def create_exclusively(path: Path) -> Iterator[BinaryIO]:
    """The same, but raises FileExistsError if `path` exists by then: no other writer is ever overwritten."""
    with _temporary_beside(path) as (file, temporary):
        yield file
        _flush(file)
        _link(temporary, path)
    _sync_folder(path.parent)


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
        }.get(error.errno or 0, "nothing was kept there")
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"cannot write {path}: {reason}; {advice}") from None


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, "its folder is a file") from error
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(handle, fcntl.LOCK_EX)
                os.fchmod(handle, 0o666 & ~umask())
                yield file, temporary
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


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
    except OSError:  # a file system without hard links, such as FAT: reserve the name, then take it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(temporary, path)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
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
