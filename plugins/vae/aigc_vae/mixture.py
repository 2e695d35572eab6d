"""A mixture of normal distributions over latents: fitted with scikit-learn, drawn from with torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

FULL: Final = 128
"""The largest latent whose covariances are full; those of a larger one are diagonal."""
ITEMS: Final = 20
"""Latents that a component has on average, at least."""
WORK: Final = 4e10
"""Products that the iterations may take in all, roughly."""


def fit_mixture(
    latents: Tensor, labels: Tensor | None, classes: int, components: int, seed: int, iterations: int = 20
) -> dict[str, Tensor]:
    """`weights` [classes, K], `means` [classes, K, D] and `factors` [classes, K, D, D] (Cholesky's, of the covariances;
    [classes, K, D] standard deviations, where D is above FULL) of a mixture a class, float32.

    latents [N, D]; labels [N]. Without labels (classes 0) there is one mixture, in row 0. components are shared out among
    the classes; few latents make fewer of them. A class without latents has the standard normal.
    """
    z = latents.double().cpu().numpy()
    mixtures = max(1, classes)
    share = max(1, components // mixtures)
    rows = [z] if labels is None else [z[(labels == k).cpu().numpy()] for k in range(mixtures)]
    size = z.shape[1]
    found = [_mixture(part, share, iterations, (seed + k) % 2**32) for k, part in enumerate(rows)]
    most = max(len(weights) for weights, _, _ in found)
    shape = (mixtures, most, size, size) if size <= FULL else (mixtures, most, size)
    weights, means, factors = (
        torch.zeros(mixtures, most),
        torch.zeros(mixtures, most, size),
        torch.zeros(shape),
    )
    for k, (weight, mean, factor) in enumerate(found):
        for target, source in ((weights, weight), (means, mean), (factors, factor)):
            target[k, : len(source)] = torch.from_numpy(source)
    return {"weights": weights, "means": means, "factors": factors}


def draw_mixture(
    fitted: Mapping[str, Tensor], labels: Tensor | None, choice: Tensor, noise: Tensor
) -> Tensor:
    """[N, D] latents. choice [N] and noise [N, D] are standard normal: the one says, through its distribution function,
    which component a latent is of. labels [N]: of which mixture, by default the first."""
    row = torch.zeros(len(noise), dtype=torch.int64, device=noise.device) if labels is None else labels
    share = torch.special.ndtr(choice.double())
    bounds = fitted["weights"].double().cumsum(1)[row]
    component = (share[:, None] * bounds[:, -1:] >= bounds[:, :-1]).sum(1)
    means, factors = (fitted[name][row, component].to(noise.dtype) for name in ("means", "factors"))
    if factors.ndim == 2:
        return means + factors * noise
    return means + (factors * noise[:, None]).sum(2)  # a product of each row alone, whatever the others are


def _mixture(z: Array, components: int, iterations: int, seed: int) -> tuple[Array, Array, Array]:
    """Weights [K], means [K, D] and factors of [N, D], by expectation and maximisation."""
    count, size = z.shape
    full = size <= FULL
    if count == 0:
        return np.ones(1), np.zeros((1, size)), np.eye(size)[None] if full else np.ones((1, size))
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    components = max(1, min(components, count // ITEMS))
    work = count * components * size * (size if full else 1)
    settings: dict[str, Any] = {
        "covariance_type": "full" if full else "diag", "init_params": "kmeans", "random_state": seed, "tol": 1e-2,
        "max_iter": max(1, min(iterations, max(4, int(WORK / work)))),
        "reg_covar": max(1e-3 * float(z.var(0).mean()), 1e-6),
    }  # fmt: skip
    if count == 1:
        z = np.repeat(z, 2, axis=0)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged, or that latents are all alike
        fitted: Any = GaussianMixture(components, **settings).fit(z)  # type: ignore[no-untyped-call]
    covariances: Array = fitted.covariances_
    factors = np.asarray(np.linalg.cholesky(covariances) if full else np.sqrt(covariances))
    return fitted.weights_, fitted.means_, factors
