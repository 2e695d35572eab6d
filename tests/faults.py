"""Faults in the middle of what the store does: the process is killed, the disk is full, or it fails.

No hook in the product: in a forked child the functions of `os` and `io` that change a file system are wrapped, those
calls are counted whose paths lie below one folder, and the n-th of them meets its fault. `Faults` forks such children
from a small process that has imported the store and nothing heavy, so that a case takes milliseconds.

python faults.py OUT: reads one case a line, as JSON, answers with the child's exit status; what it told is in OUT.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from helpers import weights_bytes

WRITES = ("write",)
GROWS = ("write", "create", "mkdir", "link", "rename")
"""What a full disk refuses."""


@dataclass(frozen=True)
class Fault:
    """What meets the n-th call (from 0) of some kinds; of any kind, if none is given."""

    at: int
    how: str
    """`kill` before it, `torn` (killed with half of it written), or the name of an errno."""
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """What became of a case."""

    signal: int
    """That killed it; 0 if none did."""
    error: str = ""
    """`StorageError: ...`, if it raised one."""
    value: Any = None
    log: list[list[str]] = field(default_factory=list)
    """The calls below the folder: their kind, then their paths; of `write`, also all that is in the file now."""
    seconds: float = 0.0


class Tap:
    """Wraps what changes files, in this process and for good; counts and logs what happens below `root`."""

    def __init__(self, root: Path, fault: Fault | None, log: Path) -> None:
        self.root, self.fault = os.path.realpath(root), fault
        self._log = _OPEN(log, "w", buffering=1)
        self._count = 0
        self._open = os.open
        for name, kind in {
            "link": "link", "rename": "rename", "replace": "rename", "symlink": "link", "unlink": "unlink",
            "remove": "unlink", "mkdir": "mkdir", "rmdir": "rmdir", "chmod": "chmod", "fchmod": "chmod",
            "fsync": "fsync", "fdatasync": "fsync", "ftruncate": "write", "truncate": "write", "utime": "chmod",
            "write": "write", "pwrite": "write", "writev": "write", "sendfile": "write", "copy_file_range": "write",
        }.items():  # fmt: skip
            setattr(os, name, self._wrapped(getattr(os, name), kind, second=name == "copy_file_range"))
        os.open = self._opens
        io.open = builtins.open = self._file

    def meet(
        self, kind: str, places: list[str], call: Callable[[], Any], torn: Callable[[], Any] | None = None
    ) -> Any:
        """Makes a call, or its fault happen."""
        if not any(place == self.root or place.startswith(self.root + os.sep) for place in places):
            return call()
        fault = self.fault
        if fault and (not fault.kinds or kind in fault.kinds):
            self._count += 1
            if self._count == fault.at + 1:
                if fault.how in ("kill", "torn"):
                    if fault.how == "torn" and torn:
                        torn()
                    os.kill(os.getpid(), signal.SIGKILL)
                if torn:
                    torn()
                number = getattr(errno, fault.how)
                raise OSError(number, os.strerror(number), places[0])
        try:
            result = call()
        except OSError:
            self._log.write(json.dumps(["in vain", kind, *places]) + "\n")  # it was counted, too
            raise
        after = [self._content(places[0])] if kind == "write" else []
        self._log.write(json.dumps([kind, *places, *after]) + "\n")  # at once: the next call may be the last
        return result

    def _wrapped(self, call: Callable[..., Any], kind: str, second: bool = False) -> Callable[..., Any]:
        two = kind in ("link", "rename")

        def wrapped(*arguments: Any, **more: Any) -> Any:
            targets = arguments[1:2] if second else arguments[: 2 if two else 1]
            places = [self._place(target, more.get("dir_fd")) for target in targets]
            return self.meet(kind, places, lambda: call(*arguments, **more))

        return wrapped

    def _opens(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_CREAT or os.path.lexists(path):
            return self._open(path, flags, mode, dir_fd=dir_fd)
        return int(
            self.meet(
                "create", [self._place(path, dir_fd)], lambda: self._open(path, flags, mode, dir_fd=dir_fd)
            )
        )

    def _file(
        self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, opener: Any = None, **more: Any
    ) -> Any:
        plain = mode.replace("b", "").replace("t", "")
        if plain == "r":
            return _OPEN(file, mode, buffering, *text, opener=opener, **more)
        raw = Raw(
            file, plain, more.pop("closefd", True), opener or (lambda p, flags: os.open(p, flags, 0o666))
        )
        raw.tap = self
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in plain else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *text, **more)

    def _place(self, target: Any, folder: int | None = None) -> str:
        """The path of a path or a handle."""
        if isinstance(target, int):
            return os.readlink(f"/proc/self/fd/{target}")
        if folder is not None:
            return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fspath(target))
        return os.path.join(
            os.path.realpath(os.path.dirname(os.fspath(target))), os.path.basename(os.fspath(target))
        )

    def _content(self, place: str) -> str:
        with _OPEN(place, "rb") as file:
            return base64.b64encode(file.read()).decode()


_OPEN = open


class Raw(io.FileIO):
    """A file whose writes are counted."""

    tap: Tap

    def write(self, data: Any) -> int:
        half = bytes(data)[: len(data) // 2]
        return int(
            self.tap.meet(
                "write", [os.readlink(f"/proc/self/fd/{self.fileno()}")],
                lambda: super(Raw, self).write(data), lambda: super(Raw, self).write(half),
            )
        )  # fmt: skip

    def truncate(self, size: int | None = None) -> int:
        place = os.readlink(f"/proc/self/fd/{self.fileno()}")
        return int(self.tap.meet("write", [place], lambda: super(Raw, self).truncate(size)))


class Faults:
    """The other end of `serve`."""

    def __init__(self, folder: Path) -> None:
        """folder: for what the children tell."""
        self._out = folder / "told.json"
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(self._out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases = 0

    def run(self, root: Path, action: str, *arguments: Any, fault: Fault | None = None) -> Ended:
        """Does one thing to the store in `root`, in a process of its own; what it does above the store, to the folder
        in which its home lies, is watched as well."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._out.unlink(missing_ok=True)
        task = {
            "root": str(root),
            "watched": str(root.parent.parent),
            "action": action,
            "arguments": arguments,
            "fault": asdict(fault) if fault else None,
        }
        self._server.stdin.write(json.dumps(task) + "\n")
        self._server.stdin.flush()
        status = os.waitstatus_to_exitcode(int(self._server.stdout.readline()))
        told = json.loads(self._out.read_text()) if self._out.exists() else {}
        told["log"] = [json.loads(line) for line in self._out.with_suffix(".log").read_text().splitlines()]
        assert status in (0, -signal.SIGKILL), f"{action} ended with {status}: {told}"
        self.cases += fault is not None
        return Ended(-status, **told)

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()


@contextlib.contextmanager
def faults(folder: Path) -> Iterator[Faults]:
    served = Faults(folder)
    try:
        yield served
    finally:
        served.close()


def serve(out: Path) -> None:
    from aigc_core.weights import gc  # noqa: F401  # what is imported late is imported now

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line), out)
        _, status = os.waitpid(child, 0)
        os.write(1, f"{status}\n".encode())


def _child(task: dict[str, Any], out: Path) -> None:
    from aigc_core.errors import AigcError
    from aigc_core.weights.store import Store

    root = Path(task["root"])
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    write = _OPEN
    fault = task["fault"]
    Tap(
        Path(task["watched"]),
        Fault(fault["at"], fault["how"], tuple(fault["kinds"])) if fault else None,
        out.with_suffix(".log"),
    )
    told: dict[str, Any] = {}
    begin = time.perf_counter()
    try:
        told["value"] = ACTIONS[task["action"]](Store(root), *task["arguments"])
    except (AigcError, OSError) as error:
        told["error"] = f"{type(error).__name__}: {error}"
    except BaseException:
        import traceback

        told["error"] = traceback.format_exc()
    told["seconds"] = time.perf_counter() - begin
    with write(out, "w") as file:
        file.write(json.dumps(told))
    os._exit(0)


def publish(store: Any, name: str, value: int, alias: str | None = None, more: bool = False) -> str:
    """A version whose bytes follow from `value`; with a second file, if `more`."""
    files: dict[str, Any] = {"weights.safetensors": weights_bytes(value)}
    if more:
        files["samples.png"] = b"a sheet " * 10 + bytes([value])
    return str(store.publish(name, files, alias=alias))


def publish_file(store: Any, name: str, path: str) -> str:
    return str(store.publish(name, {"weights.safetensors": Path(path)}))


def pull(store: Any, reference: str, source: str) -> str:
    from aigc_core.weights.remotes.pull import pull

    return pull(reference, source, store=store).weights


def push(store: Any, reference: str, source: str) -> str:
    """To the store that is watched, which is the remote here."""
    from aigc_core.weights.remotes.push import push
    from aigc_core.weights.store import Store

    return push(reference, store.root, store=Store(Path(source))).weights


def gc(store: Any) -> int:
    from aigc_core.weights.gc import collect

    return collect(store).bytes_found


def seen(store: Any) -> dict[str, Any]:
    """All that a fresh process sees, every byte of it hashed."""
    from aigc_core.weights.blobs import digest_of

    def whole(version: Any) -> dict[str, str]:
        files = version.manifest.files
        for name, file in files.items():
            assert digest_of(store.layout.blob(file.digest)) == file.digest, f"{version} {name}"
        return {name: file.digest for name, file in files.items()}

    live = {str(version): whole(version) for version in store}
    assert all(store.find(reference).is_file() for reference in live)
    removed = {str(version): whole(version) for version in store.removed()}
    aliases = {f"{name}@{a}": n for name, given in store.aliases().items() for a, n in given.items()}
    for alias, number in aliases.items():
        assert str(store.version(alias)) == f"{alias.partition('@')[0]}@{number}"
    return {"live": live, "removed": removed, "aliases": aliases}


def aftermath(store: Any, action: str, arguments: list[Any]) -> dict[str, Any]:
    """What the next command finds, and whether the same once more, a publish and a gc need no repair."""
    from aigc_core.errors import AigcError

    found = seen(store)
    begin = time.perf_counter()
    try:
        again = ACTIONS[action](store, *arguments)
    except AigcError as error:
        again = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begin
    then = seen(store)
    following = publish(store, "a", 200)
    gc(store)
    left = [str(path) for path in store.root.rglob("*.partial")]
    return {"seen": found, "again": again, "seconds": seconds, "then": then, "following": following, "left": left,
            "last": seen(store), "garbage": gc(store)}  # fmt: skip


ACTIONS: dict[str, Callable[..., Any]] = {
    "publish": publish,
    "publish_file": publish_file,
    "tag": lambda store, reference, alias: str(store.tag(reference, alias)),
    "untag": lambda store, name, alias: store.untag(name, alias),
    "remove": lambda store, reference: str(store.remove(reference)),
    "restore": lambda store, reference: str(store.restore(reference)),
    "gc": gc,
    "pull": pull,
    "push": push,
    "seen": seen,
    "aftermath": aftermath,
}


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
