"""What a metric found, with all that its figures depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class MetricCard:
    """The figures of one metric: plain data, which `as_json` gives as a record to keep."""

    name: str
    figures: Mapping[str, float]
    """By name, in the order in which they are to be read."""
    weights: Mapping[str, Any]
    """name (`shakespeare@3`; None for a file), manifest, model, tensors_digest."""
    data: Mapping[str, Any]
    """name, split, digest, count: of the items as the model took them; `compared`: how many of them samples were
    compared with."""
    seed: int
    versions: Mapping[str, str]
    """By distribution: of the core, of the metric's backend and of the model's."""
    environment: Mapping[str, Any]
    """The machine and the threads: what the last bits depend on."""
    seconds: float
    intervals: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """By figure: in which it lies with 95 %; None where that is not known."""
    samples: Mapping[str, Any] | None = None
    """Of a metric that compares samples with data: count, sampler, options, labels (whether they were asked for by
    class), block, threads."""
    extractor: Mapping[str, Any] | None = None
    """Of such a metric, what looked at both: name, digest (of its weights), resize, features (their number)."""

    def as_json(self) -> dict[str, Any]:
        """A figure that is infinite or no number is null."""
        figures = {name: value if math.isfinite(value) else None for name, value in self.figures.items()}
        intervals = {name: list(found) if (found := self.intervals.get(name)) else None for name in figures}
        return {
            "format": FORMAT, "name": self.name, "figures": figures, "intervals": intervals, "weights": dict(self.weights),
            "data": dict(self.data), "samples": None if self.samples is None else dict(self.samples),
            "extractor": None if self.extractor is None else dict(self.extractor), "seed": self.seed,
            "versions": dict(self.versions), "environment": dict(self.environment),
            "seconds": round(self.seconds, 3),
        }  # fmt: skip
