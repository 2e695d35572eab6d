"""`aigc train`: from a model's name and data to weights in the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aigc_core._version import __version__
from aigc_core.errors import AigcError, InterruptedRun, NotFoundError, UsageError
from aigc_core.events import Event
from aigc_core.progress import Progress
from aigc_core.registry import Registry, blame, default
from aigc_core.training.checkpoints import discard
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.loop import Stop
from aigc_core.training.measure import steps_within
from aigc_core.training.parallel import together
from aigc_core.training.plan import Plan, plan
from aigc_core.training.publish import publish, published
from aigc_core.training.run import Run, differences, read_record
from aigc_core.training.session import Session
from aigc_core.training.settings import Settings
from aigc_core.weights.file import encode
from aigc_core.weights.header import read_header
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.data.folder import Size


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
    remarks: list[str] = field(default_factory=list)
    """What else the user should know: that it went back and took smaller steps, for example."""

    @property
    def already_finished(self) -> bool:
        return self.resumed_at == int(self.record["training"]["steps"])


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
    reading: Mapping[str, Any] | None = None,
    base: str | Path | None = None,
    again: bool = False,
    registry: Registry | None = None,
    progress: Progress | None = None,
    began: float | None = None,
    expected: str | None = None,
    **settings: Any,
) -> Trained:
    """Fits a model to data and keeps the generator in the store as the next version of `name`.

    model: an id, alias or unambiguous short name (`gan/dcgan`, `dcgan`).
    data: a data set's name, or a path (see `aigc_core.data.open_data`, also for `size`, `strict` and `reading`).
    name: what to keep the weights as; by default the model's and the data's names.
    steps, epochs: the length; by default the model's own number of epochs.
    seed: decides everything random; the same arguments and seed give the same `tensors_digest`.
    options: the model's and its trainer's options by name (`aigc models show MODEL`).
    base: weights to start from, of the same model: `name`, `name@version`, a path. Their options hold where none are
    given.
    again: train a run that has finished once more, as a new version.
    began: the `time.perf_counter` from which a budget counts; by default this call.
    expected: the name of the run's folder, where this call must go on with that one and begin no other.
    settings: those of `aigc_core.training.settings.Settings` by name: `budget`, `precision`, `accumulate`,
    `compile`, `shard`, `on_nan`, `checkpoint_every`, `keep`, `sheet_every`, `tensorboard`, `adapters`, `allow_drift`,
    `cpu`.

    The same call resumes an interrupted run. Started by torchrun, or by `aigc_core.launch`, all processes call
    this alike and share each batch; the first one writes. Raises the errors of `aigc_core.errors`: UsageError
    before any data is read, DataError or DamagedFileError for the data, TrainingError when it diverges,
    StorageError where the disk refuses, InterruptedRun after Ctrl-C or SIGTERM (a checkpoint is kept).
    """
    began = time.perf_counter() if began is None else began
    registry = registry or default()
    progress = progress or Progress(False)
    plan_ = plan(
        model, data, name=name, steps=steps, epochs=epochs, seed=seed, options=options, size=size,
        strict=strict, reading=reading, base=base, settings=_settings(settings), registry=registry, progress=progress,
    )  # fmt: skip
    engine = open_engine(plan_)
    try:
        _check_expected(plan_, expected)
        with together(engine.processes):
            return _train(plan_, engine, again, registry, progress, began)
    finally:
        engine.close()


def _check_expected(plan_: Plan, expected: str | None) -> None:
    """Raises UsageError if a run's arguments have come to mean another run."""
    run = plan_.run()
    if expected is None or run.folder.name == expected:
        return
    before = read_record(run.folder.with_name(expected))
    changed = [name for name, value in run.plan.items() if name in before and before[name] != value]
    raise UsageError(
        f"run {expected} cannot go on: what it was begun with has changed since ({', '.join(changed) or 'its plan'}); "
        f"begin anew by aigc train, and remove it: aigc runs rm {expected}"
    )


def _settings(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except TypeError as error:
        raise UsageError(f"train() takes no such setting: {error}") from None


def open_engine(plan_: Plan) -> AccelerateEngine:
    """The engine of a plan; close it. Raises UsageError where the plan does not fit the machine."""
    return AccelerateEngine(
        plan_.seed, plan_.options.batch_size, max(plan_.steps, 1), settings=plan_.settings
    )


def _train(
    plan_: Plan, engine: AccelerateEngine, again: bool, registry: Registry, progress: Progress, began: float
) -> Trained:
    first, started = engine.rank == 0, time.perf_counter()
    run, store = plan_.run(), Store()
    finished = engine.told(run.finished())
    if finished and not again and (path := _kept(store, finished)):
        if first:
            _tidy(run, plan_.settings)
        record = read_header(path).record
        return Trained(finished, path, record, run.folder, int(record["training"]["steps"]), 0.0, [])
    with run.alone() if first else contextlib.nullcontext():
        if first and finished:  # it begins anew, from no checkpoint that was kept
            discard(run.checkpoints)
            run.write(weights=None)
        drift = _check_drift(plan_, run, engine, again)
        plan_ = _sized(plan_, run, engine, progress, began)
        if first:
            run.write(environment=_environment(plan_, engine), command=plan_.command, steps=plan_.steps,
                      drift=drift, failed=None)  # fmt: skip
        with _failures(run, registry, first), torch.random.fork_rng():
            with blame(plan_.model.backend, f"while training {plan_.model.spec.id}"):
                session = Session(plan_, run, engine, registry, progress)
                with (stop := Stop()).on_signals():
                    begun = session.train(stop)
                session.last_pictures()
                generator = session.result()
                fitted = session.fitted(generator)
            training = {
                **plan_.training_record(), "run": run.key, "environment": _environment(plan_, engine),
                **({"drift": drift} if drift else {}),
                **({"rollbacks": session.guards.rollbacks} if session.guards.rollbacks else {}),
                "metrics": session.metrics,
            }  # fmt: skip
            content, record = encode(
                generator, plan_.model, plan_.data_record(), training, session.adapters(),
                plan_.base.tensors_digest if plan_.base else None, plan_.license, fitted=fitted,
            )  # fmt: skip
            weights = None
            if first:
                weights = (None if again else published(store, plan_.name, record)) or str(
                    publish(store, plan_.name, content, run, plan_.steps, registry, session.remarks)
                )
                run.write(weights=weights)
                if not plan_.settings.keep_checkpoints:
                    discard(run.checkpoints)
        weights = engine.told(weights)
    if first:
        registry.emit(Event("train.end", {"weights": weights, "metrics": session.metrics}))
    seconds, skipped = time.perf_counter() - started, plan_.dataset.skipped
    return Trained(weights, store.find(weights), record, run.folder, begun, seconds, skipped, session.remarks)


def _tidy(run: Run, settings: Settings) -> None:
    """Removes what a finished run left if it was killed before it could do so itself."""
    if settings.keep_checkpoints or run.record().get("command", {}).get("keep_checkpoints"):
        return
    if run.checkpoints.is_dir() and any(run.checkpoints.iterdir()):
        with contextlib.suppress(AigcError, OSError), run.alone():
            discard(run.checkpoints)


@contextlib.contextmanager
def _failures(run: Run, registry: Registry, first: bool) -> Iterator[None]:
    """Notes in the run why it failed, and tells who listens."""
    try:
        yield
    except InterruptedRun:
        raise
    except AigcError as error:
        if first:
            with contextlib.suppress(AigcError, OSError):  # such as the full disk that it failed of
                run.write(failed=str(error))
            registry.emit(Event("train.failed", {"run": str(run.folder), "reason": str(error)}))
        raise


def _environment(plan_: Plan, engine: AccelerateEngine) -> dict[str, Any]:
    """What the last bits of the result depend on, beside the run itself."""
    backend = plan_.model.backend
    return {
        "backend": f"{backend.distribution} {backend.version}", "core": __version__, **engine.environment()
    }  # fmt: skip


def _check_drift(plan_: Plan, run: Run, engine: AccelerateEngine, again: bool) -> list[str]:
    """The changes of environment that an unfinished run has been through. Raises UsageError for a new one,
    unless it is allowed."""
    record = engine.told(run.record() if run.checkpoints.is_dir() and any(run.checkpoints.iterdir()) else {})
    if not record or (record.get("weights") and not again):
        return []
    before, now = record.get("environment", {}), _environment(plan_, engine)
    changed = differences(before, now)
    if changed and not plan_.settings.allow_drift:
        raise UsageError(
            f"this run began under other conditions, so it would not end as if uninterrupted: {', '.join(changed)}; "
            f"--allow-drift goes on all the same, aigc runs rm {run.folder.name} forgets it"
        )
    return [*record.get("drift", []), *changed]


def _sized(plan_: Plan, run: Run, engine: AccelerateEngine, progress: Progress, began: float) -> Plan:
    """The plan with its number of steps: a budget's is measured, and kept for when the run is resumed."""
    if plan_.settings.budget is None:
        return plan_
    steps = engine.told(run.record().get("steps") if run.checkpoints.is_dir() else None)
    if not steps:
        steps = steps_within(plan_, plan_.settings.budget, engine, progress, began)
    engine.set_total(steps)
    return plan_.sized(steps)


def _kept(store: Store, weights: str) -> Path | None:
    try:
        return store.find(weights)
    except NotFoundError:
        return None
