"""The rows of a table and the folder that keeps them, each whole in a file of its own; no torch here."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from aigc_core.benchmark.ask import slug
from aigc_core.files import make_folder, remove_unfinished, storage_errors, sync_folder, write_atomically

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Number:
    """One figure of a metric."""

    value: float | None
    """None where it is infinite or no number."""
    interval: tuple[float, float] | None = None
    """In which it lies with 95 %, over the samples and items alone."""
    metric: str = ""
    lower_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """What one training, drawn from by one sampler, came to."""

    asked: Mapping[str, Any]
    """All that decides it; a row of anything else is measured anew."""
    model: str
    sampler: str | None
    """None of models that are judged without samples, and where the training failed."""
    seed: int
    failed: str | None = None
    """Why it has no figures."""
    figures: Mapping[str, Number] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """weights, tensors_digest, steps, seconds (of the steps), images_per_second, parameters, samples_per_second,
    environment, versions, date, seconds_in_all: as far as they are known."""
    sheet: str | None = None
    """The file of pictures, or of texts, beside the row."""

    @property
    def stem(self) -> str:
        """What its files are called."""
        return stem(self.model, self.sampler, self.seed)

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def stem(model: str, sampler: str | None, seed: int) -> str:
    """`gan-dcgan-prior-s0`"""
    return "-".join([slug(model), *([slug(sampler)] if sampler else []), f"s{seed}"])


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Rows:
    """The folder beside a table: `STEM.json` a row, and its pictures. Many processes may fill it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def open(self) -> None:
        """Makes the folder, and removes what killed processes left half-written. Raises StorageError."""
        with storage_errors(self.folder):
            make_folder(self.folder)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, os.strerror(13), str(self.folder))
            remove_unfinished(self.folder)

    def write(self, row: Row) -> None:
        """Keeps a row in the place of an older one. Raises StorageError."""
        with write_atomically(self.folder / f"{row.stem}.json") as file:
            file.write(json.dumps(row.as_json(), indent=2, ensure_ascii=False).encode() + b"\n")

    def forget(self, model: str, sampler: str | None, seed: int) -> None:
        """Removes a row, if it is there. Raises StorageError."""
        path = self.folder / f"{stem(model, sampler, seed)}.json"
        with storage_errors(path):
            path.unlink(missing_ok=True)

    def read(self, model: str, sampler: str | None, seed: int) -> Row | None:
        """A row, if it is there and can be read."""
        return _read(self.folder / f"{stem(model, sampler, seed)}.json")

    def __iter__(self) -> Iterator[Row]:
        """All that can be read, by their names."""
        for path in sorted(self.folder.glob("*.json")):
            if row := _read(path):
                yield row

    @contextlib.contextmanager
    def alone(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process alone does what has such a name, within the block: False where another one does.

        wait: until that has ended. The kernel lets go of what a killed process held. Raises StorageError.
        """
        path = self.folder / f".{name}.lock"
        with storage_errors(path):
            handle = _held(path, wait)
        if handle is None:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(
                missing_ok=True
            )  # while it is held: who waits for it looks whether it still has a name
            os.close(handle)


def write_table(path: Path, text: str) -> None:
    """Raises StorageError. Nothing is written where the very same stands there."""
    content = text.encode()
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    with write_atomically(path) as file:
        file.write(content)
    sync_folder(path.parent)


def _held(path: Path, wait: bool) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks: one bench at a time
            return handle
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # its last holder removed it meanwhile


def _read(path: Path) -> Row | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            return None
        figures = {
            name: Number(
                figure["value"], figure["interval"] and tuple(figure["interval"]), figure["metric"], figure["lower_is_better"]
            )
            for name, figure in record.pop("figures").items()
        }  # fmt: skip
        return Row(**{**record, "figures": figures})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
