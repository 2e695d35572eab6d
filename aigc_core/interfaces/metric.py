"""A figure of merit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aigc_core.data.dataset import Dataset
    from aigc_core.interfaces.generator import Generator


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and how sure it is."""

    value: float
    interval: tuple[float, float] | None = None
    """In which it lies with 95 % (bootstrap over the items)."""


@dataclass(frozen=True, slots=True)
class Features:
    """What an extractor sees in many items. May lie in a file: take slices, never all at once."""

    values: npt.NDArray[np.float32]
    """[N, D]"""
    probabilities: npt.NDArray[np.float32] | None = None
    """[N, classes] of the data's own classes, where the extractor is a classifier of them."""
    labels: npt.NDArray[np.int64] | None = None
    """[N]: of real items their classes; of samples those that were asked for, where the model is told of classes."""


class FeatureMetric(ABC):
    """Compares samples with real items by what an extractor sees in both; what `MetricSpec.metric` names, too."""

    @abstractmethod
    def compare(self, real: Features, fake: Features, *, seed: int) -> Mapping[str, Figure]:
        """Figures by name; {} where these features can't tell."""


class Metric(ABC):
    """Judges a generator by data; what `MetricSpec.metric` names."""

    @abstractmethod
    def measure(
        self,
        generator: Generator[Any],
        data: Dataset,
        *,
        seed: int,
        track: Callable[[Iterable[Any], int, str], Iterable[Any]],
    ) -> Mapping[str, float]:
        """Figures by name. The generator is in evaluation mode, gradients are off; data: of the split that is judged
        by, as the model takes it. seed decides what is drawn at random; track(items, count, label) shows progress."""
