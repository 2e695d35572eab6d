"""Figures by nearest neighbours: improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density
and coverage (Naeem et al. 2020, arXiv:2002.09797).

A set of items claims the balls around each of them that reach to its k-th nearest neighbour in the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.evaluation.metrics import bootstrap
from aigc_core.interfaces.metric import FeatureMetric, Features, Figure
from aigc_core.seeds import derive

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

MOST: Final = 10_000
"""Items of each kind; of more, so many are drawn. The work grows with their square."""
ROWS: Final = 500
"""Of a table of distances that are in memory at once."""
SAME: Final = 1e-12
"""Of the squared lengths of two items: a squared distance below it is rounding."""


class PrecisionRecall(FeatureMetric):
    """`precision`: the share of samples in the balls of the real items, k = 3; `recall`: of real items in those of the
    samples."""

    neighbours: Final = 3

    def compare(self, real: Features, fake: Features, *, seed: int) -> Mapping[str, Figure]:
        x, y, rng = _drawn(real, fake, seed, "precision-recall")
        if min(len(x), len(y)) <= self.neighbours:
            return {}
        of_x, of_y = radii(x, self.neighbours), radii(y, self.neighbours)
        precise, recalled = np.zeros(len(y), bool), np.zeros(len(x), bool)
        for rows, squares in tables(y, x):
            precise[rows] = (squares <= of_x).any(axis=1)
            recalled |= (squares <= of_y[rows, None]).any(axis=0)
        return {"precision": _share(precise, rng), "recall": _share(recalled, rng)}


class DensityCoverage(FeatureMetric):
    """`density`: in how many balls of real items a sample lies, divided by k = 5, 1 or so for equal distributions;
    `coverage`: the share of real items whose ball holds a sample."""

    neighbours: Final = 5

    def compare(self, real: Features, fake: Features, *, seed: int) -> Mapping[str, Figure]:
        x, y, rng = _drawn(real, fake, seed, "density-coverage")
        if min(len(x), len(y)) <= self.neighbours:
            return {}
        of_x = radii(x, self.neighbours)
        dense, covered = np.zeros(len(y)), np.zeros(len(x), bool)
        for rows, squares in tables(y, x):
            inside = squares <= of_x
            dense[rows] = inside.sum(axis=1) / self.neighbours
            covered |= inside.any(axis=0)
        return {
            "density": Figure(float(dense.mean()), bootstrap.of_mean(dense, rng)),
            "coverage": _share(covered, rng),
        }


def radii(x: Floats, neighbours: int) -> Floats:
    """[N]: of items [N, D], the squared distance of each to its k-th nearest neighbour, itself not counted."""
    found = np.empty(len(x))
    for rows, squares in tables(x, x):
        squares[np.arange(len(squares)), np.arange(len(x))[rows]] = np.inf
        found[rows] = np.partition(squares, neighbours - 1, axis=1)[:, neighbours - 1]
    return found


def tables(x: Floats, y: Floats) -> Iterator[tuple[slice, Floats]]:
    """The squared distances of items [N, D] to items [M, D], in pieces: which rows, and [rows, M]."""
    length = (y * y).sum(axis=1)
    for start in range(0, len(x), ROWS):
        rows = slice(start, min(start + ROWS, len(x)))
        lengths = (x[rows] * x[rows]).sum(axis=1)[:, None] + length
        squares = lengths - 2 * (x[rows] @ y.T)
        squares[squares < SAME * lengths] = 0
        yield rows, squares


def _drawn(
    real: Features, fake: Features, seed: int, name: str
) -> tuple[Floats, Floats, np.random.Generator]:
    """The items to compare [N, D] and [M, D], in float64 around their common middle, which keeps rounding small."""
    rng = np.random.default_rng(derive(seed, name))
    x, y = (_some(kind.values, rng) for kind in (real, fake))
    middle = x.mean(axis=0)
    return x - middle, y - middle, rng


def _some(values: npt.NDArray[np.float32], rng: np.random.Generator) -> Floats:
    index = np.arange(len(values))
    if len(values) > MOST:
        index = np.sort(rng.choice(len(values), MOST, replace=False))
    return values[index].astype(np.float64)


def _share(hits: npt.NDArray[np.bool_], rng: np.random.Generator) -> Figure:
    values = hits.astype(np.float64)
    return Figure(float(values.mean()), bootstrap.of_mean(values, rng))
