"""A run's folder: `$AIGC_HOME/runs/NAME-KEY/`, keyed by all that decides its result."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors, write_atomically
from aigc_core.home import home
from aigc_core.weights.header import canonical


class Run:
    """One training: `run.json`, `metrics.jsonl`, `checkpoints/`, `sheets/`, `curves.png`."""

    def __init__(self, name: str, plan: Mapping[str, Any]) -> None:
        """`plan` is plain JSON: model, options, data digest, seed, length; what else is decided by them."""
        self.key: Final = hashlib.sha256(canonical([name, plan]).encode()).hexdigest()[:12]
        self.plan: Final = plan
        self.folder: Final = home() / "runs" / f"{name}-{self.key}"
        self.checkpoints: Final = self.folder / "checkpoints"
        self.sheets: Final = self.folder / "sheets"
        self.metrics: Final = self.folder / "metrics.jsonl"
        self._file: Final = self.folder / "run.json"

    def record(self) -> dict[str, Any]:
        """What `run.json` says; see `read_record`."""
        return read_record(self.folder)

    def finished(self) -> str | None:
        """`name@version` of the weights that this run ended with, if it has ended."""
        weights = self.record().get("weights")
        return str(weights) if weights else None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block no other process works on this run; what a killed one left unfinished is gone.
        Raises UsageError if one does, StorageError."""
        from filelock import FileLock, Timeout

        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", timeout=1)  # a listing looks for an instant
            try:
                lock.acquire()
            except Timeout:
                raise UsageError(
                    f"this very run is being trained by another process (in {self.folder}); wait for it, or "
                    "change --name"
                ) from None
        try:
            for left in self.folder.rglob(".*.partial"):
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def write(self, **fields: Any) -> None:
        """Adds fields to `run.json`: `environment`, `command`, `steps`, `weights`, `failed`. Raises StorageError."""
        began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = {"weights": None, "failed": None, "began": began, **self.record(), **self.plan, **fields}
        with write_atomically(self._file) as file:
            file.write(json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a line to `metrics.jsonl`."""
        with storage_errors(self.metrics), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def rewind(self, step: int) -> None:
        """Forgets what was logged and drawn after `step`: of steps that are about to be made again."""
        if self.sheets.is_dir():
            for sheet in self.sheets.iterdir():
                if sheet.stem.partition(".")[0].isdecimal() and int(sheet.stem.partition(".")[0]) > step:
                    sheet.unlink()
        if not self.metrics.is_file():
            return
        lines = self.metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step(line) <= step]
        if kept != lines:
            with write_atomically(self.metrics) as file:
                file.write("".join(f"{line}\n" for line in kept).encode())


def read_record(folder: Path) -> dict[str, Any]:
    """What a run's `run.json` says; empty for a run that never began, or whose file is damaged."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed between two environments, in words."""
    return [
        f"{name} {_shown(before.get(name))} -> {_shown(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


def _step(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut off by a kill
        return float("inf")
