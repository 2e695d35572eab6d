"""The bounds of the likelihood, where the likelihood is known: a linear VAE is probabilistic PCA."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from aigc_vae.config import VAEConfig
from aigc_vae.likelihood import ELBO, IWAE
from aigc_vae.vae import VAE
from torch import Tensor, distributions

from aigc_core.data.dataset import ArrayImages
from aigc_core.specs import DataInfo

NOISE = 0.05


class LinearVAE(VAE):
    """p(x|z) = N(W z + 1/2, NOISE^2) with orthogonal columns, whose posterior is a normal with a diagonal covariance;
    `error` is by how much of its own deviation the encoder misses the mean of that."""

    def __init__(self, error: float) -> None:
        super().__init__(VAEConfig(latent=3), DataInfo("image", (1, 8, 8)), "gaussian")
        columns, _ = torch.linalg.qr(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).double())
        self.register_buffer("w", columns * torch.tensor([0.3, 0.2, 0.1]).double())
        self.double()
        self.variance.fill_(NOISE**2)
        self.error = error

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        precision = 1 + self.w.square().sum(0) / NOISE**2
        mean = (x.flatten(1) - 0.5) @ self.w / NOISE**2 / precision
        return mean + self.error * precision.rsqrt(), -precision.log().expand_as(mean)

    def decode_logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.logit(z @ self.w.T + 0.5).view(-1, 1, 8, 8)

    def evidence(self, x: Tensor) -> float:
        covariance = self.w @ self.w.T + NOISE**2 * torch.eye(64).double()
        truth = distributions.MultivariateNormal(torch.full((64,), 0.5).double(), covariance)
        return float(truth.log_prob(x.flatten(1)).mean())


def silent(items: Any, count: int, label: str) -> Any:
    return items


def measured(error: float) -> tuple[dict[str, float], dict[str, float], float]:
    """Both bounds, and the evidence, of pictures that the model itself makes, rounded to whole levels."""
    model, stream = LinearVAE(error), torch.Generator().manual_seed(1)
    z = torch.randn(200, 3, generator=stream).double()
    x = model.decode(z) + NOISE * torch.randn(200, 1, 8, 8, generator=stream).double()
    levels = (x.clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    data = ArrayImages(levels, name="made")
    with torch.inference_mode():
        elbo, iwae = (dict(kind().measure(model, data, seed=0, track=silent)) for kind in (ELBO, IWAE))
    return elbo, iwae, model.evidence(torch.from_numpy(levels).double() / 255)


def test_both_bounds_are_the_evidence_where_the_encoder_is_exact() -> None:
    elbo, iwae, evidence = measured(0.0)
    assert elbo["elbo"] == pytest.approx(evidence, abs=0.15)  # its expectation is estimated by a few latents
    assert iwae["iwae_64"] == pytest.approx(
        evidence, abs=1e-6
    )  # all of whose weights are the evidence itself
    assert elbo["bits_per_dim"] == pytest.approx(-elbo["elbo"] / 64 / math.log(2))
    assert elbo["elbo"] == pytest.approx(-elbo["reconstruction"] - elbo["kl"])


def test_the_elbo_lacks_the_divergence_and_the_weighted_bound_lies_between() -> None:
    elbo, iwae, evidence = measured(1.0)
    assert elbo["elbo"] == pytest.approx(
        evidence - 1.5, abs=0.2
    )  # KL(q, posterior): 3 numbers, one deviation off
    assert elbo["elbo"] + 1 < iwae["iwae_64"] < evidence
    assert iwae["iwae_64"] == pytest.approx(evidence, abs=0.3)
    assert 0 < iwae["standard_error"] < 2
