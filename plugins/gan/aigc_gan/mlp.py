"""The fully connected GAN."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from aigc_core.specs import DataInfo, Output
from aigc_gan.config import MLPConfig, MLPTraining
from aigc_gan.trainer import GANTrainer, LatentGenerator


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

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape, -1.0, 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """[N, latent] to [N, C, H, W] in [-1, 1]."""
        pictures: Tensor = self.layers(z).view(-1, *self.data.shape)
        return pictures


class MLPCritic(nn.Module):
    """The generator's mirror image, with dropout; scores [N] for pictures [N, C, H, W].

    `dropout` makes a layer each time.
    """

    def __init__(self, config: MLPConfig, data: DataInfo, dropout: Callable[[], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(data.shape)
        for hidden in reversed(config.hidden):
            layers += [nn.Linear(width, hidden), nn.LeakyReLU(0.2, inplace=True), dropout()]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x).squeeze(1)
        return scores


class MLPTrainer(GANTrainer[MLPGenerator, MLPTraining]):
    def make_critic(self) -> nn.Module:
        dropout = partial(self.engine.dropout, self.options.dropout)
        return MLPCritic(self.generator.config, self.generator.data, dropout)
