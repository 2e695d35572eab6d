"""The convolutional GAN."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from aigc_core.specs import DataInfo
from aigc_gan.config import DCGANConfig
from aigc_gan.networks import (
    Critic,
    CriticLayers,
    FirstConv,
    LatentGenerator,
    in_order_of_memory,
    levels,
    widths,
)


class DCGAN(LatentGenerator):
    """A linear layer to the coarsest grid, a transposed convolution a level, a convolution, tanh.

    A plain one has no such convolution: the last transposed one makes the picture. The grid is rounded up,
    and what it makes too much is cropped: so any height and width will do.
    """

    config: DCGANConfig

    def __init__(self, config: DCGANConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.latent = config.latent
        channels, height, width = data.shape
        depth = levels(height, width, config.grid)
        sizes = widths(config.width, depth + (not config.plain))
        top = sizes[-1]
        self.grid = (top, -(-height // 2**depth), -(-width // 2**depth))
        self.project = nn.Linear(self.inputs, math.prod(self.grid))
        layers: list[nn.Module] = [nn.BatchNorm2d(top), nn.ReLU(inplace=True)]
        for outer, inner in reversed(list(itertools.pairwise(sizes))):
            up = nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
        last = (
            nn.ConvTranspose2d(config.width, channels, 4, stride=2, padding=1)
            if config.plain
            else nn.Conv2d(config.width, channels, 3, padding=1)
        )
        self.layers = nn.Sequential(*layers, last, nn.Tanh())
        self.to(memory_format=torch.channels_last)

    @property
    def inputs(self) -> int:
        """The size of what the first layer is given."""
        return self.config.latent

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, latent] to [N, C, H, W] in [-1, 1]."""
        grid = self.project(z).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        pictures: Tensor = self.layers(grid)
        return pictures[:, :, : self.data.shape[1], : self.data.shape[2]]

    def critic(self, layers: CriticLayers) -> Critic:
        return DCGANCritic(self.config, self.data, layers)


class DCGANCritic(Critic):
    """A strided convolution a level, unless it is plain one at the coarsest, a linear score.

    With classes each has a linear score of its own beside the common one (Miyato and Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, config: DCGANConfig, data: DataInfo, layers: CriticLayers, classes: int = 0) -> None:
        super().__init__()
        channels, height, width = data.shape
        depth = levels(height, width, config.grid)
        sizes = widths(config.width, depth + 1)
        stack: list[nn.Module] = []
        for level, outer in enumerate(sizes[:depth]):
            down = nn.Conv2d(channels, outer, 4, stride=2, padding=1) if level else FirstConv(channels, outer)
            # not in place on the first one's view: autograd would copy what lies around it
            stack += [layers.weighted(down), nn.LeakyReLU(0.2, inplace=level > 0)]
            channels, height, width = outer, height // 2, width // 2
        if not config.plain:
            last = nn.Conv2d(channels, sizes[depth], 3, padding=1)
            stack += [layers.weighted(last), nn.LeakyReLU(0.2, inplace=True)]
            channels = sizes[depth]
        self.layers = nn.Sequential(*stack)
        features = channels * height * width
        self.score = layers.weighted(nn.Linear(features, 1))
        self.of_class = layers.weighted(nn.Embedding(classes, features)) if classes else None
        if self.of_class is not None and not layers.spectral:
            nn.init.normal_(self.of_class.weight, std=features**-0.5)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, C, H, W] to [N]."""
        features = in_order_of_memory(self.layers(x))
        scores: Tensor = self.score(features).squeeze(1)
        if self.of_class is not None:
            scores = scores + (self.of_class(labels) * features).sum(1)
        return scores
