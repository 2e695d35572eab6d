"""The checkpoints of a run: `checkpoints/00000100.safetensors`, the last few and the best."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aigc_core.training.state import Snapshot, load_state, snapshot, write_gathered

if TYPE_CHECKING:
    from torch import Tensor

ENDING: Final = ".safetensors"

GUARDED: Final = 3
"""The states to go back to that are kept, since a trouble may be older than it shows."""


class Checkpoints:
    """Written in the background: the state is copied at once, and the copy is written while training goes on.

    A file has its name when it is whole. `guard` is the step count whose multiples a run can go back to.
    """

    def __init__(self, folder: Path, keep: int, guard: int, writes: bool = True) -> None:
        """writes: whether this process is the one of several that writes."""
        self.folder, self._keep, self._guard, self._writes = folder, keep, guard, writes
        self._pool = ThreadPoolExecutor(1, "aigc-checkpoint")
        self._pending: Future[None] | None = None
        self._buffer: Tensor | None = None
        self.best: tuple[int, float] | None = None
        """The step of the checkpoint with the least loss, and that loss."""

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, oldest first."""
        with contextlib.suppress(OSError):
            return sorted(int(p.stem) for p in self.folder.glob(f"*{ENDING}") if p.stem.isdecimal())
        return []

    def path(self, step: int) -> Path:
        return self.folder / f"{step:08d}{ENDING}"

    def load(self, step: int) -> dict[str, Any]:
        """Raises DamagedFileError, NotFoundError."""
        self.wait()
        state = load_state(self.path(step))
        self.best = state.get("best")
        return state

    def save(
        self, step: int, state: Mapping[str, Any], *, loss: float | None = None, gathered: bool = False
    ) -> bool:
        """Copies a state and begins to write it; what came before is written by then. Returns whether all of
        it is finite; what is not isn't kept. loss: for finding the best.

        gathered: the state is shared out over processes, which all call this; it is written at once.
        Raises StorageError, also for the checkpoint before.
        """
        self.wait()
        best = self.best
        if loss is not None and (best is None or loss < best[1]):
            best = (step, loss)
        state = {**state, "best": best}
        if gathered:
            finite = write_gathered(self.path(step) if self._writes else None, state)
            if finite:
                self._keep_best(best)
            return finite
        if not self._writes:
            self.best = best
            return True
        taken = snapshot(state, self._buffer)
        if self._buffer is None or len(self._buffer) < len(taken.buffer):
            self._buffer = taken.buffer
        if not taken.finite():
            return False
        self._pending = self._pool.submit(self._write, step, taken, best)
        return True

    def wait(self) -> None:
        """Until everything is written. Raises StorageError if it could not be."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def forget(self, keep: Callable[[int], bool]) -> None:
        """Removes the checkpoints of the steps that are not to be kept."""
        self.wait()
        if self._writes:
            for step in self.steps():
                if not keep(step):
                    self.path(step).unlink(missing_ok=True)

    def close(self) -> None:
        """Waits for the writer and ends it; what it could not write is no matter any more."""
        self._pool.shutdown(wait=True)
        self._pending = None

    def _write(self, step: int, taken: Snapshot, best: tuple[int, float] | None) -> None:
        taken.write(self.path(step))
        self._keep_best(best)

    def _keep_best(self, best: tuple[int, float] | None) -> None:
        """Removes what is neither among the last nor the best nor one to go back to."""
        self.best = best
        if not self._writes:
            return
        steps = self.steps()
        kept = {*steps[-self._keep :], *[s for s in steps if s % self._guard == 0][-GUARDED:]}
        if best is not None:
            kept.add(best[0])
        for old in set(steps) - kept:
            self.path(old).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Removes all checkpoints, of a run that has ended or begins anew."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.glob(f"*{ENDING}"):
            path.unlink(missing_ok=True)
        folder.rmdir()
