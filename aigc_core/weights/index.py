"""What `weights list` prints, kept in SQLite so that ten thousand versions are listed at once.

Only a cache: each row belongs to one version record, as it lies on the disk; what is missing or has changed is read
anew, and without the file all of it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import AigcError
from aigc_core.weights.layout import NAME, NUMBER
from aigc_core.weights.store import Store, Version

SCHEMA: Final = 1
"""Changes with what a row holds."""
_COLUMNS: Final = "file, inode, changed, name, number, row"

Row = tuple[str, int, str]
"""Name, number, and what is printed."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All versions of a store."""

    rows: list[Row]
    """In order; each as JSON, a field a line, as it stands in a list that is printed."""
    problems: dict[str, str]
    """What can't be read, and why."""


def listing(store: Store) -> Listing:
    """Reads the index, and whatever it does not know. Raises nothing for a damaged version or index."""
    gone = {entry.name for entry in _json_files(store.layout.tombstones)}
    problems: dict[str, str] = {}
    with _database(store) as database:
        known = _read(database, store.root)
        there = set()
        new = []
        for entry in _json_files(store.layout.versions):
            file = entry.name
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                cached = known.get(file)
                if cached is not None and cached[0] == stat.st_ino and cached[1] == stat.st_mtime_ns:
                    there.add(file)
                elif version := _version(file, store):
                    try:
                        row = _render(version)
                    except AigcError as error:
                        problems[str(version)] = str(error)
                    except OSError as error:
                        problems[str(version)] = f"{error.filename}: {(error.strerror or str(error)).lower()}"
                    else:
                        new.append((file, stat.st_ino, stat.st_mtime_ns, version.name, version.number, row))
        lost = [file for file in known if file not in there]
        if new or lost:
            _write(database, store.root, new, lost)
    rows = [(name, number, row) for file, (_, _, name, number, row) in known.items()
            if file in there and file not in gone]  # fmt: skip
    if new:
        rows = sorted(rows + [(n[3], n[4], n[5]) for n in new if n[0] not in gone])
    return Listing(
        _with_aliases(rows, store), {v: why for v, why in problems.items() if f"{v}.json" not in gone}
    )


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


def _with_aliases(rows: list[Row], store: Store) -> list[Row]:
    """Aliases are few and change: they are read each time."""
    aliases = store.aliases()
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


@contextlib.contextmanager
def _database(store: Store) -> Iterator[sqlite3.Connection | None]:
    """The index, or None where it can't be had. A damaged one is removed."""
    path = store.layout.index
    if not store.layout.versions.is_dir():
        yield None
        return
    database = None
    try:
        database = sqlite3.connect(path, timeout=1, isolation_level=None)
        if database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DROP TABLE IF EXISTS versions")
            database.execute("DROP TABLE IF EXISTS root")
            database.execute("CREATE TABLE root (path TEXT)")
            database.execute(
                "CREATE TABLE versions (file TEXT PRIMARY KEY, inode INTEGER, changed INTEGER, name TEXT, "
                "number INTEGER, row TEXT)"
            )
            database.execute(f"PRAGMA user_version = {SCHEMA}")
            database.execute("COMMIT")
    except sqlite3.OperationalError:  # locked, or in a store that only can be read
        _close(database)
        database = None
    except sqlite3.DatabaseError:
        _close(database)
        database = None
        with contextlib.suppress(OSError):
            path.unlink()
    try:
        yield database
    finally:
        _close(database)


def _close(database: sqlite3.Connection | None) -> None:
    if database is not None:
        with contextlib.suppress(sqlite3.Error):
            database.close()


def _read(database: sqlite3.Connection | None, root: Path) -> dict[str, tuple[int, int, str, int, str]]:
    """By file: inode, time of its change, name, number, row; in the order of the last two."""
    if database is None:
        return {}
    try:
        if database.execute("SELECT path FROM root").fetchone() != (str(root),):
            return {}
        found = database.execute(f"SELECT {_COLUMNS} FROM versions ORDER BY name, number")
        return {values[0]: values[1:] for values in found}
    except sqlite3.Error:
        return {}


def _write(
    database: sqlite3.Connection | None, root: Path, new: list[tuple[Any, ...]], gone: list[str]
) -> None:
    if database is None:
        return
    with contextlib.suppress(sqlite3.Error):
        database.execute("BEGIN IMMEDIATE")
        if database.execute("SELECT path FROM root").fetchone() != (
            str(root),
        ):  # the store was moved or copied
            database.execute("DELETE FROM versions")
            database.execute("DELETE FROM root")
            database.execute("INSERT INTO root VALUES (?)", (str(root),))
        database.executemany("DELETE FROM versions WHERE file = ?", [(file,) for file in gone])
        database.executemany(f"INSERT OR REPLACE INTO versions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", new)
        database.execute("COMMIT")
