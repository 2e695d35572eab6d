"""What `weights list` prints, kept in SQLite so that ten thousand versions are listed at once.

Only a cache: each row belongs to one version record, as it lies on the disk; what is missing or has changed is read
anew, and without the file all of it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import AigcError
from aigc_core.weights.layout import NAME, NUMBER
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

SCHEMA: Final = 2
"""Changes with what a row holds."""
_COLUMNS: Final = "file, inode, changed, name, number, row"
_TABLES: Final = """
BEGIN IMMEDIATE;
DROP TABLE IF EXISTS root; DROP TABLE IF EXISTS versions; DROP TABLE IF EXISTS whole;
CREATE TABLE root (path TEXT);
CREATE TABLE versions (file TEXT PRIMARY KEY, inode INTEGER, changed INTEGER, name TEXT, number INTEGER, row TEXT);
CREATE TABLE whole (signature BLOB, text TEXT);
"""

Row = tuple[str, int, str]
"""Name, number, and what is printed."""
Cached = tuple[int, int, str, int, str]
"""Of a version record: inode, time of its change, name, number, row."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All versions of a store."""

    rows: list[Row]
    """In order; each as JSON, a field a line, as it stands in a list that is printed."""
    problems: dict[str, str]
    """What can't be read, and why."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What lies in the folders of a store: all that a listing depends on."""

    files: dict[str, tuple[int, int]]
    """Version records, with their inodes and the times of their changes."""
    gone: set[str]
    aliases: dict[str, dict[str, int]]

    def signature(self, root: Path) -> bytes:
        parts = [f"{file} {inode} {changed}" for file, (inode, changed) in self.files.items()]
        return hashlib.sha256(
            repr((str(root), "\n".join(parts), sorted(self.gone), self.aliases)).encode()
        ).digest()


def listing(store: Store) -> Listing:
    """Reads the index, and whatever it does not know. Raises nothing for a damaged version or index."""
    with _Index(store) as index:
        return _listing(store, _look(store), index)


def printed(store: Store) -> tuple[str, dict[str, str]]:
    """The same as JSON, and what can't be read: of a store in which nothing has changed, as it was printed last."""
    seen = _look(store)
    with _Index(store) as index:
        signature = seen.signature(store.root)
        if (text := index.whole(signature)) is not None:
            return text, {}
        found = _listing(store, seen, index)
        text = "[\n" + ",\n".join(row for _, _, row in found.rows) + "\n]" if found.rows else "[]"
        if not found.problems:
            index.keep_whole(signature, text)
    return text, found.problems


def _look(store: Store) -> _Seen:
    files = {}
    for entry in _json_files(store.layout.versions):
        with contextlib.suppress(FileNotFoundError):
            stat = entry.stat()
            files[entry.name] = stat.st_ino, stat.st_mtime_ns
    return _Seen(files, {entry.name for entry in _json_files(store.layout.tombstones)}, store.aliases())


def _listing(store: Store, seen: _Seen, index: _Index) -> Listing:
    known = index.rows()
    problems: dict[str, str] = {}
    new: list[tuple[Any, ...]] = []
    for file, stamp in seen.files.items():
        cached = known.get(file)
        if cached is not None and cached[:2] == stamp:
            continue
        known.pop(file, None)
        if file in seen.gone or not (version := _version(file, store)):
            continue
        try:
            new.append((file, *stamp, version.name, version.number, _render(version)))
        except AigcError as error:
            problems[str(version)] = str(error)
        except OSError as error:
            problems[str(version)] = f"{error.filename}: {(error.strerror or str(error)).lower()}"
    lost = [file for file in known if file not in seen.files]
    if new or lost:
        index.change(new, lost)
    rows = [cached[2:] for file, cached in known.items() if file in seen.files and file not in seen.gone]
    if new:
        rows = sorted([*rows, *(row[3:] for row in new)])
    return Listing(_with_aliases(rows, seen.aliases), problems)


def _version(file: str, store: Store) -> Version | None:
    name, _, number = file.removesuffix(".json").partition("@")
    return Version(name, int(number), store) if NAME.fullmatch(name) and NUMBER.fullmatch(number) else None


def _render(version: Version) -> str:
    """The row of a version. Raises NotFoundError, DamagedFileError."""
    manifest = version.manifest
    record = manifest.record
    data, training = record.get("data"), record.get("training")
    fields: dict[str, Any] = {
        "weights": str(version),
        "model": manifest.model,
        "data": data.get("name") if isinstance(data, dict) else None,
        "steps": training.get("steps") if isinstance(training, dict) else None,
        "parameters": record.get("parameters"),
        "bytes": manifest.weights.size,
        "tensors_digest": manifest.tensors_digest,
        "manifest": manifest.digest,
        "published": version.record.published,
        "path": str(version.path),
        "aliases": [],
    }
    return _row(fields)


def _with_aliases(rows: list[Row], aliases: Mapping[str, Mapping[str, int]]) -> list[Row]:
    """Aliases are few and change: they are read each time."""
    if not aliases:
        return rows
    return [
        (name, number, _row({**json.loads(row), "aliases": own}))
        if (own := sorted(alias for alias, n in aliases.get(name, {}).items() if n == number))
        else (name, number, row)
        for name, number, row in rows
    ]


def _row(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, indent=2, ensure_ascii=False)
    return "\n".join(f"  {line}" for line in text.splitlines())


def _json_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.name.endswith(".json"))


class _Index:
    """The file; where it can't be had, nothing is known and nothing is kept. A damaged one is removed."""

    def __init__(self, store: Store) -> None:
        self._root: Final = store.root
        self._database: sqlite3.Connection | None = None
        if store.layout.versions.is_dir():
            self._open(store.layout.index)

    def __enter__(self) -> _Index:
        return self

    def __exit__(self, *error: object) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()

    def rows(self) -> dict[str, Cached]:
        """What is known of version records, by their files' names; in the order of name and number."""
        found = self._ask(f"SELECT {_COLUMNS} FROM versions ORDER BY name, number")
        return {values[0]: values[1:] for values in found} if self._is_of_this_place() else {}

    def whole(self, signature: bytes) -> str | None:
        """What was printed of a store that looked just so."""
        found = self._ask("SELECT text FROM whole WHERE signature = ?", signature)
        return found[0][0] if found else None

    def keep_whole(self, signature: bytes, text: str) -> None:
        self._write(("DELETE FROM whole", [()]), ("INSERT INTO whole VALUES (?, ?)", [(signature, text)]))

    def change(self, new: list[tuple[Any, ...]], gone: list[str]) -> None:
        moved = [] if self._is_of_this_place() else [()]
        self._write(
            ("DELETE FROM versions", moved),
            ("DELETE FROM root", moved),
            ("INSERT INTO root VALUES (?)", [(str(self._root),) for _ in moved]),
            ("DELETE FROM versions WHERE file = ?", [(file,) for file in gone]),
            (f"INSERT OR REPLACE INTO versions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", new),
        )

    def _is_of_this_place(self) -> bool:
        return self._ask("SELECT path FROM root") == [(str(self._root),)]

    def _open(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(path, timeout=1, isolation_level=None)
            if self._database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                self._database.executescript(f"{_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        except sqlite3.OperationalError:  # locked, or in a store that only can be read
            self._close()
        except sqlite3.DatabaseError:
            self._close()
            with contextlib.suppress(OSError):
                path.unlink()

    def _close(self) -> None:
        self.__exit__()
        self._database = None

    def _ask(self, query: str, *values: Any) -> list[Any]:
        with contextlib.suppress(sqlite3.Error):
            if self._database is not None:
                return self._database.execute(query, values).fetchall()
        return []

    def _write(self, *statements: tuple[str, Sequence[tuple[Any, ...]]]) -> None:
        """In one transaction, each statement once for each of its rows; what can't be written is not kept."""
        with contextlib.suppress(sqlite3.Error):
            if self._database is not None:
                self._database.execute("BEGIN IMMEDIATE")
                for statement, rows in statements:
                    self._database.executemany(statement, rows)
                self._database.execute("COMMIT")
