"""A figure of merit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.interfaces.generator import Generator


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
