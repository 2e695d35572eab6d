"""`aigc bench`: from data, a budget and models to a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from aigc_core.benchmark.ask import Ask, ask, candidates, check_judged, chosen, duration, samplers
from aigc_core.benchmark.judge import Judge
from aigc_core.benchmark.report import page
from aigc_core.benchmark.row import Row, Rows, write_table
from aigc_core.benchmark.work import Bench, same
from aigc_core.data.sources import open_data
from aigc_core.errors import DataError, InterruptedRun
from aigc_core.evaluation.held_out import HELD_OUT
from aigc_core.files import user_path
from aigc_core.progress import Progress
from aigc_core.registry import Registry, default
from aigc_core.training.plan import check_needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.specs import ModelSpec

OUT: Final = "benchmarks"
PAUSE: Final = 1.0
"""Seconds between two looks at what other processes have in hand."""
Job = tuple["ModelSpec", int]


@dataclass(frozen=True, slots=True)
class Table:
    """What a bench came to."""

    path: Path
    """The page in Markdown."""
    rows: tuple[Row, ...]
    """All on it, in its order: also those that other calls have put there."""
    passed_over: dict[str, str]
    """Models that the data do not fit, and why."""


def bench(
    data: str | Path,
    *,
    budget: float,
    models: Sequence[str] = (),
    seeds: int | Sequence[int] = 3,
    count: int = 10_000,
    split: str | None = None,
    features: str | None = None,
    size: Size | None = None,
    out: str | Path = OUT,
    registry: Registry | None = None,
    quiet: bool = True,
    say: Callable[[str], None] | None = None,
) -> Table:
    """Trains models on data for the same time each, draws from them by each of their samplers, and judges what comes.

    budget: seconds of each training, as those of `train`. models: ids or short names; by default all of the data's
    modality that can be trained on them. seeds: how many, from 0 on; or which. count: samples that are judged of each
    sampler that needs nothing but a seed, or a class. split: to judge by; by default the
    first that was held out. features: the extractor (see `evaluate`); by default a classifier of the data's own
    classes, trained first where it is not there. size: of a folder of pictures.
    out: the folder of the table, `mnist-10m.md`; its rows and their pictures are beside it in `mnist-10m`. The weights
    are kept as `bench-mnist-10m-gan-dcgan-s0`. say: is told a line of what is done.

    The same call goes on after an interruption: rows that are there are not made again, and trainings resume. Calls at
    the same time share the work. A model that fails is a row that says so; remove that file to have it tried again.
    Raises UsageError, NotFoundError, BackendError, DataError before anything is trained; StorageError; InterruptedRun.
    """
    registry = registry or default()
    asked = ask(data, budget, seeds, count, split)
    named = chosen(registry, models)
    progress = Progress(False if quiet else None)
    tell = say or (lambda line: None)
    dataset = open_data(asked.data, registry, size=size, track=progress.track)
    check_judged(registry, dataset.info.modality)
    specs, passed_over = _fitting(registry, dataset, named)
    for model, reason in passed_over.items():
        tell(f"passed over {model}: {reason}")
    folder = user_path(out)
    rows = Rows(folder / asked.title)
    rows.open()
    judge = _judge(asked, dataset, features, size, registry, progress, rows)
    shared = Bench(asked, dataset, judge, rows, registry, progress, size, tell)
    table = folder / f"{asked.title}.md"
    try:
        _work(shared, [(spec, seed) for seed in asked.seeds for spec in specs], table)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"stopped; {len(_ordered(shared))} rows are kept in {rows.folder}: the same command goes on from there"
        ) from None
    return Table(table, tuple(_publish(shared, table)), passed_over)


def _fitting(
    registry: Registry, dataset: Dataset, named: Sequence[ModelSpec]
) -> tuple[list[ModelSpec], dict[str, str]]:
    """The models to train, and why others are passed over. Raises DataError for one that was named, or if none is left."""
    fitting, passed_over = [], {}
    for spec in named or candidates(registry, dataset.info.modality):
        try:
            check_needs(registry.load(spec.id), dataset)
        except DataError as error:
            if named:
                raise
            passed_over[spec.id] = str(error)
            continue
        if not samplers(spec, bool(dataset.info.classes)):
            passed_over[spec.id] = "none of its samplers draws from a seed alone"
            continue
        fitting.append(spec)
    if not fitting:
        reasons = "; ".join(passed_over.values()) or "install a backend: aigc plugins search"
        raise DataError(f"no model can be benched on {dataset.name!r}: {reasons}")
    return fitting, passed_over


def _judge(
    asked: Ask, dataset: Dataset, features: str | None, size: Size | None, registry: Registry, progress: Progress, rows: Rows
) -> Judge:  # fmt: skip
    """Makes ready what all are judged by, before the first training."""
    held_out = _held_out(asked, size, registry, progress)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if dataset.info.modality != "image":
        features = None
    judge = Judge(asked.data, held_out.split, asked.count, features, size, device, registry, progress)
    with rows.alone("features", wait=True):
        return judge.ready(dataset, held_out)


def _held_out(asked: Ask, size: Size | None, registry: Registry, progress: Progress) -> Dataset:
    """What is judged by. Raises DataError where there is nothing."""
    known = registry.datasets.get(asked.data)
    for split in (asked.split,) if asked.split else HELD_OUT:
        if known is not None and split not in known.splits and not asked.split:
            continue
        try:
            return open_data(asked.data, registry, split=split, size=size, track=progress.track)
        except DataError:
            if asked.split or known is not None:
                raise
    raise DataError(
        f"{asked.data}: has no split to judge by ({' or '.join(HELD_OUT)}); name one by --split, but what the models are "
        "fitted on flatters them"
    )


def _work(shared: Bench, jobs: list[Job], table: Path) -> None:
    """Does all jobs that nobody else has in hand, then those that others have left."""
    todo, spent, total = list(jobs), list[float](), len(jobs)
    while todo:
        waiting = []
        for number, (spec, seed) in enumerate(todo):
            with shared.rows.alone(f"{spec.id.replace('/', '-')}-s{seed}") as ours:
                if not shared.missing(spec, seed):
                    continue
                if not ours:
                    waiting.append((spec, seed))
                    continue
                left = len(todo) - number
                _announce(shared, spec, seed, f"{total - left + 1} of {total}", left, spent)
                began = time.perf_counter()
                shared.measure(spec, seed)
                spent.append(time.perf_counter() - began)
            _publish(shared, table)
        if waiting and len(waiting) == len(todo):
            time.sleep(PAUSE)
        elif waiting:
            shared.say(f"{len(waiting)} of {total} are in hand of another bench; waiting for it")
        todo = waiting


def _announce(shared: Bench, spec: ModelSpec, seed: int, place: str, left: int, spent: list[float]) -> None:
    each = sum(spent) / len(spent) if spent else shared.ask.budget
    shared.say(f"{place}: {spec.id}, seed {seed}; about {_clock(left * each)} left")


def _clock(seconds: float) -> str:
    """To the minute, where it takes minutes."""
    return duration(max(1, round(seconds)) if seconds < 120 else 60 * round(seconds / 60))


def _publish(shared: Bench, table: Path) -> list[Row]:
    """Writes the table of all rows that answer the same question, whoever made them."""
    with shared.rows.alone("table", wait=True):
        rows = _ordered(shared)
        if rows:
            text = page(shared.ask.title, shared.ask.data, shared.deciding(), rows, shared.rows.folder.name)
            write_table(table, text)
    return rows


def _ordered(shared: Bench) -> list[Row]:
    """Rows by model, sampler and seed, as listings and specs have them; those of models that are not here last."""
    deciding = shared.deciding()
    models = [spec.id for spec in candidates(shared.registry, shared.dataset.info.modality)]

    def key(row: Row) -> tuple[int, str, int, str, int]:
        spec = shared.registry.models.get(row.model)
        names = list(spec.samplers) if spec else []
        place = models.index(row.model) if row.model in models else len(models)
        within = names.index(row.sampler) if row.sampler in names else len(names)
        return place, row.model, within, row.sampler or "", row.seed

    def current(row: Row) -> bool:
        spec = shared.registry.models.get(row.model)
        if spec is None or row.sampler not in (None, *spec.samplers):  # of a backend that is not here
            return all(row.asked.get(k) == v for k, v in deciding.items())
        return same(row.asked, shared.asked(spec, row.sampler, row.seed))

    return sorted(filter(current, shared.rows), key=key)
