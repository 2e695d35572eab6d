"""How a learning rate goes over a run."""

from __future__ import annotations

import math


def warmed_cosine(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate in one of `steps`: from 0 to 1 in the share `warmup` of them, and back along a cosine."""
    progress = step / steps
    if progress < warmup:
        return (progress + 1 / steps) / (warmup + 1 / steps)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
