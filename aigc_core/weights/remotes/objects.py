"""Whatever else fsspec knows: each file is written whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import DamagedFileError
from aigc_core.progress import Bar
from aigc_core.weights.remotes.remote import Remote

_AT_ONCE: Final = 200
"""Small files that are asked for together."""
_RANGE: Final = 16 * 2**20
"""Bytes that are asked for at a time."""


class Objects(Remote):
    """A file system of fsspec's, which has no types. What it promises of writing is all that is promised here;
    see docs/remotes.md."""

    kept = "whole files that were sent are kept there"

    def __init__(self, url: str, fs: Any, root: str) -> None:
        super().__init__(url)
        self.fs: Final = fs
        self.root: Final = root.rstrip("/")

    def path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def get_many(self, paths: Sequence[str], most: int) -> list[bytes | None]:
        if not self.fs.async_impl:
            return super().get_many(paths, most)
        found: list[bytes | None] = []
        for i in range(0, len(paths), _AT_ONCE):
            part = [self.path(path) for path in paths[i : i + _AT_ONCE]]
            answers = self.fs.cat_ranges(part, 0, most + 1, on_error="return")
            for path, answer in zip(paths[i:], answers, strict=False):
                whole = not isinstance(answer, Exception) and len(answer) <= most
                found.append(bytes(answer) if whole else self._again(path, most))
        return found

    def _again(self, path: str, most: int) -> bytes | None:
        """What failed among many is asked for alone; of one that is too large, no byte."""
        try:
            return self.get(path, most)
        except DamagedFileError:
            return b""

    def stream(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        self._check_size(path, size)
        with self.fs.open(self.path(path), "rb", cache_type="none") as file:
            file.seek(start)
            while start < size:
                piece = file.read(min(_RANGE, size - start))
                if not piece:
                    return
                yield start, piece
                start += len(piece)

    def _check_size(self, path: str, size: int) -> None:
        found = self._size(path)
        if found is None:
            raise FileNotFoundError("the file is missing there")
        if found != size:
            raise DamagedFileError(
                f"{self.where(path)}: {found} bytes, not the {size} that its manifest promises"
            )

    def _get(self, path: str, most: int) -> bytes | None:
        size = self._size(path)
        if size is None:
            return None
        if size == 0:  # some servers know no range of nothing
            return b""
        try:
            return bytes(self.fs.cat_file(self.path(path), start=0, end=min(most, size)))
        except FileNotFoundError:
            return None

    def _size(self, path: str) -> int | None:
        self._forget()
        try:
            info = self.fs.info(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(info["size"]) if info.get("type", "file") == "file" else None

    def _names(self, folder: str) -> list[str]:
        self._forget()
        try:
            found = self.fs.ls(self.path(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def _upload(self, path: str, source: Path, digest: str, size: int, bar: Bar) -> None:
        self.check_source(source, digest)
        for _ in range(2):
            self._send(path, source, size, bar)
            if self._size(path) == size and self.digest(path, size) == digest:
                return
            bar.update(-size)
        self._discard(path)
        raise self.unlike(path)

    def _send(self, path: str, source: Path, size: int, bar: Bar) -> None:
        from fsspec.callbacks import Callback

        class Told(Callback):  # type: ignore[misc]
            sent = 0

            def relative_update(self, inc: int = 1) -> None:
                self.sent += inc
                bar.update(inc)

        self._make_folder(path)
        told = Told()
        self.fs.put_file(str(source), self.path(path), callback=told)
        bar.update(size - told.sent)  # some tell nothing

    def _discard(self, path: str) -> None:
        """Takes away what is not what its name says."""
        with contextlib.suppress(Exception):
            self.fs.rm_file(self.path(path))

    def _create(self, path: str, content: bytes) -> bool:
        self._make_folder(path)
        self._forget()
        try:
            self.fs.pipe_file(self.path(path), content, mode="create")
        except FileExistsError:
            return False
        return True

    def _replace(self, path: str, content: bytes) -> None:
        self._make_folder(path)
        self.fs.pipe_file(self.path(path), content)

    def _make_folder(self, path: str) -> None:
        with contextlib.suppress(NotImplementedError, FileExistsError):
            self.fs.makedirs(self.path(path).rpartition("/")[0], exist_ok=True)

    def _forget(self) -> None:
        """Others write there, too: no listing is remembered."""
        self.fs.invalidate_cache()
