"""What was ever sampled here, by its content: `$AIGC_HOME/ledger.sqlite`.

A file whose record was stripped is found by what it decodes to. Each request is kept once, each sample as its
content's digest, the request and the index: some 65 bytes. SQLite's rollback journal makes a batch of entries appear
whole or not at all, whoever is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aigc_core.errors import DamagedFileError, StorageError
from aigc_core.home import home
from aigc_core.weights.header import canonical

if TYPE_CHECKING:
    import sqlite3

    Row = tuple[bytes, int, int]
    """Content, first index, count."""

VERSION: Final = 1
PATIENCE: Final = 20.0
"""Seconds to wait for another process's batch."""
BATCH: Final = 20_000
"""Entries that are written together; sorted, they touch few pages."""
DELAY: Final = 10.0
"""Seconds after which what has come together is written, be it ever so little."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (
  content BLOB NOT NULL, request INTEGER NOT NULL, start INTEGER NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (content, request, start, count)
) WITHOUT ROWID;
"""
_OWN: Final = ("start", "count", "content")
"""The fields of a record that are not the request's."""
_DAMAGED: Final = (1, 11, 26)
"""SQLITE_ERROR: our own queries fail only where the tables are not ours; SQLITE_CORRUPT, SQLITE_NOTADB."""


class Ledger:
    """The ledger of this home, or another one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path: Final = path or home() / "ledger.sqlite"

    def find(self, content: str) -> list[dict[str, Any]]:
        """The records of all files that were written with that content, those of the latest request
        first, a hundred at most.

        Raises DamagedFileError, StorageError where the ledger can't be read.
        """
        import sqlite3

        if not self.path.is_file():
            return []
        query = (
            "SELECT r.digest, r.record, s.start, s.count FROM samples s JOIN requests r ON r.id = s.request "
            "WHERE s.content = ? ORDER BY r.id DESC, s.start LIMIT 100"
        )
        try:
            with contextlib.closing(self._connect("rw")) as db:
                rows = db.execute(query, (_raw(content),)).fetchall()
            return [
                self._record(digest, request, start, count, content) for digest, request, start, count in rows
            ]
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if _is_damage(error):
                raise self._damaged(error) from None
            raise StorageError(f"cannot read {self.path}: {error}; try again") from None

    def enter(self, record: Mapping[str, Any], rows: list[Row]) -> Path | None:
        """Enters samples of a request; returns where a damaged ledger was moved to, if it was one.

        Raises StorageError where it can't be written.
        """
        import sqlite3

        try:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write(record, rows)
                return None
            except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                if not _is_damage(error):
                    raise
            return self._write_anew(record, rows)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"cannot write {self.path}: {' '.join(str(error).split())}; free some space, or choose another "
                "AIGC_HOME"
            ) from None

    @contextlib.contextmanager
    def of(self, record: Mapping[str, Any], remark: Callable[[str], None]) -> Iterator[Entries]:
        """The entries of one request: they are written as they come together, and when the block ends. What
        goes wrong is remarked once, and never an error."""
        entries = Entries(self, record, remark)
        try:
            yield entries
        finally:
            entries.flush()

    def _write(self, record: Mapping[str, Any], rows: list[Row]) -> None:
        request = canonical({key: value for key, value in record.items() if key not in _OWN})
        digest = hashlib.sha256(request.encode()).digest()
        with contextlib.closing(self._connect("rwc")) as db:
            db.execute("PRAGMA cache_size = -65536")
            self._prepare(db)
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT OR IGNORE INTO requests (digest, record) VALUES (?, ?)", (digest, request))
            (number,) = db.execute("SELECT id FROM requests WHERE digest = ?", (digest,)).fetchone()
            db.executemany(
                "INSERT OR IGNORE INTO samples (content, request, start, count) VALUES (?, ?, ?, ?)",
                ((content, number, start, count) for content, start, count in sorted(rows)),
            )
            db.execute("COMMIT")

    def _prepare(self, db: sqlite3.Connection) -> None:
        import sqlite3

        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            return
        if version > VERSION:
            raise sqlite3.OperationalError(f"a newer aigc made it (version {version}); upgrade aigc-core")
        db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    def _write_anew(self, record: Mapping[str, Any], rows: list[Row]) -> Path | None:
        """Moves a damaged ledger aside, unless another process has just done so."""
        import sqlite3

        from filelock import FileLock, Timeout

        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=PATIENCE)
        try:
            with lock:
                try:
                    self._write(record, rows)
                    return None
                except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                    if not _is_damage(error):
                        raise
                aside = self._aside()
                self.path.rename(aside)
                for tail in ("-journal", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        self.path.with_name(self.path.name + tail).rename(f"{aside}{tail}")
                self._write(record, rows)
                return aside
        except Timeout:
            raise OSError("another process is mending it") from None

    def _aside(self) -> Path:
        number = 1
        while (path := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        return path

    def _connect(self, mode: str) -> sqlite3.Connection:
        import sqlite3
        from urllib.parse import quote

        address = f"file:{quote(str(self.path))}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)

    def _record(self, digest: bytes, request: str, start: int, count: int, content: str) -> dict[str, Any]:
        if hashlib.sha256(str(request).encode()).digest() != digest:
            raise self._damaged("an entry is not what it was")
        return {**json.loads(request), "start": start, "count": count, "content": content}

    def _damaged(self, error: object) -> DamagedFileError:
        return DamagedFileError(f"{self.path}: cannot be read ({error}); move it away, a new one is begun")


class Entries:
    """What one sampling enters."""

    def __init__(self, ledger: Ledger, record: Mapping[str, Any], remark: Callable[[str], None]) -> None:
        self._ledger, self._record, self._remark = ledger, record, remark
        self._rows: list[Row] = []
        self._since, self._failed = 0.0, False

    def add(self, content: str, start: int, count: int) -> None:
        """A file of samples `start` .. `start + count - 1`, by its content's digest."""
        if self._failed:
            return
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append((_raw(content), start, count))
        if len(self._rows) >= BATCH or time.monotonic() - self._since > DELAY:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        try:
            aside = self._ledger.enter(self._record, rows)
        except StorageError as error:
            self._failed = True
            self._remark(f"the samples are whole, but a search by their content won't find them: {error}")
            return
        if aside is not None:
            self._remark(f"{self._ledger.path} was damaged; it is kept as {aside.name}, and a new one begun")


def _raw(content: str) -> bytes:
    """The 32 bytes of `sha256:...`."""
    return bytes.fromhex(content.removeprefix("sha256:"))


def _is_damage(error: Exception) -> bool:
    """Also where SQLite's own words for it can't be decoded, or an entry is of another type than was entered."""
    if isinstance(error, ValueError | TypeError):
        return True
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
