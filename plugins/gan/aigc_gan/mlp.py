"""The fully connected GAN."""

from __future__ import annotations

import math

from torch import Tensor, nn

from aigc_core.specs import DataInfo
from aigc_gan.config import MLPConfig
from aigc_gan.networks import Critic, CriticLayers, LatentGenerator


class MLPGenerator(LatentGenerator):
    """latent - 256 - 512 - 1024 - C*H*W, LeakyReLU between, tanh at the end."""

    config: MLPConfig

    def __init__(self, config: MLPConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.latent = config.latent
        layers: list[nn.Module] = []
        width = config.latent
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.LeakyReLU(0.2, inplace=True)]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(data.shape)), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, latent] to [N, C, H, W] in [-1, 1]."""
        pictures: Tensor = self.layers(z).view(-1, *self.data.shape)
        return pictures

    def critic(self, layers: CriticLayers) -> Critic:
        return MLPCritic(self.config, self.data, layers)


class MLPCritic(Critic):
    """The generator's mirror image, with dropout; scores [N] for pictures [N, C, H, W]."""

    def __init__(self, config: MLPConfig, data: DataInfo, layers: CriticLayers) -> None:
        super().__init__()
        stack: list[nn.Module] = [nn.Flatten()]
        width = math.prod(data.shape)
        for hidden in reversed(config.hidden):
            linear = layers.weighted(nn.Linear(width, hidden))
            stack += [linear, nn.LeakyReLU(0.2, inplace=True), layers.dropout()]
            width = hidden
        self.layers = nn.Sequential(*stack, layers.weighted(nn.Linear(width, 1)))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        scores: Tensor = self.layers(x).squeeze(1)
        return scores
