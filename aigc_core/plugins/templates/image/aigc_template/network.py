"""The generator: replace this network by your own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output
from aigc_template.config import TemplateConfig


class TemplateGenerator(Generator[TemplateConfig]):
    """A VAE of fully connected layers (Kingma and Welling 2014) over pictures in 0..1."""

    def __init__(self, config: TemplateConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.latent = config.latent
        size = math.prod(data.shape)  # data.shape is (channels, height, width)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(size, config.width), nn.SiLU(), nn.Linear(config.width, 2 * config.latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, config.width), nn.SiLU(), nn.Linear(config.width, size)
        )

    @property
    def output(self) -> Output:
        """What the sampler emits, and what the batches of a training look like."""
        return Output("image", self.data.shape, 0.0, 1.0)

    def decode(self, z: Tensor) -> Tensor:
        """[N, latent] to pictures [N, C, H, W] in 0..1."""
        pictures: Tensor = self.decoder(z).sigmoid()
        return pictures.view(-1, *self.data.shape)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """For pictures [N, C, H, W] and noise [N, latent]: reconstruction error and KL, in nats a picture."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        z = mean + noise * (0.5 * log_variance).exp()
        logits = self.decoder(z).float()
        error = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum") / len(x)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return error, torch.as_tensor(kl)
