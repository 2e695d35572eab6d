"""A run's folder: `$AIGC_HOME/runs/NAME-KEY/`, keyed by all that decides its result."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors, write_atomically
from aigc_core.home import home
from aigc_core.training.state import load_state, save_state
from aigc_core.weights.header import canonical

if TYPE_CHECKING:
    from aigc_core.interfaces import Trainer


class Run:
    """One training: `run.json`, `checkpoint.safetensors`, `metrics.jsonl`."""

    def __init__(self, name: str, plan: Mapping[str, Any]) -> None:
        """`plan` is plain JSON: model, options, data digest, seed, steps, versions."""
        key = hashlib.sha256(canonical([name, plan]).encode()).hexdigest()[:12]
        self.plan: Final = plan
        self.folder: Final = home() / "runs" / f"{name}-{key}"
        self.checkpoint: Final = self.folder / "checkpoint.safetensors"
        self.metrics: Final = self.folder / "metrics.jsonl"
        self._file: Final = self.folder / "run.json"

    def finished(self) -> str | None:
        """`name@version` of the weights that this run ended with, if it has ended."""
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        weights = state.get("weights")
        return str(weights) if weights else None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block no other process works on this run. Raises UsageError if one does."""
        from filelock import FileLock, Timeout

        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout:
            raise UsageError(
                f"this very run is being trained by another process (in {self.folder}); wait for it, or change --name"
            ) from None

    def write(self, weights: str | None) -> None:
        """Writes `run.json`. Raises StorageError."""
        with write_atomically(self._file) as file:
            file.write(json.dumps({**self.plan, "weights": weights}, indent=2).encode() + b"\n")

    def save(self, trainer: Trainer[Any, Any], step: int) -> None:
        """Writes a checkpoint. Raises StorageError; the previous one is kept then."""
        save_state(self.checkpoint, {"step": step, "trainer": trainer.state_dict()})

    def restore(self, trainer: Trainer[Any, Any]) -> int:
        """Restores the checkpoint, if there is one; returns the steps that were done."""
        if not self.checkpoint.is_file():
            return 0
        state = load_state(self.checkpoint)
        trainer.load_state_dict(state["trainer"])
        return int(state["step"])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a line to `metrics.jsonl`."""
        with storage_errors(self.metrics), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def rewind(self, step: int) -> None:
        """Forgets logged lines after `step`: those of steps that are about to be made again."""
        if not self.metrics.is_file():
            return
        lines = self.metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step(line) <= step]
        with write_atomically(self.metrics) as file:
            file.write("".join(f"{line}\n" for line in kept).encode())

    def close(self, weights: str) -> None:
        """Marks the run as ended; its checkpoint is needed no longer."""
        self.write(weights)
        self.checkpoint.unlink(missing_ok=True)


def _step(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut off by a kill
        return float("inf")
