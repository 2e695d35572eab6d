"""What a metric found, with all that its figures depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class MetricCard:
    """The figures of one metric: plain data, which `as_json` gives as a record to keep."""

    name: str
    figures: Mapping[str, float]
    """By name, in the order in which they are to be read."""
    weights: Mapping[str, Any]
    """name (`shakespeare@3`; None for a file), manifest, model, tensors_digest."""
    data: Mapping[str, Any]
    """name, split, digest, count: of the items as the model took them."""
    seed: int
    versions: Mapping[str, str]
    """By distribution: of the core, of the metric's backend and of the model's."""
    environment: Mapping[str, Any]
    """The machine and the threads: what the last bits depend on."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """A figure that is infinite or no number is null."""
        figures = {name: value if math.isfinite(value) else None for name, value in self.figures.items()}
        return {
            "format": FORMAT, "name": self.name, "figures": figures, "weights": dict(self.weights), "data": dict(self.data),
            "seed": self.seed, "versions": dict(self.versions), "environment": dict(self.environment),
            "seconds": round(self.seconds, 3),
        }  # fmt: skip
