"""`aigc train`: from a model's name and data to weights in the store."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aigc_core._version import __version__
from aigc_core.data.batches import Batches
from aigc_core.data.sources import open_data
from aigc_core.errors import AigcError, DataError, InterruptedRun, UsageError
from aigc_core.events import Event
from aigc_core.modality import modality
from aigc_core.options import Options, TrainingOptions, check_options
from aigc_core.progress import Progress
from aigc_core.registry import Model, Registry, blame, default
from aigc_core.seeds import MAX_SEED, derive
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.loop import Stop, fit
from aigc_core.training.run import Run
from aigc_core.training.state import check_state
from aigc_core.weights.file import encode
from aigc_core.weights.store import Store, check_name

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.interfaces import Generator, Trainer


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to."""

    weights: str
    """`name@version`"""
    path: Path
    record: Mapping[str, Any]
    """The weights file's record, `tensors_digest` among it."""
    run: Path
    resumed_at: int
    """The step that this call began at: 0 for a new run, the last one for a run that had finished."""
    seconds: float
    skipped: list[str]
    """Items of the data that could not be read."""

    @property
    def already_finished(self) -> bool:
        return self.resumed_at == int(self.record["training"]["steps"])


@dataclass(frozen=True, slots=True)
class Plan:
    """A training that was checked and is ready to begin: what `--dry-run` shows."""

    model: Model
    config: Options
    options: TrainingOptions
    given: tuple[str, ...]
    """The options that were given; the others are the model's defaults."""
    dataset: Dataset
    name: str
    steps: int
    seed: int

    def training_record(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "seed": self.seed,
            "options": {k: v for k, v in self.options.model_dump(mode="json").items() if k != "epochs"},
            "parents": [],
        }

    def data_record(self) -> dict[str, Any]:
        data = self.dataset
        return {"name": data.name, "split": data.split, "digest": data.digest, "count": len(data)}

    def build(self) -> Generator[Any]:
        """The untrained generator, initialised from the seed."""
        torch.manual_seed(derive(self.seed, "init"))
        return self.model.generator(self.config, self.dataset.info)

    def run(self) -> Run:
        """The run that this plan is; the same plan is the same run."""
        return Run(
            self.name,
            {
                "name": self.name,
                "model": self.model.spec.id,
                "backend": [self.model.backend.distribution, self.model.backend.version],
                "core": __version__,
                "torch": torch.__version__,
                "config": self.config.model_dump(mode="json"),
                "data": self.data_record(),
                "training": self.training_record(),
            },
        )


def plan(
    model: str,
    data: str | Path,
    *,
    name: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    size: Size | None = None,
    strict: bool = False,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Checks everything that can be checked before a step is made; options come before the data is read.

    Arguments and errors as in `train`.
    """
    registry = registry or default()
    loaded = registry.load(model)
    given = dict(options or {})
    if steps is not None and (epochs is not None or "epochs" in given):
        raise UsageError("give --steps or --epochs, not both")
    if steps is not None and steps < 1:
        raise UsageError(f"--steps must be at least 1, not {steps}")
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed must lie in 0 .. {MAX_SEED}, not {seed}")
    config, training = check_options(loaded, given, epochs)
    if name is not None:
        check_name(name)
    progress = progress or Progress(False)
    dataset = open_data(data, registry, size=size, strict=strict, track=progress.track)
    _check_needs(loaded, dataset)
    if name is None:
        name = re.sub(
            "[^a-z0-9._-]+", "-", f"{loaded.spec.id.partition('/')[2]}-{dataset.name}".lower()
        ).strip("-.")
        check_name(name)
    if steps is None:
        steps = max(1, round(training.epochs * len(dataset) / training.batch_size))
    return Plan(
        loaded,
        config,
        training,
        (*given, *([] if epochs is None else ["epochs"])),
        dataset,
        name,
        steps,
        seed,
    )


def train(
    model: str,
    data: str | Path,
    *,
    name: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    size: Size | None = None,
    strict: bool = False,
    again: bool = False,
    checkpoint_every: int | None = None,
    cpu: bool = False,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Fits a model to data and keeps the generator in the store as the next version of `name`.

    model: an id, alias or unambiguous short name (`gan/dcgan`, `dcgan`).
    data: a data set's name, or a path (see `aigc_core.data.open_data`, also for `size` and `strict`).
    name: what to keep the weights as; by default the model's and the data's names.
    steps, epochs: the length; by default the model's own number of epochs.
    seed: decides everything random; the same arguments and seed give the same `tensors_digest`.
    options: the model's and its trainer's options by name (`aigc models show MODEL`).
    again: train a run that has finished once more, as a new version.
    checkpoint_every: steps between checkpoints; by default one a minute.

    The same call resumes an interrupted run. Raises the errors of `aigc_core.errors`: UsageError before any
    data is read, DataError or DamagedFileError for the data, TrainingError when it diverges,
    StorageError where the disk refuses, InterruptedRun after Ctrl-C (a checkpoint is kept).
    """
    registry = registry or default()
    progress = progress or Progress(False)
    plan_ = plan(
        model, data, name=name, steps=steps, epochs=epochs, seed=seed, options=options, size=size,
        strict=strict, registry=registry, progress=progress,
    )  # fmt: skip
    if checkpoint_every is not None and checkpoint_every < 1:
        raise UsageError(f"--checkpoint-every must be at least 1, not {checkpoint_every}")
    run, store = plan_.run(), Store()
    finished = run.finished()
    if finished and not again and (path := _kept(store, finished)):
        from aigc_core.weights.header import read_header

        return Trained(finished, path, read_header(path).record, run.folder, plan_.steps, 0.0, [])
    started = time.perf_counter()
    with run.alone():
        try:
            with torch.random.fork_rng(), blame(plan_.model.backend, f"while training {plan_.model.spec.id}"):
                trainer, last, begun = _fit(plan_, run, registry, progress, checkpoint_every, cpu)
        except InterruptedRun:
            raise
        except AigcError as error:
            registry.emit(Event("train.failed", {"run": str(run.folder), "reason": str(error)}))
            raise
        training = {**plan_.training_record(), "metrics": last}
        content, record = encode(trainer.result(), plan_.model, plan_.data_record(), training)
        version = store.publish(plan_.name, content)
        run.close(str(version))
    registry.emit(Event("train.end", {"weights": str(version), "metrics": last}))
    seconds = time.perf_counter() - started
    return Trained(str(version), version.path, record, run.folder, begun, seconds, plan_.dataset.skipped)


def _fit(
    plan_: Plan, run: Run, registry: Registry, progress: Progress, checkpoint_every: int | None, cpu: bool
) -> tuple[Trainer[Any, Any], dict[str, float], int]:
    """Trains to the end; returns the trainer, the last metrics and the step it began at."""
    engine = AccelerateEngine(plan_.seed, plan_.options.batch_size, plan_.steps, cpu=cpu)
    generator = plan_.build().to(engine.device).train()
    trainer = plan_.model.trainer(generator, plan_.options, engine)
    check_state(trainer.state_dict())  # what can't be kept must not be found out at the first checkpoint
    begun = run.restore(trainer)
    run.rewind(begun)
    run.write(None)
    batches = Batches(plan_.dataset, plan_.options.batch_size, plan_.seed, generator.output, engine.device)
    registry.emit(Event("train.start", {**run.plan, "begun": begun, "run": str(run.folder)}))
    last: dict[str, float] = {}
    stop = Stop()
    label = f"{plan_.model.spec.id} on {plan_.dataset.name}"
    with progress.bar(plan_.steps, label, "step", initial=begun) as bar, stop.on_interrupt():

        def log(step: int, metrics: Mapping[str, float]) -> None:
            nonlocal last
            last = dict(metrics)
            bar.update(0, metrics)
            run.log(step, metrics)
            registry.emit(Event("train.log", {"step": step, "steps": plan_.steps, "metrics": last}))

        done = fit(
            trainer, batches.steps(begun, plan_.steps), engine, start=begun, stop=stop,
            tick=lambda: bar.update(1), log=log,
            save=lambda step: run.save(trainer, step), save_every=checkpoint_every,
        )  # fmt: skip
    if done < plan_.steps:
        run.save(trainer, done)
        registry.emit(Event("train.interrupted", {"step": done, "run": str(run.folder)}))
        raise InterruptedRun(
            f"stopped after step {done} of {plan_.steps}; the checkpoint is kept in {run.folder}: "
            "the same command goes on from there"
        )
    return trainer, last, begun


def _kept(store: Store, weights: str) -> Path | None:
    from aigc_core.errors import NotFoundError

    try:
        return store.find(weights)
    except NotFoundError:
        return None


def _check_needs(model: Model, dataset: Dataset) -> None:
    """Raises DataError unless the model can be fitted on such data."""
    needs, info = model.spec.data, dataset.info
    what = f"model {model.spec.id!r} can't be trained on {dataset.name!r}"
    if needs.modality != info.modality:
        raise DataError(
            f"model {model.spec.id!r} is for {needs.modality}, {dataset.name!r} is {info.modality}; "
            f"see: aigc models list --modality {info.modality}"
        )
    shape = "x".join(map(str, info.shape))
    for name, bound, outside in (
        ("at least", needs.smallest, any(n < b for n, b in zip(info.shape, needs.smallest, strict=False))),
        ("at most", needs.largest, any(n > b for n, b in zip(info.shape, needs.largest, strict=False))),
    ):
        if outside:
            limit = "x".join(map(str, bound))
            raise DataError(
                f"{what}: items are {shape}, it takes {name} {limit}; {modality(info.modality).resize}"
            )
    if needs.labels and not info.classes:
        raise DataError(f"{what}: it needs labels; put each class into a folder of its own")
