"""From weights and data to figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core._version import __version__
from aigc_core.errors import BackendError, DataError, UsageError
from aigc_core.evaluation.card import MetricCard
from aigc_core.evaluation.choice import choose
from aigc_core.evaluation.extractors.choice import check, extractor
from aigc_core.evaluation.held_out import open_held_out
from aigc_core.files import user_path
from aigc_core.interfaces.metric import FeatureMetric, Figure, Metric
from aigc_core.progress import Progress
from aigc_core.provenance.environment import machine
from aigc_core.registry import Registry, blame, default
from aigc_core.sampling.request import request
from aigc_core.seeds import MAX_SEED, derive
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.evaluation.extractors.base import Extractor
    from aigc_core.interfaces.metric import Features
    from aigc_core.sampling.request import Request

PATIENCE: Final = 2.0
"""Seconds before it is shown how far something has come."""
COUNT: Final = 10_000
"""Samples that are drawn by default, where there are as many items to compare them with."""
FEWEST: Final = 2
"""Samples and items that can be compared."""


def evaluate(
    weights: str | Path | Weights,
    data: str | Path,
    *,
    split: str | None = None,
    metrics: Sequence[str] = (),
    seed: int = 0,
    count: int | None = None,
    sampler: str | None = None,
    sampler_options: Mapping[str, Any] | None = None,
    features: str | None = None,
    threads: int = 1,
    size: Size | None = None,
    reading: Mapping[str, Any] | None = None,
    device: str | None = None,
    registry: Registry | None = None,
    remarks: list[str] | None = None,
    quiet: bool = True,
) -> list[MetricCard]:
    """Judges weights (`name`, `name@version`, a path, or what `load` returned) by data that they were not fitted on.

    split: by default `validation`, or else `test`. metrics: by name; all that judge the model where none is given.
    seed: decides what a metric draws at random, and the samples.
    count, sampler, sampler_options: the samples that are compared with the data; by default as many as there are items,
    but no more than 10,000, of the model's first sampler. A model that is told of classes is asked for those of the
    items, in a random order. features: what looks at both: `own` (see `train_features`), `efficientnet-lite0`,
    `inception`, or the path of a file of features; by default `own` where they were trained for the data. threads: that
    a block of samples is computed with; it decides their last bits.
    size: (height, width) that a folder of pictures is resized to. reading: how a text is read; by default, where the
    data have the name of those of the training, as there: then no document is judged by that was trained on. What the
    user should know of the figures is added to `remarks`, a line each.
    Raises NotFoundError for unknown weights, data, metrics and features that are not there; UsageError, DataError,
    DamagedFileError, BackendError, StorageError.
    """
    registry = registry or default()
    remarks = [] if remarks is None else remarks
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed must lie in 0 .. {MAX_SEED}, not {seed}")
    if count is not None and count < FEWEST:
        raise UsageError(f"-n must be {FEWEST} or more, not {count}: one sample has no spread")
    check(features)
    if not isinstance(weights, Weights):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        weights = load(Store().resolve(str(weights)), registry, device)
    names = choose(registry, weights.generator.output.modality, weights.model.spec.id, metrics)
    made = {name: registry.metric(name) for name in names}
    compares = any(isinstance(metric, FeatureMetric) for metric in made.values())
    if not compares:
        _refuse(names, count=count, sampler=sampler, options=sampler_options, features=features)
    progress = Progress(False if quiet else None, patience=PATIENCE)
    reading = reading or _reading(weights, data)
    held_out = open_held_out(weights, data, split, reading, registry, progress.track, size)
    remarks += _remarks(weights, held_out)
    against = None
    if compares:
        eye = extractor(features, held_out, data)
        wanted = _request(weights, held_out, count, sampler, sampler_options, threads, seed, registry)
        against = _compared(wanted, held_out, eye, progress)
        remarks += _few(against)
    cards = []
    for name, metric in made.items():
        card = _card(name, metric, weights, held_out, against, seed, registry, progress)
        if card is not None:
            cards.append(card)
        elif name in metrics or len(made) == 1:
            raise UsageError(f"metric {name!r} can't tell by these features ({_shown(against)}): {HINT}")
    return cards


HINT: Final = "take --features own for classes, or more samples"


@dataclass(frozen=True, slots=True)
class _Against:
    """Samples and data, as an extractor sees them."""

    request: Request
    extractor: Extractor
    real: Features
    fake: Features
    seconds: float
    """That it took to draw the samples and to look at both."""

    def samples(self) -> dict[str, Any]:
        """What a card says of the samples."""
        wanted = self.request
        return {
            "count": wanted.count, "sampler": wanted.sampler, "options": wanted.options.model_dump(mode="json"),
            "labels": wanted.labels is not None, "block": wanted.block, "threads": wanted.threads,
        }  # fmt: skip


def _shown(against: _Against | None) -> str:
    return "none" if against is None else f"{against.extractor.name}, {against.request.count} samples"


def _request(
    weights: Weights, data: Dataset, count: int | None, sampler: str | None, options: Mapping[str, Any] | None,
    threads: int, seed: int, registry: Registry,
) -> Request:  # fmt: skip
    """The samples to compare. Raises UsageError where the sampler works on what an evaluation has none of."""
    if len(data) < FEWEST:
        raise DataError(f"{data.name!r} ({data.split}) holds 1 item; figures take {FEWEST} or more")
    name, spec = weights.model.sampler_spec(sampler)
    given = [need for need in spec.needs if need != "label"]
    if given:
        there = [n for n, s in weights.model.spec.samplers.items() if not set(s.needs) - {"label"}]
        raise UsageError(
            f"sampler {name!r} works on a given {given[0]}, so its samples can't be compared with data; there are: "
            f"{', '.join(there)}"
        )
    return request(
        weights, count=count or min(COUNT, len(data)), seed=seed, sampler=name, options=options,
        labels=_labels(weights, data, seed), threads=threads, registry=registry,
    )  # fmt: skip


def _labels(weights: Weights, data: Dataset, seed: int) -> list[int]:
    """For a model that is told of classes, those of the items in a random order, so that samples are of each class as
    often as items are; every class in turn where the items have no labels; [] for other models."""
    classes = weights.generator.data.classes
    if "label" not in weights.model.spec.conditions or not classes:
        return []
    labels = data.labels()
    if labels is None or not set(data.info.classes) <= set(classes):
        return list(range(len(classes)))
    numbers = torch.tensor([classes.index(name) for name in data.info.classes])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive(seed, "labels")))
    found: list[int] = numbers[labels[order]].tolist()
    return found


def _compared(wanted: Request, data: Dataset, eye: Extractor, progress: Progress) -> _Against:
    from aigc_core.evaluation.looking import of_data, of_samples

    started = time.perf_counter()
    real = of_data(data, eye, wanted.weights.device, progress)
    fake = of_samples(wanted, eye, progress)
    return _Against(wanted, eye, real, fake, time.perf_counter() - started)


def _card(
    name: str, metric: Metric | FeatureMetric, weights: Weights, data: Dataset, against: _Against | None, seed: int,
    registry: Registry, progress: Progress,
) -> MetricCard | None:  # fmt: skip
    """One metric; None where it can't tell. Raises BackendError where it fails or gives no figures."""
    backend, owner = registry.metric_backends[name], weights.model.backend
    started = time.perf_counter()
    found: Any
    with blame(backend, f"to measure {name!r}"), torch.inference_mode():
        if isinstance(metric, Metric):
            against = None
            found = metric.measure(weights.generator, data, seed=seed, track=progress.track)
        else:
            assert against is not None
            found = metric.compare(against.real, against.fake, seed=seed)
            if found == {}:
                return None
    if not isinstance(found, Mapping) or not found or not all(map(_is_figure, found.items())):
        raise BackendError(
            f"backend {backend.name!r}: metric {name!r} gave no figures, names with numbers, but {found!r:.80}; report it "
            f"to the author of {backend.distribution}"
        )
    figures = {n: v if isinstance(v, Figure) else Figure(v) for n, v in found.items()}
    record = weights.record
    compared = {} if against is None else {"compared": len(against.real.values)}
    return MetricCard(
        name=name,
        figures={n: figure.value for n, figure in figures.items()},
        weights={
            "name": weights.name, "manifest": weights.manifest, "model": record["model"],
            "tensors_digest": weights.tensors_digest,
        },
        data={"name": data.name, "split": data.split, "digest": data.digest, "count": len(data), **compared},
        seed=seed,
        versions={"aigc-core": __version__, **{b.distribution: b.version for b in (backend, owner)}},
        environment={**machine(weights.device), "threads": torch.get_num_threads()},
        seconds=time.perf_counter() - started,
        intervals={n: figure.interval for n, figure in figures.items()},
        samples=None if against is None else against.samples(),
        extractor=None if against is None else dict(against.extractor.about()),
    )  # fmt: skip


def _is_figure(item: tuple[Any, Any]) -> bool:
    name, found = item
    value = found.value if isinstance(found, Figure) else found
    return isinstance(name, str) and isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(names: Sequence[str], **given: Any) -> None:
    """Raises UsageError for what concerns samples, where no metric looks at any."""
    flags = {"count": "-n", "sampler": "--sampler", "options": "-s", "features": "--features"}
    for name, value in given.items():
        if value:
            raise UsageError(
                f"{flags[name]} concerns samples, and {', '.join(names)} draws none; leave it out"
            )


def _reading(weights: Weights, data: str | Path) -> Mapping[str, Any]:
    """How the text was read that the weights were trained on, if this is it, as far as names tell."""
    record, path = weights.record["data"], user_path(data)
    said = record.get("reading")
    same = record["name"] in (str(data), path.stem, path.resolve().name)
    return said if same and isinstance(said, dict) else {}


def _remarks(weights: Weights, data: Dataset) -> list[str]:
    fitted = weights.record["data"]
    if data.digest == fitted["digest"]:
        return [
            f"the weights were fitted on these very data ({data.name}, {data.split}): the figures flatter them"
        ]
    if data.split == "train":
        return [
            "the split 'train' is what models are fitted on; figures are comparable on one that was held out"
        ]
    return []


def _few(against: _Against) -> list[str]:
    fewest, width = min(len(against.real.values), len(against.fake.values)), against.extractor.width
    if fewest > width:
        return []
    return [
        f"{fewest} pictures are fewer than {against.extractor.name} has features ({width}): the distances are far too "
        "large, and comparable only among themselves"
    ]
