"""What all VAEs share: the latent's distribution and the likelihood of pixels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.interfaces import Block, Generator
from aigc_core.specs import DataInfo, Output
from aigc_vae.config import LatentConfig


class VAE(Generator[Any]):
    """An encoder q(z|x) and a decoder p(x|z) over pictures in [0, 1].

    Where `classes` is not 0, both are told the label of each picture, and `labels` must be given throughout.
    """

    variance: Tensor
    """0-d: of the gaussian likelihood, as it was in training lately; no use to the other."""

    def __init__(self, config: LatentConfig, data: DataInfo, likelihood: str, classes: int = 0) -> None:
        super().__init__(config, data)
        self.latent, self.likelihood, self.classes = config.latent, likelihood, classes
        self.register_buffer("variance", torch.ones(()))

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape, 0.0, 1.0)

    @abstractmethod
    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each [N, latent], for pictures [N, C, H, W]."""

    @abstractmethod
    def decode_logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, latent] to [N, C, H, W]: the mean of p(x|z) before the sigmoid."""

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, latent] to the mean of p(x|z), [N, C, H, W] in [0, 1]."""
        return self.decode_logits(z, labels).sigmoid()

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures [N, C, H, W] through the mean of their latents and back, in [0, 1]."""
        mean, _ = self.encode(x, labels)
        return self.decode(mean, labels)

    def prior(self, noise: Tensor) -> Tensor:
        """Latents [N, latent] of the prior, of standard normal values [N, latent]."""
        return noise

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] through the latent and back: logits [N, C, H, W], and the KL term, 0-d.

        noise [N, latent] is standard normal, for the reparametrised draw from q(z|x). KL, in nats a picture,
        is of q(z|x) from the standard normal (Kingma and Welling 2014, eq. 10).
        """
        mean, log_variance = (part.to(x.dtype) for part in self.encode(x, labels))
        z = mean + noise * (0.5 * log_variance).exp()
        return self.decode_logits(z, labels), kl_of(mean, log_variance).mean()

    def reconstruction(self, logits: Tensor, x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """-log p(x|z) in nats a picture, for training; in the precision of x, whatever the networks ran in.

        gaussian: its variance is the one that is optimal for this batch, the mean squared error (Rybkin et
        al. 2021, eq. 9); `mean` takes it over all processes. bernoulli: the cross entropy of pixels taken
        as probabilities.
        """
        logits = logits.to(x.dtype)
        if self.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        variance = mean(F.mse_loss(logits.sigmoid(), x)).clamp_min(1e-6)
        return 0.5 * x[0].numel() * (torch.log(2 * math.pi * variance) + 1)

    def nats(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z) of each picture, [N], for the variance that is kept: of a density over pixels in 0 .. 1."""
        if self.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
        squares = (logits.sigmoid() - x).square().flatten(1).sum(1)
        return 0.5 * (squares / self.variance + x[0].numel() * torch.log(2 * math.pi * self.variance))

    def labels_of(self, block: Block) -> Tensor | None:
        """[size]: the labels that are asked for, or each class in turn; None where the model is not told."""
        return block.labels_of(self.classes) if self.classes else None

    def likeliest(self, x: Tensor) -> Tensor:
        """[N]: of each picture the class for which what comes out of the latent is nearest to it, the latent's distance
        from the prior counted in."""
        bounds = []
        for label in range(self.classes):
            labels = torch.full((len(x),), label, device=x.device)
            mean, log_variance = self.encode(x, labels)
            bounds.append(self.nats(self.decode_logits(mean, labels), x) + kl_of(mean, log_variance))
        return torch.stack(bounds).argmin(0)


def kl_of(mean: Tensor, log_variance: Tensor) -> Tensor:
    """[N] nats: the divergence of normal distributions [N, D] from the standard one."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
