"""From weights and data to figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core._version import __version__
from aigc_core.errors import BackendError, UsageError
from aigc_core.evaluation.card import MetricCard
from aigc_core.evaluation.choice import choose
from aigc_core.evaluation.held_out import open_held_out
from aigc_core.files import user_path
from aigc_core.progress import Progress
from aigc_core.provenance.environment import machine
from aigc_core.registry import Registry, blame, default
from aigc_core.seeds import MAX_SEED
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset

PATIENCE: Final = 2.0
"""Seconds before it is shown how far something has come."""


def evaluate(
    weights: str | Path | Weights,
    data: str | Path,
    *,
    split: str | None = None,
    metrics: Sequence[str] = (),
    seed: int = 0,
    reading: Mapping[str, Any] | None = None,
    device: str | None = None,
    registry: Registry | None = None,
    remarks: list[str] | None = None,
    quiet: bool = True,
) -> list[MetricCard]:
    """Judges weights (`name`, `name@version`, a path, or what `load` returned) by data that they were not fitted on.

    split: by default `validation`, or else `test`. metrics: by name; all of the modality where none is given. seed:
    decides what a metric draws at random. reading: how a text is read; by default, where the data have the name of
    those of the training, as there: then no document is judged by that was trained on. What the user should know of
    the figures is added to `remarks`, a line each.
    Raises NotFoundError for unknown weights, data and metrics; UsageError, DataError, DamagedFileError, BackendError.
    """
    registry = registry or default()
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed must lie in 0 .. {MAX_SEED}, not {seed}")
    if not isinstance(weights, Weights):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        weights = load(Store().resolve(str(weights)), registry, device)
    names = choose(registry, weights.generator.output.modality, metrics)
    progress = Progress(False if quiet else None, patience=PATIENCE)
    reading = reading or _reading(weights, data)
    held_out = open_held_out(weights, data, split, reading, registry, progress.track)
    if remarks is not None:
        remarks += _remarks(weights, held_out)
    return [measure(name, weights, held_out, seed, registry, progress) for name in names]


def measure(
    name: str, weights: Weights, data: Dataset, seed: int, registry: Registry, progress: Progress
) -> MetricCard:
    """One metric. Raises NotFoundError for an unknown one, BackendError where it fails or gives no figures."""
    metric, backend, owner = registry.metric(name), registry.metric_backends[name], weights.model.backend
    started = time.perf_counter()
    with blame(backend, f"to measure {name!r}"), torch.inference_mode():
        found = metric.measure(weights.generator, data, seed=seed, track=progress.track)
    if not isinstance(found, Mapping) or not found or not all(map(_is_figure, found.items())):
        raise BackendError(
            f"backend {backend.name!r}: metric {name!r} gave no figures, names with numbers, but {found!r:.80}; report it "
            f"to the author of {backend.distribution}"
        )
    record = weights.record
    return MetricCard(
        name=name,
        figures=dict(found),
        weights={
            "name": weights.name, "manifest": weights.manifest, "model": record["model"],
            "tensors_digest": weights.tensors_digest,
        },
        data={"name": data.name, "split": data.split, "digest": data.digest, "count": len(data)},
        seed=seed,
        versions={"aigc-core": __version__, **{b.distribution: b.version for b in (backend, owner)}},
        environment={**machine(weights.device), "threads": torch.get_num_threads()},
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _is_figure(item: tuple[Any, Any]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, int | float) and not isinstance(value, bool)


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
