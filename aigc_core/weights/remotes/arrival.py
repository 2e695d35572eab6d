"""A file that arrives in pieces: kept in `partial/` until it is whole, checked, and only then named."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from aigc_core.errors import DamagedFileError
from aigc_core.files import flush, make_folder, storage_errors, sync_folder
from aigc_core.progress import Bar
from aigc_core.weights import blobs
from aigc_core.weights.layout import Layout, hexadecimal


class Arrival:
    """What is there of a file of `size` bytes, and its hash."""

    def __init__(self, file: BinaryIO, size: int, bar: Bar) -> None:
        self.size: Final = size
        self.have = 0
        self._file: Final = file
        self._bar: Final = bar
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def resume(self) -> None:
        """Takes up what an earlier command has left."""
        if os.fstat(self._file.fileno()).st_size > self.size:
            self._file.truncate(0)
        while piece := self._file.read(blobs.CHUNK):
            self._took(piece)

    def restart(self) -> None:
        """Forgets it all."""
        self._file.seek(0)
        self._file.truncate(0)
        self._bar.update(-self.have)
        self.have, self._hash = 0, hashlib.sha256()

    def append(self, piece: bytes) -> None:
        """Raises DamagedFileError if there is more than was promised."""
        if self.have + len(piece) > self.size:
            raise DamagedFileError(f"longer than the {self.size} bytes that its manifest promises")
        view = memoryview(piece)
        while view:  # a raw file takes as much as it likes at a time
            view = view[self._file.write(view) :]
        self._took(piece)

    def _took(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.have += len(piece)
        self._bar.update(len(piece))


def receive(
    layout: Layout, target: Path, digest: str, size: int, bar: Bar, bring: Callable[[Arrival], None]
) -> bool:
    """Has `bring` append what is missing of a file, from where an earlier command was cut off, and gives it its
    name in a store when it is the file that `digest` means. If it is not, it is brought once more from the start.

    False: it was not that file either time. Raises StorageError, and what `bring` raises.
    """
    partial = layout.partial / hexadecimal(digest)
    with storage_errors(partial):
        make_folder(layout.partial)
        with _claimed(partial) as file:
            if blobs.is_whole(target, digest):  # another command has just brought it
                partial.unlink()
                bar.update(size)
                return True
            arrival = Arrival(file, size, bar)
            arrival.resume()
            for _ in range(2):
                bring(arrival)
                if arrival.digest == digest:
                    flush(file)
                    blobs.install(partial, target, digest, layout.root)
                    return True
                arrival.restart()
    return False


def settle(layout: Layout, paths: Iterable[Path]) -> None:
    """Has the disk hold the names of files that are there: who brought them may have been killed just before."""
    with storage_errors(layout.root):
        for path in paths:
            sync_folder(path.parent)
            blobs.make_durable_folder(path.parent, layout.root)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for what arrives, unbuffered. Another process that wants it waits until we end.

    On a file system without locks nobody waits; what two have mixed up is found by its digest.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(path, 0o644)  # it was about to get its name, and is read-only
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    yield cast(BinaryIO, file)
                    return
            # who had it before has finished it: begin anew
