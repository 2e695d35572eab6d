"""The disk after a power cut, from the calls that a process made: what was not flushed may be there, or not.

The rules are harder than any file system's: the bytes of a file are lost unless the file was flushed, its names unless
their folders were, each name by itself; of what was not flushed, any part may have come through.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Name = tuple[str, "Node | None"]
"""A name that a folder was to take on, or lose."""


@dataclass(eq=False)
class Node:
    """A file or a folder: as it is, and what the disk holds."""

    is_folder: bool
    content: bytes = b""
    flushed: bytes | None = None
    names: dict[str, Node] = field(default_factory=dict)
    kept: dict[str, Node] = field(default_factory=dict)
    pending: list[Name] = field(default_factory=list)
    """What was done to the names since the folder was flushed."""

    def take(self, name: str, node: Node | None) -> None:
        if node is None:
            del self.names[name]
        else:
            self.names[name] = node
        self.pending.append((name, node))


class Disk:
    """A folder, all of it flushed at first, to which the calls of a log happen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.root = _read(folder)

    def happen(self, kind: str, *places: str) -> None:
        """One call of the log of `faults.Tap`."""
        if kind == "write":
            self._node(places[0]).content = base64.b64decode(places[1])
        elif kind == "fsync":
            node = self._node(places[0])
            node.flushed, node.kept, node.pending = node.content, dict(node.names), []
        elif kind in ("create", "mkdir"):
            folder, name = self._place(places[0])
            folder.take(name, Node(kind == "mkdir"))
        elif kind in ("unlink", "rmdir"):
            folder, name = self._place(places[0])
            folder.take(name, None)
        elif kind in ("link", "rename"):
            node = self._node(places[0])
            folder, name = self._place(places[1])
            folder.take(name, node)
            if kind == "rename":
                folder, name = self._place(places[0])
                folder.take(name, None)
        else:
            assert kind in ("chmod", "in vain"), kind

    def after_power_cut(self, every: bool = False) -> Iterator[Node]:
        """The disks that may be found; with `every`, each combination of names, if they are few."""
        folders = list(_folders(self.root))
        pending = [(folder, number) for folder in folders for number in range(len(folder.pending))]
        for came_through in _choices(pending, every):
            chosen = set(came_through)
            for lost in ("zeros", "empty", "kept"):
                yield self._copy(self.root, chosen, lost)

    def _copy(self, node: Node, chosen: set[tuple[Node, int]], lost: str) -> Node:
        if not node.is_folder:
            if node.flushed is not None and (lost != "kept" or node.flushed == node.content):
                return Node(False, node.flushed)
            return Node(False, {"zeros": bytes(len(node.content)), "empty": b"", "kept": node.content}[lost])
        names = dict(node.kept)
        for number, (name, target) in enumerate(node.pending):
            if (node, number) in chosen:
                if target is None:
                    names.pop(name, None)
                else:
                    names[name] = target
        return Node(True, names={name: self._copy(child, chosen, lost) for name, child in names.items()})

    def _place(self, place: str) -> tuple[Node, str]:
        path = Path(place)
        return self._node(str(path.parent)), path.name

    def _node(self, place: str) -> Node:
        node = self.root
        for part in Path(place).relative_to(self._folder).parts:
            node = node.names[part]
        return node


def write(node: Node, folder: Path) -> None:
    """Makes a disk that was found a real folder."""
    folder.mkdir()
    for name, child in node.names.items():
        if child.is_folder:
            write(child, folder / name)
        else:
            (folder / name).write_bytes(child.content)


def fingerprint(node: Node) -> str:
    """The same for the same disk; names of temporary files, which are drawn, count by their number."""
    parts = []
    for name, child in sorted(node.names.items()):
        label = "temporary" if name.endswith(".partial") else name
        parts.append(f"{label}:{fingerprint(child) if child.is_folder else child.content.hex()}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _choices(pending: list[tuple[Node, int]], every: bool) -> Iterable[tuple[tuple[Node, int], ...]]:
    if every and len(pending) <= 8:
        return itertools.chain.from_iterable(
            itertools.combinations(pending, size) for size in range(len(pending) + 1)
        )
    alone = [(one,) for one in pending]
    all_but = [tuple(other for other in pending if other != one) for one in pending]
    return [(), tuple(pending), *alone, *all_but]


def _folders(node: Node) -> Iterator[Node]:
    """All folders, also those that have only been given up."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        folder = waiting.pop()
        if id(folder) in seen or not folder.is_folder:
            continue
        seen.add(id(folder))
        yield folder
        waiting += [*folder.names.values(), *folder.kept.values(), *(n for _, n in folder.pending if n)]


def _read(path: Path) -> Node:
    if not path.is_dir():
        content = path.read_bytes()
        return Node(False, content, content)
    names = {entry.name: _read(entry) for entry in path.iterdir()}
    return Node(True, names=names, kept=dict(names))
