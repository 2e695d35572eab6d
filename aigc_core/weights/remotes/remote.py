"""What every remote can do, whatever it is made of."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from aigc_core.errors import DamagedFileError, UsageError
from aigc_core.progress import Bar
from aigc_core.weights.blobs import is_whole
from aigc_core.weights.remotes.trouble import attempt

CHUNK: Final = 4 * 2**20
"""Bytes that are read, hashed and written at a time."""


class Remote(ABC):
    """A tree as docs/store.md describes it, elsewhere. Paths are below its root and written with '/'.

    What begins with '_' does one thing once and raises whatever its library raises. The methods around it try
    again what passes by itself, and raise AigcError alone.
    """

    kept: str = "what was sent is kept there"
    """What an interrupted push leaves behind."""

    def __init__(self, url: str) -> None:
        self.url: Final = url
        """As it is shown: without a password."""

    def where(self, path: str) -> str:
        """How a file of it is called in messages."""
        return f"{self.url.rstrip('/')}/{path}"

    def check(self, *, writing: bool) -> None:  # noqa: B027  # most have nothing to check
        """Raises NotFoundError or UsageError if it is not there, or can't be written to."""

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Within the block nobody collects garbage there, where that can be told."""
        yield

    def get(self, path: str, most: int) -> bytes | None:
        """The content of a small file; None if it is not there. Raises DamagedFileError if it is larger."""
        content = attempt(self.where(path), lambda: self._get(path, most + 1))
        if content is not None and len(content) > most:
            raise DamagedFileError(f"{self.where(path)}: larger than {most} bytes, which no such file is")
        return content

    def get_many(self, paths: Sequence[str], most: int) -> list[bytes | None]:
        """The same of many; of one that is too large, no byte."""
        found: list[bytes | None] = []
        for path in paths:
            try:
                found.append(self.get(path, most))
            except DamagedFileError:
                found.append(b"")
        return found

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        return attempt(self.where(path), lambda: self._size(path))

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none if there is no such folder."""
        return attempt(self.where(folder), lambda: self._names(folder))

    def upload(self, path: str, source: Path, digest: str, size: int, bar: Bar) -> None:
        """Puts a local file there, whole under its name or not at all, and makes sure of what has arrived.
        Raises StorageError, DamagedFileError."""
        counted = _Counted(bar)

        def once() -> None:
            counted.reset()
            self._upload(path, source, digest, size, counted)

        attempt(self.where(path), once)

    def settle(self, paths: Sequence[str]) -> None:  # noqa: B027  # most are settled by then
        """Makes sure that files which are there stay there, before something refers to them."""

    def create(self, path: str, content: bytes) -> bool:
        """Writes a small file unless its name is taken; False says that it is."""
        return attempt(self.where(path), lambda: self._create(path, content))

    def replace(self, path: str, content: bytes) -> None:
        """Writes a small file, whatever was there."""
        attempt(self.where(path), lambda: self._replace(path, content))

    @abstractmethod
    def stream(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Pieces of a file of `size` bytes with their places in it, from `start` on, or from its beginning if
        the server knows no ranges. Ends early when the connection does. Raises whatever its library raises."""

    @abstractmethod
    def _get(self, path: str, most: int) -> bytes | None: ...

    @abstractmethod
    def _size(self, path: str) -> int | None: ...

    @abstractmethod
    def _names(self, folder: str) -> list[str]: ...

    def _upload(self, path: str, source: Path, digest: str, size: int, bar: Bar) -> None:
        raise self._read_only()

    def _create(self, path: str, content: bytes) -> bool:
        raise self._read_only()

    def _replace(self, path: str, content: bytes) -> None:
        raise self._read_only()

    def _read_only(self) -> UsageError:
        return UsageError(f"{self.url} can only be read; push to a folder, s3:// or hf://")

    def check_source(self, source: Path, digest: str) -> None:
        """Raises DamagedFileError if what is to be sent is not what its name says."""
        if not is_whole(source, digest):
            raise DamagedFileError(f"{source}: altered or damaged; pull it again from where it was pushed")

    def unlike(self, path: str) -> DamagedFileError:
        """What arrived is not what was sent."""
        return DamagedFileError(
            f"{self.where(path)}: not what was sent arrived there, twice; look after its disk"
        )

    def digest(self, path: str, size: int) -> str:
        """The sha256 of what lies there now; reads all of it."""
        hash, have = hashlib.sha256(), 0
        for start, chunk in self.stream(path, 0, size):
            if start != have:
                break
            hash.update(chunk)
            have += len(chunk)
        return f"sha256:{hash.hexdigest()}"


class _Counted:
    """A bar that can take back what a failed try has told it."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._amount = 0

    def update(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        self._amount += amount
        self._bar.update(amount, figures)

    def reset(self) -> None:
        self._bar.update(-self._amount)
        self._amount = 0
