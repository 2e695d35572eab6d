"""How the weights of a bench are judged: by `aigc_core.evaluate`, alike for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aigc_core.benchmark.ask import OWN
from aigc_core.benchmark.row import Number, finite
from aigc_core.evaluation.extractors.choice import check, extractor
from aigc_core.evaluation.features import train_features
from aigc_core.evaluation.measure import evaluate

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.evaluation.card import MetricCard
    from aigc_core.progress import Progress
    from aigc_core.registry import Registry
    from aigc_core.weights.file import Weights


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

    def ready(self, dataset: Dataset, held_out: Dataset) -> Judge:
        """Itself, with the extractor there that is to be used: trained where it is the data's own and not there yet.

        Raises UsageError for an unknown one, NotFoundError for one that is not there, DataError.
        """
        if dataset.info.modality != "image":
            return self
        check(self.features)
        features = OWN if self.features is None and dataset.info.classes else self.features
        if features == OWN:
            train_features(self.data, size=self.size, registry=self.registry, progress=self.progress)
        extractor(features, held_out, self.data)  # what is wrong with it is said before anything is trained
        return replace(self, features=features)

    def deciding(self) -> dict[str, Any]:
        """What figures depend on, beside the samples' number."""
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
