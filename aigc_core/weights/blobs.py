"""Files named by their sha256: written once, durably, never changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from aigc_core.errors import DamagedFileError, StorageError
from aigc_core.files import flush, make_folder, sync_folder, temporary_in
from aigc_core.weights.layout import blob_path
from aigc_core.weights.manifest import File
from aigc_core.weights.manifest import digest_of as manifest_digest

CHUNK: Final = 8 * 2**20


def add(source: bytes | Path, folder: Path, root: Path, expected: str | None = None) -> File:
    """Keeps bytes, or a copy of a file, as a blob below `root`; `folder` holds it until it is whole.

    Written, flushed to the disk, read again and hashed before it gets its name. What is there already is read too:
    if it has been damaged, this one takes its place. Raises StorageError, NotFoundError for a missing source,
    DamagedFileError if it is not `expected`.
    """
    if isinstance(source, Path):
        with temporary_in(folder, "blob") as (file, temporary):
            kept = _copy(source, file)
            _check(kept.digest, expected, str(source))
            _install(file, Path(temporary), kept, root)
        return kept
    kept = File(manifest_digest(source), len(source))
    _check(kept.digest, expected, "what was to be kept")
    if not is_durable(root / blob_path(kept.digest), kept.digest, root):
        with temporary_in(folder, "blob") as (file, temporary):
            file.write(source)
            _install(file, Path(temporary), kept, root)
    return kept


def _install(file: BinaryIO, temporary: Path, kept: File, root: Path) -> None:
    target = root / blob_path(kept.digest)
    if not is_durable(target, kept.digest, root):
        flush(file)
        install(temporary, target, kept.digest, root)


def install(temporary: Path, target: Path, digest: str, root: Path) -> None:
    """Gives a file, whose content is on the disk, its name as a blob, once it has been read again.

    Raises StorageError if the disk did not keep it, OSError.
    """
    if digest_of(temporary) != digest:
        raise StorageError(
            f"{target}: the disk gave back other bytes than were written; look after it, then try again"
        )
    os.chmod(temporary, 0o444)
    make_durable_folder(target.parent, root)
    os.replace(temporary, target)
    sync_folder(target.parent)


def make_durable_folder(folder: Path, root: Path) -> None:
    """Makes a folder below `root`, and has the disk hold its name even where another process, that was killed
    since, has made it."""
    make_folder(folder)
    for path in folder.parents:
        sync_folder(path)
        if path == root.parent:
            break
    with contextlib.suppress(PermissionError):  # the home itself, in a folder that may be another's
        sync_folder(root.parent.parent)


def is_durable(path: Path, digest: str, root: Path) -> bool:
    """Whether a file below `root` is there and is what its digest says. If so, has the disk hold its name: whoever
    gave it that name may have been killed before. Raises OSError."""
    if not is_whole(path, digest):
        return False
    make_durable_folder(path.parent, root)
    sync_folder(path)
    sync_folder(path.parent)
    return True


def is_whole(path: Path, digest: str) -> bool:
    """Whether a file is there and is what its digest says."""
    try:
        return digest_of(path) == digest
    except OSError:
        return False


def digest_of(path: Path) -> str:
    """The digest of a file; reads all of it. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _copy(source: Path, file: BinaryIO) -> File:
    hash, size = hashlib.sha256(), 0
    with open(source, "rb", buffering=0) as origin:
        buffer = memoryview(bytearray(CHUNK))
        while count := origin.readinto(buffer):
            hash.update(buffer[:count])
            file.write(buffer[:count])
            size += count
    return File(f"sha256:{hash.hexdigest()}", size)


def _check(digest: str, expected: str | None, what: str) -> None:
    if expected is not None and digest != expected:
        raise DamagedFileError(f"{what} is {digest}, not {expected}")
