"""A folder as a remote: a mounted disk, a network share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from aigc_core.errors import DamagedFileError, NotFoundError
from aigc_core.files import (
    create_exclusively,
    make_folder,
    remove_unfinished,
    storage_errors,
    write_atomically,
)
from aigc_core.progress import Bar
from aigc_core.weights.layout import Layout
from aigc_core.weights.locks import shared
from aigc_core.weights.remotes.arrival import Arrival, receive, settle
from aigc_core.weights.remotes.remote import CHUNK, Remote


class Folder(Remote):
    """Blobs arrive in `partial/`, piece after piece, and get their name when all of it was read again."""

    def __init__(self, url: str, root: Path) -> None:
        super().__init__(url)
        self.layout: Final = Layout(root)

    def check(self, *, writing: bool) -> None:
        root = self.layout.root
        if root.exists() and not root.is_dir():
            raise NotFoundError(f"{self.url} is a file; give a folder")
        if not writing:
            if not root.is_dir():
                raise NotFoundError(f"no folder {self.url}")
            return
        with storage_errors(root):
            for folder in (self.layout.partial, self.layout.versions, self.layout.aliases):
                make_folder(folder)
        remove_unfinished(self.layout.versions)
        remove_unfinished(self.layout.aliases)

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        with shared(self.layout.lock):
            yield

    def settle(self, paths: Sequence[str]) -> None:
        settle(self.layout, map(self._path, paths))

    def stream(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        with open(self._path(path), "rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                raise DamagedFileError(f"{self.where(path)}: {_other_size(file, size)}")
            file.seek(start)
            while chunk := file.read(CHUNK):
                yield start, chunk
                start += len(chunk)

    def _path(self, path: str) -> Path:
        return self.layout.root / path

    def _get(self, path: str, most: int) -> bytes | None:
        try:
            with open(self._path(path), "rb") as file:
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _size(self, path: str) -> int | None:
        try:
            return self._path(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _create(self, path: str, content: bytes) -> bool:
        try:
            with create_exclusively(self._path(path)) as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def _replace(self, path: str, content: bytes) -> None:
        with write_atomically(self._path(path)) as file:
            file.write(content)

    def _upload(self, path: str, source: Path, digest: str, size: int, bar: Bar) -> None:
        def bring(arrival: Arrival) -> None:
            with open(source, "rb") as file:
                file.seek(arrival.have)
                while piece := file.read(CHUNK):
                    arrival.append(piece)

        if not receive(self.layout, self._path(path), digest, size, bar, bring):
            self.check_source(source, digest)
            raise self.unlike(path)


def _other_size(file: BinaryIO, size: int) -> str:
    found = os.fstat(file.fileno()).st_size
    return f"{found} bytes, not the {size} that its manifest promises"
