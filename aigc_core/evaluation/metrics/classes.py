"""Which classes samples are of, as a classifier of the data sees it."""

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

ENOUGH: Final = 0.02
"""Of the samples: a class that holds as many counts as there."""
TINY: Final = 1e-9
"""Is added to shares, so that a class without items has a logarithm."""


class Classes(FeatureMetric):
    """`class-coverage`: the share of classes that hold at least 2 % of the samples; `class-kl`: how far the shares of
    classes among the samples are from those among the real items (Kullback-Leibler, nats); `confidence`: the mean of
    the largest probability; `accuracy`, of models that are told of classes: the share of samples of the asked one."""

    def compare(self, real: Features, fake: Features, *, seed: int) -> Mapping[str, Figure]:
        if real.probabilities is None or fake.probabilities is None:
            return {}
        rng = np.random.default_rng(derive(seed, "classes"))
        number = fake.probabilities.shape[1]
        there, made = (np.argmax(kind, axis=1) for kind in (real.probabilities, fake.probabilities))
        expected, found = (np.bincount(kind, minlength=number) for kind in (there, made))
        drawn = [rng.multinomial(n.sum(), n / n.sum(), size=bootstrap.TIMES) for n in (expected, found)]
        coverage, divergence = covered(found), divergences(found, expected)
        low, high = np.quantile(covered(drawn[1]), (0.025, 0.975))
        figures = {
            "class-coverage": Figure(float(coverage), (float(low), float(high))),
            "class-kl": Figure(
                float(divergence),
                bootstrap.around(float(divergence), divergences(drawn[1], drawn[0]), 0.0),
            ),
            "confidence": _mean(np.max(fake.probabilities, axis=1), rng),
        }
        if fake.labels is not None:
            figures["accuracy"] = _mean((made == fake.labels).astype(np.float64), rng)
        return figures


def covered(counts: npt.NDArray[np.int64]) -> Floats:
    """[...]: of counts by class [..., K], the share of classes that hold enough."""
    found: Floats = (counts >= ENOUGH * counts.sum(axis=-1, keepdims=True)).mean(axis=-1)
    return found


def divergences(counts: npt.NDArray[np.int64], expected: npt.NDArray[np.int64]) -> Floats:
    """[...]: KL(counts || expected) of counts by class [..., K] each, in nats."""
    p, q = (n / n.sum(axis=-1, keepdims=True) for n in (counts, expected))
    found: Floats = (p * np.log((p + TINY) / (q + TINY))).sum(axis=-1)
    return found


def _mean(values: Floats, rng: np.random.Generator) -> Figure:
    return Figure(float(np.mean(values, dtype=np.float64)), bootstrap.of_mean(values, rng))
