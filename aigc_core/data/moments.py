"""The mean and the deviation of a data set's values, for models that must know how large they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core.errors import DataError
from aigc_core.modality import modality
from aigc_core.specs import Output

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.specs import DataInfo

    Track = Callable[[Iterable[Any], int, str], Iterable[Any]]

MOST: Final = 10_000
"""Items that are looked at, at most, chosen by chance: every sixth of MNIST is not like the others."""
PIECE: Final = 250
NAMES: Final = ("mean", "deviation")


def with_moments(dataset: Dataset, track: Track | None = None, kept: DataInfo | None = None) -> Dataset:
    """The same data, whose `info.details` say `mean`, a list of each channel's, and `deviation`, of all values from those.

    Values are taken in -1 .. 1. kept: what weights to start from were told; then they stay what they were. Raises
    DataError for a set of texts, whose values are no quantities.
    """
    details: Mapping[str, Any] = {} if kept is None else kept.details
    if all(name in details for name in NAMES):
        return dataset.described(**{name: details[name] for name in NAMES})
    kind = modality(dataset.info.modality)
    if dataset.info.modality == "text":
        raise DataError(f"{dataset.name!r} is text, which has no mean; see: aigc models list --modality text")
    stream = torch.Generator().manual_seed(0)
    index = torch.randperm(len(dataset), generator=stream)[:MOST].sort().values
    pieces: Iterable[Any] = torch.split(index, PIECE)
    if track is not None and not dataset.in_memory:
        pieces = track(pieces, math.ceil(len(index) / PIECE), "mean and deviation")
    output = Output(dataset.info.modality, dataset.info.shape)
    channels, values = dataset.info.shape[0], 0
    sums, squares = torch.zeros(channels).double(), torch.zeros(channels).double()
    for piece in pieces:
        flat = kind.batch(dataset.fetch(piece)[0], output).double().transpose(0, 1).reshape(channels, -1)
        sums, squares, values = sums + flat.sum(1), squares + flat.square().sum(1), values + flat.shape[1]
    mean = sums / values
    variance = float((squares / values - mean.square()).clamp_min(0).mean())
    return dataset.described(
        mean=[round(value, 6) for value in mean.tolist()], deviation=round(math.sqrt(variance), 6)
    )
