"""Web servers: only read, and no more trusted than any other stranger."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote

from aigc_core.errors import DamagedFileError, UsageError
from aigc_core.weights.remotes.objects import Objects
from aigc_core.weights.remotes.remote import CHUNK, Remote

SILENCE: Final = 60.0
"""Seconds without a byte after which a connection is given up."""
_MOST_LINKS: Final = 64 * 2**20
"""Bytes of a page that lists a folder."""


class Web(Objects):
    """One request brings the rest of a file. A server that ignores ranges sends it from the start; then what is
    there already is read past."""

    def check(self, *, writing: bool) -> None:
        if writing:
            raise self._read_only()

    def stream(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        with self._opened(path, start) as file:
            answer = file.r
            self._no_page(path, answer.headers)
            start, total = _extent(answer, start)
            if total is not None and total != size:
                raise DamagedFileError(
                    f"{self.where(path)}: {total} bytes, not the {size} that its manifest promises"
                )
            while chunk := file.read(CHUNK):
                yield start, chunk
                start += len(chunk)

    @contextlib.contextmanager
    def _opened(self, path: str, start: int) -> Iterator[Any]:
        from aiohttp import ClientTimeout
        from fsspec.asyn import sync
        from fsspec.implementations.http import HTTPStreamFile

        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        options = dict(self.fs.kwargs)
        options["headers"] = {**options.get("headers", {}), **headers}
        options.setdefault("timeout", ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE))
        session = sync(self.fs.loop, self.fs.set_session)
        file = HTTPStreamFile(self.fs, self.path(path), session=session, loop=self.fs.loop, **options)
        try:
            yield file
        finally:
            file.close()

    def _no_page(self, path: str, headers: Any) -> None:
        """Some servers answer with a page, and status 200, whatever is asked for."""
        if str(headers.get("Content-Type", "")).lower().startswith("text/html"):
            raise DamagedFileError(f"{self.where(path)}: the server sent a page of HTML instead of the file")

    def _get(self, path: str, most: int) -> bytes | None:
        return self._small(path, most)

    def _small(self, path: str, most: int, *, page: bool = False) -> bytes | None:
        content = b""
        try:
            with self._opened(path, 0) as file:
                if not page:
                    self._no_page(path, file.r.headers)
                while len(content) < most and (chunk := file.read(most - len(content))):
                    content += chunk
        except FileNotFoundError:
            return None
        return content

    def get_many(self, paths: Sequence[str], most: int) -> list[bytes | None]:
        return Remote.get_many(self, paths, most)  # one after the other, and no more of each than `most`

    def _names(self, folder: str) -> list[str]:
        """The links of the folder's page, where the server makes one."""
        page = self._small(f"{folder}/", _MOST_LINKS, page=True)
        if page is None:
            if folder != "versions":  # there need not be any of the others
                return []
            raise UsageError(f"{self.url} can't be listed; name the version: NAME@V")
        links = re.findall(r"""href=["']([^"'?#]+)["']""", page.decode(errors="replace"))
        return sorted({unquote(link.rstrip("/").rpartition("/")[2]) for link in links})


def _extent(answer: Any, asked: int) -> tuple[int, int | None]:
    """Where the answer begins within the file, and how long the whole file is, if the server says so."""
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", answer.headers.get("Content-Range", ""))
        return (int(match[1]), int(match[2])) if match else (asked, None)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return 0, None
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None
