"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors, sync_folder


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, to be filled with files, that takes its place when the block ends without an
    error; otherwise nothing of it is left.

    Raises UsageError if there is something already, StorageError where the file system refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and not empty; name a new folder")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
        try:
            yield temporary
            for path in temporary.iterdir():
                path.chmod(0o644)  # whatever a library has chosen: it is there to be read by others
                with open(path, "rb") as written:
                    os.fsync(written.fileno())
            sync_folder(temporary)
            temporary.chmod(0o755)
            os.rename(temporary, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
