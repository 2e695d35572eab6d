"""A small hub on loopback: as much of the real one's protocol as huggingface_hub uses to read and to commit."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """One repository, `user/repository`: a list of commits, each a mapping of paths to contents."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: list[dict[str, bytes]] = [{}]
        self.refused = 0
        """Commits upon a state that was no longer the newest."""
        self.lock = threading.Lock()
        self.at_once = threading.Barrier(1)
        """Commits of version records wait here for each other."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def oid(self, number: int = -1) -> str:
        return hashlib.sha1(str(number % len(self.commits)).encode()).hexdigest()

    def files(self, revision: str) -> dict[str, bytes]:
        for number, files in enumerate(self.commits):
            if self.oid(number) == revision:
                return files
        return self.commits[-1]


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/user/repository(?:/revision/([^/]+))?", path):
            return self._json({"id": "user/repository", "sha": self.server.oid(), "siblings": []})
        if match := re.fullmatch(r"/api/models/user/repository/tree/([^/]+)/?(.*)", path):
            return self._tree(self.server.files(match[1]), match[2])
        if match := re.fullmatch(r"/user/repository/resolve/([^/]+)/(.+)", path):
            return self._file(self.server.files(match[1]), match[2])
        return self._json({"error": "Repository not found"}, 404, "RepoNotFound")

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match = re.fullmatch(r"/api/models/user/repository/(paths-info|preupload|commit)/([^/]+)", path)
        if match is None:
            return self._json({"error": f"no {path}"}, 404)
        if match[1] == "preupload":
            files = json.loads(body)["files"]
            answers = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._json({"files": answers})
        if match[1] == "paths-info":
            there = self.server.files(match[2])
            if self.headers["Content-Type"].startswith("application/json"):
                wanted = json.loads(body)["paths"]
            else:
                wanted = [
                    unquote(p.replace("+", " ")[6:])
                    for p in body.decode().split("&")
                    if p.startswith("paths=")
                ]
            return self._json([_entry(p, there[p]) for p in wanted if p in there])
        return self._commit([json.loads(line) for line in body.splitlines() if line.strip()])

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        header = next(line["value"] for line in lines if line["key"] == "header")
        added = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        if any(path.rpartition("/")[0].endswith("versions") for path in added):
            with contextlib.suppress(threading.BrokenBarrierError):
                self.server.at_once.wait(5)
        with self.server.lock:
            if header.get("parentCommit") not in (None, self.server.oid()):
                self.server.refused += 1
                return self._json(
                    {"error": "A commit has happened since. Please refresh and try again."}, 412
                )
            deleted = {line["value"]["path"] for line in lines if line["key"] == "deletedFile"}
            kept = {path: old for path, old in self.server.commits[-1].items() if path not in deleted}
            self.server.commits.append({**kept, **added})
            oid = self.server.oid()
        return self._json(
            {
                "commitUrl": f"{self.server.url}/user/repository/commit/{oid}",
                "commitOid": oid,
                "success": True,
            }
        )

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        below = f"{folder}/" if folder else ""
        names = sorted({path[len(below) :].partition("/")[0] for path in files if path.startswith(below)})
        if not names and folder:
            return self._json({"error": "Entry not found"}, 404, "EntryNotFound")
        entries = [
            _entry(below + name, files[below + name])
            if below + name in files
            else {"type": "directory", "oid": "0" * 40, "size": 0, "path": below + name}
            for name in names
        ]
        return self._json(entries)

    def _file(self, files: dict[str, bytes], path: str) -> None:
        if path not in files:
            return self._json({"error": "Entry not found"}, 404, "EntryNotFound")
        content = files[path]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, extra = 200, {"X-Repo-Commit": self.server.oid(), "ETag": f'"{_oid(content)}"'}
        if match:
            end = min(int(match[2] or len(content)), len(content) - 1)
            extra["Content-Range"] = f"bytes {match[1]}-{end}/{len(content)}"
            status, content = 206, content[int(match[1]) : end + 1]
        return self._send(status, content, extra)

    def _json(self, value: Any, status: int = 200, code: str = "") -> None:
        extra = {"Content-Type": "application/json"} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps(value).encode(), extra)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": _oid(content), "size": len(content), "path": path}


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
