"""What a trainer's step is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items of a data set, on the device of the engine.

    The batches of one run all have the same size.
    """

    x: Tensor
    """[N, *shape]. Pictures [N, C, H, W] and sounds [N, C, T] are float32 in the range that the generator's
    `output` declares; texts [N, length] are int64, the values 0 .. 255 of their bytes."""
    index: Tensor
    """[N] int64: which items of the data set these are."""
    labels: Tensor | None = None
    """[N] int64 in 0 .. len(classes) - 1; None where the data has no labels."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What a modality adds, each [N, ...] int64. Of sounds: `length` [N], the samples of each before silence was added;
    `speaker` [N], an index into the data's `speakers`, where those are known; `text` [N, L], where there are
    transcripts: of each character one more than its place in the data's `characters`, then zeros."""

    def __len__(self) -> int:
        return self.x.shape[0]
