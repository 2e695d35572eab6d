"""The fully connected VAE."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from aigc_core.specs import DataInfo
from aigc_vae.config import MLPConfig
from aigc_vae.vae import VAE


class MLPVAE(VAE):
    """C*H*W - 512 - 256 - latent and back, SiLU between."""

    config: MLPConfig

    def __init__(self, config: MLPConfig, data: DataInfo) -> None:
        super().__init__(config, data, config.likelihood)
        size = math.prod(data.shape)
        self.encoder = _layers((size, *config.hidden, 2 * config.latent))
        self.decoder = _layers((config.latent, *reversed(config.hidden), size))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x.flatten(1)).chunk(2, dim=1)
        return mean, log_variance

    def decode_logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.decoder(z).view(-1, *self.data.shape)
        return logits


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers from width to width, SiLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
