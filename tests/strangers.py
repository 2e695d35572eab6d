"""What remotes are tested against: a web server that misbehaves, and a stand-in for the hub's file system."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from fsspec import AbstractFileSystem

from aigc_core.files import write_atomically


class Server(ThreadingHTTPServer):
    """Serves a folder. `manner` says how blobs are sent; records and manifests always come as they are."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, root: Path, manner: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.manner = manner
        self.asked: list[tuple[str, str]] = []
        """Path and range of each request for a blob."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.server.root / self.path.lstrip("/")
        manner = self.server.manner
        if manner == "forbids":
            return self.send_error(403)
        if manner == "html everywhere" or (manner == "html" and "blobs" in self.path):
            return self._send(200, b"<html>Sorry, we are moving house</html>", {"Content-Type": "text/html"})
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        if "blobs" not in self.path:
            return self._send(200, content)
        first = not self.server.asked
        self.server.asked.append((self.path, self.headers.get("Range", "")))
        if manner == "page":  # of the kind that looks like a file
            content = b"<html>busy</html>".ljust(len(content))[: len(content)]
        elif manner == "altered" or (manner == "altered once" and first):
            content = bytes([content[0] ^ 1]) + content[1:]
        elif manner == "longer":
            content += b"more"
        elif manner == "cut off":
            content = content[:-1]
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or manner == "no ranges":
            return self._send(200, content, {}, manner)
        start = int(match[1])
        extent = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return self._send(206, content[start:], extent, manner)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, manner: str = ""
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
            self.send_header(name, value)
        if manner != "no length":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if manner in ("resets", "no length, resets") and len(content) > 100_000:
            self.wfile.write(content[:100_000])
            self.wfile.flush()
            time.sleep(0.03)  # what lies unread in aiohttp's buffer is lost with the connection
            self.connection.close()
        elif manner == "slow":
            for i in range(0, len(content), 50_000):
                self.wfile.write(content[i : i + 50_000])
                time.sleep(0.1)
        else:
            self.wfile.write(content)


@contextlib.contextmanager
def serving(root: Path, manner: str = "") -> Iterator[Server]:
    with Server(root, manner) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


class HubStandIn(AbstractFileSystem):
    """`hf://` over a folder: every write is a commit of a whole file, and nothing is ever appended to."""

    protocol = "hf"
    cachable = False
    root: ClassVar[Path]
    commits: ClassVar[list[str]]

    def _at(self, path: str) -> Path:
        return self.root / self._strip_protocol(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        file = self._at(path)
        if not file.exists():
            raise FileNotFoundError(path)
        kind = "directory" if file.is_dir() else "file"
        return {"name": self._strip_protocol(path), "size": file.stat().st_size, "type": kind}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        found = [self.info(f"{path}/{file.name}") for file in self._at(path).iterdir()]
        return found if detail else [info["name"] for info in found]

    def rm_file(self, path: str) -> None:
        self._at(path).unlink()

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode == "rb":
            return open(self._at(path), "rb")
        assert mode == "wb", f"{mode}: the hub knows no such thing"
        return _Commit(self, path)


class _Commit(io.BytesIO):
    def __init__(self, hub: HubStandIn, path: str) -> None:
        super().__init__()
        self._hub, self._path = hub, path

    def close(self) -> None:
        if not self.closed:
            with write_atomically(self._hub._at(self._path)) as file:
                file.write(self.getvalue())
            self._hub.commits.append(self._path)
        super().close()
