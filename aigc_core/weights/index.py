"""What `weights list` prints, kept in SQLite so that ten thousand versions are listed at once.

Only a cache: each row belongs to one version record, as it lies on the disk; what is missing or has changed is read
anew, and without the file all of it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import AigcError
from aigc_core.weights.layout import NAME, NUMBER
from aigc_core.weights.store import Store, Version

SCHEMA: Final = 1
"""Changes with what a row holds."""
_COLUMNS: Final = "file, inode, changed, name, number, row"


@dataclass(frozen=True, slots=True)
class Listing:
    """All versions of a store, in order."""

    rows: dict[Version, str]
    """Each as JSON, a field a line, as it stands in a list that is printed."""
    problems: dict[Version, str]
    """What can't be read, and why."""


def listing(store: Store) -> Listing:
    """Reads the index, and whatever it does not know. Raises nothing for a damaged version or index."""
    files = dict(_files(store.layout.versions))
    gone = {path.name for path in _json_files(store.layout.tombstones)}
    with _database(store) as database:
        known = _read(database, store.root)
        rows: dict[Version, str] = {}
        problems: dict[Version, str] = {}
        new = []
        for file, (name, number, inode, changed) in files.items():
            if file in gone:
                continue
            version = Version(name, number, store)
            cached = known.pop(file, None)
            if cached is not None and cached[:2] == (inode, changed):
                rows[version] = cached[2]
                continue
            try:
                rows[version] = _render(version)
            except AigcError as error:
                problems[version] = str(error)
            except OSError as error:
                problems[version] = f"{error.filename}: {(error.strerror or str(error)).lower()}"
            else:
                new.append((file, inode, changed, name, number, rows[version]))
        if new or known:
            _write(database, store.root, new, list(known))
    order = sorted(rows, key=lambda version: (version.name, version.number))
    return Listing(_with_aliases({version: rows[version] for version in order}, store), problems)


def _render(version: Version) -> str:
    """The row of a version. Raises NotFoundError, DamagedFileError."""
    manifest = version.manifest
    record = manifest.record
    data, training = record.get("data"), record.get("training")
    row: dict[str, Any] = {
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
    return "\n".join(f"  {line}" for line in json.dumps(row, indent=2, ensure_ascii=False).splitlines())


def _with_aliases(rows: dict[Version, str], store: Store) -> dict[Version, str]:
    """Aliases are few and change: they are read each time."""
    for name, aliases in store.aliases().items():
        for number in set(aliases.values()):
            version = Version(name, number, store)
            if version in rows:
                own = sorted(alias for alias, n in aliases.items() if n == number)
                row: dict[str, Any] = {**json.loads(rows[version]), "aliases": own}
                text = json.dumps(row, indent=2, ensure_ascii=False)
                rows[version] = "\n".join(f"  {line}" for line in text.splitlines())
    return rows


def _files(folder: Path) -> Iterator[tuple[str, tuple[str, int, int, int]]]:
    """The version records: name and number, and what tells one file of that name from another."""
    for entry in _json_files(folder):
        name, _, number = entry.name.removesuffix(".json").partition("@")
        if NAME.fullmatch(name) and NUMBER.fullmatch(number):
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                yield entry.name, (name, int(number), stat.st_ino, stat.st_mtime_ns)


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


def _read(database: sqlite3.Connection | None, root: Path) -> dict[str, tuple[int, int, str]]:
    if database is None:
        return {}
    try:
        if database.execute("SELECT path FROM root").fetchone() != (str(root),):
            return {}
        return {file: (inode, changed, row) for file, inode, changed, row in
                database.execute("SELECT file, inode, changed, row FROM versions")}  # fmt: skip
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
