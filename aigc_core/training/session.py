"""One training at work: it restores, logs, saves, draws, watches, and goes back when it must."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aigc_core.data.batches import Batches
from aigc_core.errors import (
    DamagedFileError,
    InterruptedRun,
    NotFoundError,
    TerminatedRun,
    TrainingError,
    UsageError,
)
from aigc_core.events import Event
from aigc_core.files import create_exclusively
from aigc_core.progress import Progress
from aigc_core.training.checkpoints import Checkpoints
from aigc_core.training.fitted import fit_samplers
from aigc_core.training.guards import ROLLBACKS, SMALLER, Diverged, Guards, guard_every
from aigc_core.training.loop import Hooks, Pace, Rhythm, Stop, fit
from aigc_core.training.parallel import together
from aigc_core.training.sheets import Sheets, sheet_every
from aigc_core.training.state import check_state
from aigc_core.weights.file import encode

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Generator, Trainer
    from aigc_core.registry import Registry
    from aigc_core.training.engine import AccelerateEngine
    from aigc_core.training.plan import Plan
    from aigc_core.training.run import Run
    from aigc_core.weights.file import Fitted


class Session(Hooks):
    """From a plan to a fitted trainer. With several processes each has one; the first one writes and tells."""

    def __init__(
        self, plan: Plan, run: Run, engine: AccelerateEngine, registry: Registry, progress: Progress
    ) -> None:
        self.plan, self.run, self.engine = plan, run, engine
        self._registry, self._progress = registry, progress
        self._first = engine.rank == 0
        settings = plan.settings
        sheets = sheet_every(plan.steps) if settings.sheet_every is None else settings.sheet_every
        self.rhythm = Rhythm(guard_every(plan.steps), settings.checkpoint_every or 0, sheets)
        self.checkpoints = Checkpoints(run.checkpoints, settings.keep, self.rhythm.guard, self._first)
        self.guards = Guards()
        self.remarks: list[str] = []
        """What the user should know, beside the result."""
        self.metrics: dict[str, float] = {}
        """Those that were read last."""
        self._losses: list[float] = []
        """Since the last checkpoint."""
        self._sheets: Sheets | None = Sheets(plan.model, run.sheets)
        if not self._sheets.possible or engine.sharded:
            self._sheets = None
        self._board: Any = None
        self.trainer = self._make()
        check_state(
            self.trainer.state_dict()
        )  # what can't be kept must not be found out at the first checkpoint
        self.adapters()

    def train(self, stop: Stop) -> int:
        """Trains to the end, from the last checkpoint if there is one; returns the step it began at.

        Raises InterruptedRun when it was told to stop, TrainingError when it can't go on.
        """
        begun = start = self._restore()
        self._emit("train.start", **self.run.plan, begun=begun, run=str(self.run.folder))
        if self.plan.settings.tensorboard and self._first:
            from aigc_core.training.tensorboard import TensorBoard

            self._board = TensorBoard(self.run.folder / "tensorboard", begun)
        batches = Batches(
            self.plan.dataset, self.engine.batch_size, self.plan.seed, self.trainer.generator.output,
            self.engine.device,
        )  # fmt: skip
        rows = [self.engine.chunk(part) for part in range(self.engine.parts)]
        label = f"{self.plan.model.spec.id} on {self.plan.dataset.name}"
        try:
            with self._progress.bar(self.plan.steps, label, "step", initial=begun) as self._bar:
                while True:
                    self._pace = Pace(self.engine.batch_size, start)
                    shares = batches.shares(start, self.plan.steps, rows)
                    try:
                        with together(self.engine.processes):
                            done = fit(
                                self.trainer, shares, self.engine,
                                start=start, rhythm=self.rhythm, hooks=self, stop=stop,
                            )  # fmt: skip
                        break
                    except Diverged as trouble:
                        self.engine.settle()
                        start = self._go_back(str(trouble))
                        self._bar.update(start - self._shown)
                        self._shown = start
            if done < self.plan.steps:
                self._interrupt(done, stop)
            self.checkpoints.wait()
        finally:
            self.checkpoints.close()
            if self._board is not None:
                self._board.close()
        return begun

    def result(self) -> Generator[Any]:
        """The generator to keep, all of it here; all processes must ask."""
        return self.engine.whole(self.trainer.result())

    def fitted(self, generator: Generator[Any]) -> Fitted | None:
        """What samplers draw with beside the generator that is kept; None in a process that is not asked."""
        if not self._first and not self.engine.sharded:  # of networks that are shared out each holds a part
            return None
        track = (self._progress if self._first else Progress(False)).track
        return fit_samplers(
            self.trainer, self.plan.model.spec, generator, self.plan.dataset, self.plan.seed, track
        )

    def adapters(self) -> Mapping[str, tuple[Tensor, Tensor]] | None:
        """What the training added to the weights it began with, where that alone is to be kept.

        Raises UsageError where there is no such thing.
        """
        found = self.trainer.adapters()
        if found is not None and self.plan.base is None:
            raise UsageError(
                "adapters are added to weights, and here are none to begin with: give those by --from"
            )
        if not self.plan.settings.adapters:
            return None
        if found is None:
            raise UsageError(
                "--adapters keeps what is added to weights: give those by --from, and the option that trains adapters "
                f"(-o lora=8 of text/gpt; aigc models show {self.plan.model.spec.id})"
            )
        return found

    # What the loop tells.

    _shown = 0

    def tick(self) -> None:
        self._shown += 1
        self._bar.update(1)

    def read(self, step: int, metrics: Mapping[str, float], spread: float | None) -> None:
        self.guards.check(step, metrics, spread, self.rhythm.regular(step, self.plan.steps))
        self.metrics = dict(metrics)
        if "loss" in metrics:
            self._losses.append(metrics["loss"])
        if not self._first:
            return
        pace = self._pace.at(step)
        self._bar.update(0, {**metrics, "items/s": pace})
        logged = {
            **metrics,
            **({} if spread is None else {"spread": spread}),
            "items_per_second": round(pace, 1),
        }
        self.run.log(step, logged)
        if self._board is not None:
            self._board.log(step, logged)
        self._emit("train.log", step=step, steps=self.plan.steps, metrics=logged)

    def save(self, step: int) -> None:
        loss = sum(self._losses) / len(self._losses) if self._losses else None
        self._losses.clear()
        finite = self.checkpoints.save(step, self._state(step), loss=loss, gathered=self.engine.sharded)
        if not self.engine.told(finite):
            raise Diverged(f"the weights or the optimizer's state are not finite at step {step}")
        self._emit("train.checkpoint", step=step, path=str(self.checkpoints.path(step)))

    def sheet(self, step: int) -> None:
        if self._sheets is None or not self._first:
            return
        try:
            path = self._sheets.draw(self.trainer.result(), step)
        except Exception as error:  # a sheet is a look at the training, not a part of it
            self._sheets = None
            self.remarks.append(f"no sheets of samples after step {step}: {' '.join(str(error).split())}")
            return
        if self._board is not None:
            self._board.image(step, path)
        self._emit("train.sheet", step=step, path=str(path))

    # What it does.

    def _make(self) -> Trainer[Any, Any]:
        generator = self.plan.build().to(self.engine.device).train()
        self.engine.set_up()
        return self.plan.model.trainer(generator, self.plan.options, self.engine)

    def _state(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "trainer": self.trainer.state_dict(),
            "engine": self.engine.state_dict(),
            "guards": self.guards.state_dict(),
        }

    def _restore(self) -> int:
        """Restores the last checkpoint that is whole; returns the steps that were done."""
        step = 0
        for candidate in reversed(self.engine.told(self.checkpoints.steps())):
            try:
                self._load(candidate)
                step = candidate
                break
            except NotFoundError:  # damaged, and removed by the first process
                continue
            except DamagedFileError as error:
                self.remarks.append(f"passed over a damaged checkpoint: {error}")
        self._shown = step
        if self._first:
            self.checkpoints.forget(lambda s: s <= step)
            self.run.rewind(step)
        return step

    def _load(self, step: int) -> None:
        state = self.checkpoints.load(step)
        self.trainer.load_state_dict(state["trainer"])
        self.engine.load_state_dict(state["engine"])
        self.guards.load_state_dict(state["guards"])
        self.engine.scale = self.guards.scale

    def _go_back(self, reason: str) -> int:
        """Restores a good state and makes the steps smaller; returns the step of that state.

        If the last one led to the same trouble at once, it takes the one before. Raises TrainingError when it
        is not to go back, or has done so too often.
        """
        past = self.guards.rollbacks
        good = self._good_steps()
        again = bool(past) and past[-1]["to"] == good[0]
        to = good[min(int(again), len(good) - 1)]
        if self.plan.settings.on_nan == "stop" or len(past) >= ROLLBACKS:
            self._give_up(reason, good[0], len(past))
        scale = SMALLER ** (len(past) + 1)
        self._return_to(to)
        self.guards.rollbacks = [*past, {"reason": reason, "to": to, "scale": scale}]
        self.engine.scale = self.guards.scale
        self.remarks.append(f"went back to step {to} and on with {scale:g} of the learning rate: {reason}")
        self._emit("train.rollback", **self.guards.rollbacks[-1])
        return to

    def _good_steps(self) -> list[int]:
        """The steps that one can go back to, last one first; the beginning is always one."""
        self.checkpoints.wait()
        steps = self.engine.told([s for s in self.checkpoints.steps() if s % self.rhythm.guard == 0])
        return [*reversed(steps), 0]

    def _return_to(self, step: int) -> None:
        if step:
            self._load(step)
        else:
            self.engine.forget()
            self.trainer = self._make()
            self.guards = Guards()
        self._losses.clear()
        if self._first:
            self.checkpoints.forget(lambda s: s <= step)
            self.run.rewind(step)
        if self._board is not None:
            self._board.rewind(step)

    def _give_up(self, reason: str, good: int, times: int) -> None:
        often = f" after going back {times} times with smaller steps" if times else ""
        kept = ""
        if good:
            self._return_to(good)
            training = {**self.plan.training_record(), "steps": good, "stopped": reason}
            content, _ = encode(
                self.result(), self.plan.model, self.plan.data_record(), training, license=self.plan.license
            )
            path = self.run.folder / "last-good.safetensors"
            if self._first:
                path.unlink(missing_ok=True)
                with create_exclusively(path) as file:
                    file.write(content)
            kept = f"; the weights of step {good}, the last good ones, are in {path}"
        raise TrainingError(
            f"{reason}{often}: training has diverged; try a smaller --lr, or look at the data{kept}"
        )

    def _interrupt(self, done: int, stop: Stop) -> None:
        """Keeps what was done and raises InterruptedRun."""
        with contextlib.suppress(Diverged):  # what is not finite is not kept; what came before is
            self.save(done)
        self.checkpoints.wait()
        self._emit("train.interrupted", step=done, run=str(self.run.folder))
        kind = TerminatedRun if stop.requested == signal.SIGTERM else InterruptedRun
        raise kind(
            f"stopped after step {done} of {self.plan.steps}; the checkpoint is kept in {self.run.folder}: "
            "the same command goes on from there"
        )

    def last_pictures(self) -> None:
        """What the training came to: a sheet of samples, in runs long enough for sheets, and the curves."""
        if self.rhythm.sheet and self.plan.steps >= self.rhythm.sheet:
            self.sheet(self.plan.steps)
        if self._first and self.rhythm.sheet:
            from aigc_core.training.curves import draw

            try:
                draw(
                    self.run.metrics,
                    self.run.folder / "curves.png",
                    f"{self.plan.name}: {self.plan.model.spec.id}",
                )
            except Exception as error:  # such as the user's own matplotlib settings
                self.remarks.append(f"no curves: {' '.join(str(error).split())}")

    def _emit(self, kind: str, **data: Any) -> None:
        if self._first:
            self._registry.emit(Event(kind, data))
