"""The loop: steps, clock, logs, checkpoints, signals."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from aigc_core.training.guards import spread

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Batch, Trainer
    from aigc_core.training.engine import AccelerateEngine

LOG_EVERY: Final = 25
"""Steps between two readings of the metrics: each reading waits for the device."""

SAVE_SECONDS: Final = 60.0
"""Time between two checkpoints, where no number of steps is asked for."""


_SPREAD: Final = " spread"
"""Among the metrics while they travel; no trainer's own can be called so."""


@dataclass
class Stop:
    """Set by Ctrl-C or SIGTERM; the loop finishes its step and stops."""

    requested: int = 0
    """The number of the signal that asked."""

    @contextmanager
    def on_signals(self) -> Iterator[Stop]:
        """Within the block a first signal sets `requested`; a second Ctrl-C interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = number


@dataclass(frozen=True)
class Rhythm:
    """What the loop does when: each is a number of steps, or 0 for never."""

    guard: int = 0
    """A checkpoint that the run can go back to."""
    save: int = 0
    """A checkpoint that is asked for; for 0, one every `SAVE_SECONDS`."""
    sheet: int = 0

    def regular(self, step: int, total: int) -> bool:
        """Whether every run of so many steps reads the metrics of this one, whatever it keeps and shows."""
        return step in (1, total) or _falls(step, LOG_EVERY) or _falls(step, self.guard)

    def next_after(self, step: int, total: int) -> int:
        """The next step after which there is something to do."""
        every = [n for n in (LOG_EVERY, self.guard, self.save, self.sheet) if n]
        return min(total, *((step // n + 1) * n for n in every), *([1] if step < 1 else []))


class Hooks:
    """What the loop tells its owner. Whatever is raised ends the loop."""

    def tick(self) -> None:
        """After every step."""

    def read(self, step: int, metrics: Mapping[str, float], spread: float | None) -> None:
        """The metrics of a step, every few steps, before each checkpoint and at the end. `spread`: see `guards`."""

    def save(self, step: int) -> None:
        """A checkpoint is due."""

    def sheet(self, step: int) -> None:
        """A sheet of samples is due."""


def fit(
    trainer: Trainer[Any, Any],
    batches: Iterable[Sequence[Batch]],
    engine: AccelerateEngine,
    *,
    start: int,
    rhythm: Rhythm,
    hooks: Hooks,
    stop: Stop,
) -> int:
    """Trains from step `start` to the engine's last step, or until `stop` is requested; returns the steps done.

    batches: of each step, the parts of this process. Nothing but the number of a step decides what is done
    after it, apart from the checkpoints by the clock, which change nothing.
    """
    done, total = start, engine.total_steps
    if done >= total:
        return done
    due = rhythm.next_after(done, total)
    saved, alone = time.monotonic(), engine.processes == 1
    for parts in batches:
        if stop.requested and alone:
            break
        metrics = _step(trainer, parts, engine, done)
        done += 1
        hooks.tick()
        late = not rhythm.save and time.monotonic() - saved >= SAVE_SECONDS
        halt, save = engine.agree(bool(stop.requested), late)
        if late:
            saved = time.monotonic()
        if done < due and not (halt or save):
            continue
        if done >= due or save:
            figures = engine.mean_of({**metrics, **_spread(trainer, parts)})
            hooks.read(done, figures, figures.pop(_SPREAD, None))
            due = rhythm.next_after(done, total)
        if done == total:
            break
        if save or _falls(done, rhythm.guard) or _falls(done, rhythm.save):
            hooks.save(done)
            saved = time.monotonic()
        if _falls(done, rhythm.sheet):
            hooks.sheet(done)
        if halt:
            break
    engine.settle()
    return done


def _step(
    trainer: Trainer[Any, Any], parts: Sequence[Batch], engine: AccelerateEngine, step: int
) -> Mapping[str, Tensor]:
    if len(parts) == 1:
        engine.begin(step)
        return trainer.step(parts[0])
    told = []
    for number, batch in enumerate(parts):
        engine.begin(step, number)
        with engine.part(number):
            told.append(trainer.step(batch))
    return {name: sum(metrics[name] for metrics in told) / len(told) for name in told[0]}  # type: ignore[misc]


def _spread(trainer: Trainer[Any, Any], parts: Sequence[Batch]) -> dict[str, Tensor]:
    samples = trainer.samples()
    return {} if samples is None else {_SPREAD: spread(samples, parts[-1].x)}


def _falls(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


class Pace:
    """Items a second, over the time since it was last asked."""

    def __init__(self, batch_size: int, step: int) -> None:
        self._size, self._step, self._then = batch_size, step, time.perf_counter()

    def at(self, step: int) -> float:
        now = time.perf_counter()
        steps, passed = step - self._step, now - self._then
        self._step, self._then = step, now
        return steps * self._size / passed if passed > 0 else math.nan
