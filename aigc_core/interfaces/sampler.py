"""An algorithm that draws from a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch

from aigc_core.errors import UsageError
from aigc_core.interfaces.generator import Generator
from aigc_core.options import Options

if TYPE_CHECKING:
    from torch import Tensor

G = TypeVar("G", bound=Generator[Any])
O = TypeVar("O", bound=Options)  # noqa: E741


def stream(seed: int, index: int) -> np.random.Generator:
    """The random stream of sample `index` of `seed`: Philox, keyed by the two (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


@dataclass(frozen=True)
class Block:
    """The samples that are computed together: as many as the block is large, aligned to its size.

    Matrix products differ in their last bits between batch shapes. Therefore a block is always computed
    whole, and row r is always sample `start + r`, with `start` a multiple of the size: sample i comes out
    bit for bit the same, however many are asked for and from wherever.
    """

    seed: int
    start: int
    size: int
    device: torch.device
    labels: Tensor | None = None
    """[size] int64, where labels are asked for; see `labels_of`."""
    prompts: tuple[str, ...] | None = None
    """[size], where prompts are given."""
    images: Tensor | None = None
    """[size, C, H, W] float32 in the generator's output range, where pictures are given."""
    masks: Tensor | None = None
    """[size, 1, H, W] float32, where masks are given: 1 where a picture is to be filled in, 0 where it is to be kept."""
    sounds: Tensor | None = None
    """[size, C, T] float32 in the generator's output range and at its sample rate, where sounds are given; NaN follows
    the end of one that is shorter than another."""
    parts: Mapping[str, Generator[Any]] = field(default_factory=dict)
    """What the options name that `SamplerSpec.parts` names, loaded, in evaluation mode."""
    fitted: Mapping[str, Tensor] = field(default_factory=dict)
    """What `Trainer.fitted` gave for this sampler, on the device, where `SamplerSpec.fitted` says that it has such."""
    wanted: range | None = None
    """The rows that were asked for, None for all. Others may be left zero, if that does not change a bit of those."""
    notes: tuple[dict[str, Any], ...] | None = None
    """[size] what `note` has added, where somebody keeps it."""
    pictures: dict[int, np.ndarray[Any, np.dtype[np.uint8]]] | None = None
    """By row, what `show` was given, where somebody keeps it."""

    def note(self, row: int, **facts: Any) -> None:
        """Adds facts about a row, as JSON, to what is kept with its sample: what it cost, how well it went."""
        if self.notes is not None:
            self.notes[row].update(facts)

    def show(self, row: int, picture: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Gives a picture [H, W] or [H, W, 3] to be kept beside a sample, where its file keeps one: how it came about."""
        if self.pictures is not None:
            self.pictures[row] = picture

    def labels_of(self, classes: int) -> Tensor:
        """[size] int64: the labels that are asked for, or each class in turn."""
        if self.labels is not None:
            return self.labels
        return torch.tensor([index % classes for index in self.indices], device=self.device)

    @property
    def rows(self) -> range:
        """The rows that were asked for."""
        return range(self.size) if self.wanted is None else self.wanted

    @property
    def indices(self) -> range:
        return range(self.start, self.start + self.size)

    @cached_property
    def _streams(self) -> list[np.random.Generator]:
        return [stream(self.seed, index) for index in self.indices]

    def randn(self, *shape: int) -> Tensor:
        """[size, *shape] standard normal values; row r continues the stream of sample `start + r`."""
        return self._draw(self._streams, shape)

    def randn_of(self, indices: list[int], *shape: int) -> Tensor:
        """[len(indices), *shape]: the first values of the streams of any samples, for what spans several."""
        return self._draw([stream(self.seed, index) for index in indices], shape)

    def _draw(self, streams: list[np.random.Generator], shape: tuple[int, ...]) -> Tensor:
        rows = np.stack([s.standard_normal(shape, dtype=np.float32) for s in streams])
        return torch.from_numpy(rows).to(self.device)


class Sampler(ABC, Generic[G, O]):
    """Draws blocks of samples. Holds no state between blocks: any machine may compute any block."""

    def __init__(self, options: O) -> None:
        self.options = options

    @abstractmethod
    def sample(self, generator: G, block: Block) -> Tensor:
        """[block.size, *generator.output.shape] in the output's range.

        The generator is in evaluation mode, gradients are off. All randomness comes from the block.
        """

    def stream(self, generator: G, block: Block) -> Iterator[tuple[int, bytes]]:
        """For text: a row and the next bytes of its text, as they come, until all of `block.rows` have ended.

        Put together they are, row by row, what `sample` returns. Raises UsageError where it can't.
        """
        raise UsageError(f"{type(self).__name__} makes a text as a whole: it can't be streamed")
