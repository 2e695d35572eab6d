"""The loop: steps, clock, logs, checkpoints, Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from aigc_core.errors import TrainingError

if TYPE_CHECKING:
    from aigc_core.interfaces import Batch, Metrics, Trainer
    from aigc_core.training.engine import AccelerateEngine

LOG_EVERY: Final = 25
"""Steps between two readings of the metrics: each reading waits for the device."""

Log = Callable[[int, Mapping[str, float]], None]
Save = Callable[[int], None]
Tick = Callable[[], None]


@dataclass
class Stop:
    """Set by Ctrl-C; the loop finishes its step and stops."""

    requested: bool = False

    @contextmanager
    def on_interrupt(self) -> Iterator[Stop]:
        """Within the block a first Ctrl-C sets `requested`; a second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = signal.signal(signal.SIGINT, self._handle)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def fit(
    trainer: Trainer[Any, Any],
    batches: Iterable[Batch],
    engine: AccelerateEngine,
    *,
    start: int,
    stop: Stop,
    tick: Tick,
    log: Log,
    save: Save,
    save_every: int | None,
    save_seconds: float = 60.0,
) -> int:
    """Trains from step `start` to the engine's last step, or until `stop` is requested.

    `tick()` is called after every step; `log(step, metrics)` every few steps and at the end; `save(step)`
    every `save_every` steps or, for None, every `save_seconds`. Returns the number of steps done.
    Raises TrainingError if a metric that is logged, or about to be saved, is not finite.
    """
    done, total = start, engine.total_steps
    last_save = time.monotonic()
    for batch in batches:
        engine.begin(done)
        metrics = trainer.step(batch)
        done += 1
        tick()
        last = stop.requested or done == total
        if save_every is not None:
            due = done % save_every == 0
        else:
            due = time.monotonic() - last_save >= save_seconds
        if last or done % LOG_EVERY == 0:
            log(done, _read(metrics, done))
        elif due:
            _read(metrics, done)  # what has diverged is not kept
        if last:
            break
        if due:
            save(done)
            last_save = time.monotonic()
    return done


def _read(metrics: Metrics, step: int) -> dict[str, float]:
    values = {name: float(value) for name, value in metrics.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} is {value} at step {step}: training has diverged; try a smaller --lr, or look at the data"
            )
    return values
