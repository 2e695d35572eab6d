"""The regularised autoencoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from aigc_core.specs import DataInfo
from aigc_vae.config import RAEConfig
from aigc_vae.conv import ConvVAE


class RAE(ConvVAE):
    """vae/conv without noise: what noise does to a VAE's latents, a penalty of their norm and of the decoder does here
    (Ghosh et al. 2020). It has no likelihood. Its prior is the normal distribution that has the mean and the variance
    of each number of the latents, which the trainer keeps count of.
    """

    config: RAEConfig
    parts: ClassVar[int] = 1
    latent_mean: Tensor
    """[latent]"""
    latent_square: Tensor
    """[latent], the mean of the squares."""

    def __init__(self, config: RAEConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("latent_mean", torch.zeros(config.latent))
        self.register_buffer("latent_square", torch.ones(config.latent))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The latent, and a log variance of minus infinity: there is no doubt of it."""
        z = self.features(x, labels)
        return z, torch.full_like(z, -torch.inf)

    def prior(self, noise: Tensor) -> Tensor:
        variance = (self.latent_square - self.latent_mean.square()).clamp_min(0)
        return self.latent_mean + noise * variance.sqrt()

    def forward(  # type: ignore[override]
        self, x: Tensor, probe: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[N, C, H, W] to logits [N, C, H, W], latents [N, latent], and with a probe [N, C, H, W] of standard normal values
        an estimate of the squared norm of the decoder's gradient, 0-d (Hutchinson's, of the Jacobian's Frobenius norm).
        """
        z = self.features(x, None).to(x.dtype)
        logits = self.decode_logits(z).to(x.dtype)
        if probe is None:
            return logits, z, logits.new_zeros(())
        (slope,) = torch.autograd.grad(logits.sigmoid(), z, probe, create_graph=True)
        return logits, z, slope.square().sum(1).mean()
