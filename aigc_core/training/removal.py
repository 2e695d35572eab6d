"""Removing runs: whole, and never one that is being trained. Imports no torch."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aigc_core.errors import StorageError, UsageError
from aigc_core.training.history import files, ids, matches, root

REMOVED: Final = ".removed-"
"""Begins the name of a folder that is being deleted: what a kill leaves of it, the next removal clears."""


def locate(reference: str) -> Path:
    """The folder of a run to be removed: as `find`, but what can't be read is found too, by its full name,
    and a name that several runs share is an error. Raises NotFoundError, UsageError, DamagedFileError.
    """
    if reference in ids():
        return root() / reference
    found = matches(reference)
    if len(found) > 1:
        names = ", ".join(f"{r.id} ({r.state})" for r in found)
        raise UsageError(f"run {reference!r} is ambiguous: {names}; give one of them in full")
    return found[0].folder


def remove(folder: Path) -> int:
    """Deletes a run; returns the bytes that it took. Raises UsageError if it is being trained, StorageError.

    It is renamed aside first, so that a kill half-way leaves no half of a run.
    """
    from filelock import FileLock, Timeout

    clear_removed()
    size = sum(s.st_size for s in files(folder))
    with _removal(folder):
        aside = Path(tempfile.mkdtemp(prefix=REMOVED, dir=folder.parent))
        try:
            with FileLock(folder / ".lock", timeout=0):
                folder.rename(aside / folder.name)
        except Timeout:
            aside.rmdir()
            raise UsageError(f"run {folder.name} is being trained; stop it first (Ctrl-C keeps it)") from None
        except OSError:
            aside.rmdir()
            raise
    with _removal(aside), contextlib.suppress(FileNotFoundError):  # cleared by another removal meanwhile
        shutil.rmtree(aside)
    return size


@contextlib.contextmanager
def _removal(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"cannot remove {path}: {reason}; what is left lies there") from None


def clear_removed() -> None:
    """Ends the removals that a kill broke off."""
    for left in root().glob(f"{REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)
