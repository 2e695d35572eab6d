"""The Fréchet distance (Heusel et al. 2017, arXiv:1706.08500)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.evaluation.metrics import bootstrap
from aigc_core.interfaces.metric import FeatureMetric, Features, Figure
from aigc_core.seeds import derive

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

ROWS: Final = 4096
"""Items that are in memory at once."""
WORK: Final = 5e11
"""Multiplications that the bootstrap may take: so many replicates, but no fewer than FEWEST nor more than MOST."""
FEWEST: Final = 20
MOST: Final = 100


class Frechet(FeatureMetric):
    """`fid`: the squared 2-Wasserstein distance between two normal distributions, one fitted to the features of the
    real items, one to those of the samples. In the square of the features' unit; 0 or more; biased upward by the number
    of items, so only figures of the same numbers compare."""

    def compare(self, real: Features, fake: Features, *, seed: int) -> Mapping[str, Figure]:
        there, made = Moments(real.values), Moments(fake.values)
        value = distance(there.mean, there.covariance, made.mean, made.covariance)
        rng = np.random.default_rng(derive(seed, "fid"))
        width = len(there.mean)
        times = int(WORK // (2 * width * width * (len(real.values) + len(fake.values))))
        times = min(MOST, max(FEWEST, times))
        replicates = [
            distance(*there.drawn(a), *made.drawn(b))
            for a, b in zip(
                bootstrap.counts(len(real.values), times, rng),
                bootstrap.counts(len(fake.values), times, rng),
                strict=True,
            )
        ]
        return {"fid": Figure(value, bootstrap.around(value, np.array(replicates), 0.0))}


class Moments:
    """Mean [D] and covariance [D, D] of features [N, D], read slice by slice; in float64."""

    def __init__(self, values: npt.NDArray[np.float32]) -> None:
        self._values = values
        count, width = values.shape
        total = np.zeros(width)
        for rows in _slices(values):
            total += rows.sum(axis=0, dtype=np.float64)
        self.mean: Final[Floats] = total / count
        products = np.zeros((width, width))
        for rows in _slices(values):
            centred = rows.astype(np.float64) - self.mean
            products += centred.T @ centred
        self.covariance: Final[Floats] = products / (count - 1)

    def drawn(self, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The same with each item as often as counts [N] say; products in float32, which a spread does not feel."""
        count, width = self._values.shape
        shift, products = np.zeros(width), np.zeros((width, width))
        middle = self.mean.astype(np.float32)
        for start in range(0, count, ROWS):
            often = counts[start : start + ROWS]
            there = np.flatnonzero(often)
            weight = np.sqrt(often[there].astype(np.float32))[:, None]
            centred = (self._values[start : start + ROWS][there] - middle) * weight
            shift += (centred * weight).sum(axis=0, dtype=np.float64)
            products += centred.T @ centred
        shift /= count
        return middle + shift, (products - count * np.outer(shift, shift)) / (count - 1)


def distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of means [D] and covariances [D, D].

    The trace of the root is that of the root of S1^(1/2) S2 S1^(1/2), which is symmetric: its eigenvalues are real
    and found exactly also where the covariances are singular, as with fewer items than features.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ other_covariance @ root
    common = np.sqrt(np.clip(np.linalg.eigvalsh((inner + inner.T) / 2), 0, None)).sum()
    apart = mean - other_mean
    traces = np.trace(covariance) + np.trace(other_covariance)
    return max(0.0, float(apart @ apart + traces - 2 * common))


def _slices(values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [values[start : start + ROWS] for start in range(0, len(values), ROWS)]
