"""What watches over a training: is it still going anywhere?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

ROLLBACKS: Final = 3
"""How often a run may go back before it is given up."""

SMALLER: Final = 0.5
"""What each going back does to all learning rates."""

EXPLODED: Final = 100.0
"""A loss has exploded when it is so many times as large as it ever was, and as 1."""

COLLAPSED: Final = 0.02
"""A model has collapsed when its samples differ by less than this share of what real items differ by."""

PATIENCE: Final = 3
"""Readings in a row that must show a collapse."""

EARLY: Final = 100
"""Steps in which samples may be all alike, since nothing has been learnt yet."""


class Diverged(Exception):
    """Training has left the road; the message says how one can tell."""


class Guards:
    """Reads the metrics that the loop reads. What it remembers is part of a checkpoint, so that a resumed run is
    judged as an uninterrupted one."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = {}
        """The largest absolute value of each loss so far."""
        self.alike = 0
        """Readings in a row whose samples were all alike."""
        self.rollbacks: list[dict[str, Any]] = []
        """`step`, `to`, `reason`, `scale` of each time that the run went back."""

    @property
    def scale(self) -> float:
        """Of all learning rates."""
        return SMALLER ** len(self.rollbacks)

    def check(
        self, step: int, metrics: Mapping[str, float], spread: float | None = None, regular: bool = True
    ) -> None:
        """Raises Diverged if a metric is not finite, a loss has exploded, or the samples are all alike.

        spread: that of the step's samples, as a share of that of its real items. regular: whether every run
        of this plan reads this step; else it is not remembered, since checkpoints must not steer a run.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} at step {step}")
        if not regular:
            return
        for name, value in metrics.items():
            if name != "loss" and not name.endswith("_loss"):
                continue
            largest = self.largest.setdefault(name, abs(value))
            if abs(value) > EXPLODED * max(largest, 1.0):
                raise Diverged(
                    f"{name} has exploded to {value:.4g} at step {step}, from at most {largest:.4g}"
                )
            self.largest[name] = max(largest, abs(value))
        if spread is None:
            return
        self.alike = self.alike + 1 if step >= EARLY and not spread >= COLLAPSED else 0
        if self.alike >= PATIENCE:
            self.alike = 0
            raise Diverged(
                f"the samples have collapsed: at step {step} they differ by {spread:.2%} of what the data differ by"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"largest": dict(self.largest), "alike": self.alike, "rollbacks": list(self.rollbacks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.largest, self.alike = dict(state["largest"]), int(state["alike"])
        self.rollbacks = list(state["rollbacks"])


def spread(samples: Tensor, real: Tensor) -> Tensor:
    """How much samples [N, ...] differ from each other, as a share of how much real items do, 0-d: the mean over
    their values of the standard deviation over the items. 1 where that says nothing."""
    if len(samples) < 2 or len(real) < 2:
        return real.new_ones((), dtype=real.float().dtype)
    theirs, ours = (x.detach().float().std(0).mean() for x in (real, samples))
    return (ours / theirs).where(theirs > 0, theirs.new_ones(()))


def guard_every(steps: int) -> int:
    """The steps between two states that a run can go back to: a function of its length alone, so that a run that
    was interrupted goes back to the same ones."""
    return max(100, math.ceil(steps / 20))
