"""The order of a pass over more items than anyone wants a list of: a permutation that is computed place by place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

ROUNDS: Final = 6
"""Luby and Rackoff (1988) need four for a permutation that looks random, if the rounds' functions do."""


def permuted(places: npt.NDArray[np.int64], count: int, key: int) -> npt.NDArray[np.int64]:
    """The items [N] at some places [N] of a pass over `count` items, each in 0 .. count - 1.

    A Feistel network over the next power of 4, walked along its cycles until it is below `count` (Black and Rogaway
    2002): each key gives a permutation, in no memory but that of the places.
    """
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    keys = [_mixed(np.uint64((key + round_ * 0x9E3779B97F4A7C15) % (1 << 64))) for round_ in range(ROUNDS)]
    found = places.astype(np.uint64)
    outside = np.arange(len(found))
    while len(outside):
        found[outside] = _network(found[outside], half, keys)
        outside = outside[found[outside] >= count]
    return found.astype(np.int64)


def _network(
    values: npt.NDArray[np.uint64], half: np.uint64, keys: list[npt.NDArray[np.uint64]]
) -> npt.NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return np.asarray(left << half | right)


def _mixed(values: np.uint64 | npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014), which spreads each bit over all."""
    x = np.atleast_1d(values)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
