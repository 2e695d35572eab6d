"""The kernel distance (Binkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from aigc_core.interfaces.metric import FeatureMetric, Features, Figure

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

SUBSETS: Final = 100
SIZE: Final = 1000
"""Items of a subset, where there are as many."""
SURE: Final = 1.959964
"""Standard deviations, either side, that hold 95 % of a normal distribution."""


class Kernel(FeatureMetric):
    """`kid`: the squared maximum mean discrepancy under the kernel (x . y / D + 1)^3, without bias, as the mean over
    subsets. About 0 for equal distributions, and then as often below it as above; numbers of items don't move it."""

    def compare(self, real: Features, fake: Features, *, seed: int) -> Mapping[str, Figure]:
        count, made = len(real.values), len(fake.values)
        size = min(SIZE, count, made)
        times = 1 if size == count == made else SUBSETS
        rng = np.random.RandomState(seed % 2**32)  # the draws of torch-fidelity, with which this agrees
        found = np.zeros(times)
        pulls = (_Pulls(count), _Pulls(made))
        for i in range(times):
            chosen = rng.choice(count, size, replace=False), rng.choice(made, size, replace=False)
            one = between(real.values[chosen[0]], fake.values[chosen[1]])
            found[i] = one.value
            for pull, index, values in zip(pulls, chosen, one.pulls, strict=True):
                pull.take(index, values)
        value = float(found.mean())
        # What another draw of items would change: to first order, the mean of their pulls. To it comes the draw of
        # subsets, of which there are but so many.
        variance = sum(pull.variance() for pull in pulls) + (
            float(found.var(ddof=1)) / times if times > 1 else 0
        )
        half = SURE * math.sqrt(variance)
        return {"kid": Figure(value, (value - half, value + half))}


class Discrepancy(NamedTuple):
    """Of two sets of as many items."""

    value: float
    pulls: tuple[Floats, Floats]
    """[N] of each set: how much an item moves the value, were it drawn once more (its influence, divided by 2)."""


def between(x: Floats, y: Floats) -> Discrepancy:
    """The unbiased estimate of the squared discrepancy of features x [N, D] and y [N, D]."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    size = len(x)
    xx, yy, xy = (kernel(*pair) for pair in ((x, x), (y, y), (x, y)))
    within_x, within_y = ((k.sum(axis=1) - np.diagonal(k)) / (size - 1) for k in (xx, yy))
    value = within_x.mean() + within_y.mean() - 2 * xy.mean()
    return Discrepancy(float(value), (within_x - xy.mean(axis=1), within_y - xy.mean(axis=0)))


def kernel(x: Floats, y: Floats) -> Floats:
    """[N, M] of features [N, D] and [M, D]."""
    inner: Floats = x @ y.T / x.shape[1] + 1
    return inner * inner * inner  # numpy's power takes ten times as long


class _Pulls:
    """The pulls of items, each over the subsets that it was in."""

    def __init__(self, count: int) -> None:
        self._sum, self._times = np.zeros(count), np.zeros(count)

    def take(self, index: npt.NDArray[np.int64], values: Floats) -> None:
        self._sum[index] += values
        self._times[index] += 1

    def variance(self) -> float:
        """Of the figure, by the draw of these items: the bootstrap of its linear part, which needs no drawing."""
        there = self._times > 0
        pulls = self._sum[there] / self._times[there]
        return 4 * float(pulls.var(ddof=1)) / len(self._sum)
