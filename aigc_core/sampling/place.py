"""Where the pieces of an unfinished sampling lie: a hidden folder in or beside what they will be."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors
from aigc_core.launch import rank

NAME: Final = ".aigc-parts"
"""Of the folder, or how its name ends."""
_LOCK, _CURSOR, _REQUEST, _PARTIAL = "lock", "next", "request.json", ".partial"


class Place:
    """The folder `.aigc-parts` of a folder of samples, or `.x.npz.aigc-parts` beside a file of them.

    It is there as long as the sampling is unfinished. A piece has its name only when it is whole.
    """

    def __init__(self, out: Path, folder: bool) -> None:
        self.out: Final = out
        self.folder: Final = out / NAME if folder else out.with_name(f".{out.name}{NAME}")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block no other command writes to the same output.

        Takes away what an earlier one left half-written, and at the end the folder, if no piece is in it.
        Raises UsageError if another one is at work, StorageError.
        """
        from filelock import FileLock, Timeout

        new = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        busy = UsageError(f"another process is writing to {self.out}; wait for it, or choose another --out")
        with storage_errors(self.out):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise NotADirectoryError(errno.ENOTDIR, "its folder is a file") from error
            lock = FileLock(self.folder / _LOCK, timeout=0)
            try:
                lock.acquire()
            except (Timeout, FileNotFoundError):
                raise busy from None
        try:
            if not (self.folder / _LOCK).exists():  # its last owner has just taken it away
                raise busy
            self._tidy()
            yield
        finally:
            self._tidy()
            if not self.pieces():
                for name in (_REQUEST, _LOCK):
                    (self.folder / name).unlink(missing_ok=True)
            lock.release()
            for path in (self.folder, *new):
                with contextlib.suppress(OSError):
                    path.rmdir()  # only if it is empty

    def pieces(self) -> list[tuple[int, int]]:
        """The pieces that are there, in order: each one's first sample, and how many it holds."""
        found = []
        for name in os.listdir(self.folder) if self.folder.is_dir() else []:
            first, dash, count = name.partition("-")
            if dash and first.isdecimal() and count.isdecimal():
                found.append((int(first), int(count)))
        return sorted(found)

    def piece(self, first: int, count: int) -> Path:
        return self.folder / f"{first}-{count}"

    def clear(self) -> None:
        """Takes the pieces away: what they were for is there."""
        for piece in self.pieces():
            self.piece(*piece).unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self, path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
        """Opens a file that takes the name `path` when the block ends without an error.

        `durable`: its content is on the disk before the name is. Raises StorageError; then nothing is left.
        """
        temporary = self.folder / f"{rank()}{_PARTIAL}"
        with storage_errors(path):
            try:
                with open(temporary, "wb") as file:
                    yield file
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def claim(self, request: Mapping[str, Any]) -> None:
        """Marks the folder as this request's. Raises UsageError if its pieces are another one's."""
        path = self.folder / _REQUEST
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            other = None
        if other is not None and self.pieces() and (what := difference(other, request)):
            raise UsageError(
                f"{self.folder} holds the pieces of another sampling: {what}; finish that one, remove the folder, "
                "or choose another --out"
            )
        with self.writing(path) as file:
            file.write(json.dumps(request, ensure_ascii=False).encode())

    def deal(self, last: int) -> Iterator[int]:
        """The numbers 0 .. last - 1, each handed to one of the processes that share this place; from when the
        first of them has called `open_deal`."""
        path = self.folder / _CURSOR
        while not path.exists():
            time.sleep(0.02)
        with open(path, "r+b", buffering=0) as file:
            while True:
                fcntl.flock(file, fcntl.LOCK_EX)
                number = int(os.pread(file.fileno(), 20, 0))
                os.pwrite(file.fileno(), b"%020d" % (number + 1), 0)
                fcntl.flock(file, fcntl.LOCK_UN)
                if number >= last:
                    return
                yield number

    def open_deal(self, first: int) -> None:
        with self.writing(self.folder / _CURSOR) as file:
            file.write(b"%020d" % first)

    def _tidy(self) -> None:
        for path in self.folder.glob(f"*{_PARTIAL}"):
            path.unlink(missing_ok=True)
        (self.folder / _CURSOR).unlink(missing_ok=True)


def difference(there: Any, here: Mapping[str, Any]) -> str:
    """What tells one record from another: `seed is 3 there, 4 here`; empty if nothing does.

    What is known only when the samples are there is left out.
    """
    if not isinstance(there, Mapping):
        return "its record cannot be read"
    here = json.loads(json.dumps(here))  # as it was read: tuples are lists
    for key in {**there, **here}:
        if key in ("content", "notes"):
            continue
        a, b = there.get(key), here.get(key)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return f"{key}: {difference(a, b)}"
        return f"{key} is {a} there, {b} here"
    return ""
