"""How the weights of a bench are judged: by `aigc_core.evaluate`, alike for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from aigc_core.benchmark.row import Number, finite
from aigc_core.evaluation.features import train_features
from aigc_core.evaluation.measure import evaluate

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.evaluation.card import MetricCard
    from aigc_core.progress import Progress
    from aigc_core.registry import Registry
    from aigc_core.weights.file import Weights

OWN: Final = "own"
"""The classifier of the data's own classes."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What all weights of a bench are judged by."""

    data: str
    split: str
    count: int
    """Samples."""
    features: str | None
    """The extractor; None where the modality has none."""
    size: Size | None
    device: str
    registry: Registry
    progress: Progress

    def ready(self, dataset: Dataset) -> Judge:
        """Itself, with the extractor trained that is to be used, where it must be and is not there yet."""
        if dataset.info.modality != "image" or self.features not in (None, OWN):
            return self
        if not dataset.info.classes:
            return self
        train_features(self.data, size=self.size, registry=self.registry, progress=self.progress)
        return replace(self, features=OWN)

    def deciding(self) -> dict[str, Any]:
        return {"split": self.split, "features": self.features}

    def cards(
        self, weights: Weights, sampler: str | None, before: Sequence[MetricCard] = ()
    ) -> list[MetricCard]:
        """Every metric that fits, of what one sampler draws; for None of weights that are judged without samples.

        before: what was found of the same weights by another sampler; what does not depend on that is not measured again.
        Raises as `evaluate` does.
        """
        drawn: dict[str, Any] = {}
        if sampler is not None:
            drawn = {"sampler": sampler, "count": self.count, "features": self.features}
        found = evaluate(
            weights, self.data, split=self.split, size=self.size, registry=self.registry, quiet=not self.progress.shown,
            metrics=[card.name for card in before if card.samples is not None], **drawn,
        )  # fmt: skip
        return [*found, *(card for card in before if card.samples is None)]

    def numbers(self, cards: Sequence[MetricCard]) -> dict[str, Number]:
        """The figures of cards, in their order; one that two metrics have is called after its metric, too."""
        found: dict[str, Number] = {}
        for card in cards:
            lower = self.registry.metrics[card.name].lower_is_better
            for name, value in card.figures.items():
                key = f"{card.name} {name}" if name in found else name
                found[key] = Number(finite(value), card.intervals.get(name), card.name, lower)
        return found
