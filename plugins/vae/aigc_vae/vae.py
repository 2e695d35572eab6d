"""What all VAEs share: the latent's distribution and the likelihood of pixels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output
from aigc_vae.config import VAEConfig


class VAE(Generator[Any]):
    """An encoder q(z|x) and a decoder p(x|z) over pictures in [0, 1]."""

    def __init__(self, config: VAEConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.latent = config.latent
        self.likelihood = config.likelihood

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape, 0.0, 1.0)

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each [N, latent], for pictures [N, C, H, W]."""

    @abstractmethod
    def decode_logits(self, z: Tensor) -> Tensor:
        """[N, latent] to [N, C, H, W]: the mean of p(x|z) before the sigmoid."""

    def decode(self, z: Tensor) -> Tensor:
        """[N, latent] to the mean of p(x|z), [N, C, H, W] in [0, 1]."""
        return self.decode_logits(z).sigmoid()

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] through the latent and back: logits [N, C, H, W], and the KL term, 0-d.

        noise [N, latent] is standard normal, for the reparametrised draw from q(z|x). KL, in nats a picture,
        is of q(z|x) from the standard normal (Kingma and Welling 2014, eq. 10).
        """
        mean, log_variance = (part.to(x.dtype) for part in self.encode(x))
        z = mean + noise * (0.5 * log_variance).exp()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return self.decode_logits(z), kl

    def reconstruction(self, logits: Tensor, x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """-log p(x|z) in nats a picture; in the precision of x, whatever the networks ran in.

        gaussian: its variance is the one that is optimal for this batch, the mean squared error (Rybkin et
        al. 2021, eq. 9); `mean` takes it over all processes. bernoulli: the cross entropy of pixels taken
        as probabilities.
        """
        logits = logits.to(x.dtype)
        if self.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        variance = mean(F.mse_loss(logits.sigmoid(), x)).clamp_min(1e-6)
        return 0.5 * x[0].numel() * (torch.log(2 * math.pi * variance) + 1)
