"""The GAN of residual blocks, as in spectral normalisation's paper (Miyato et al. 2018, arXiv:1802.05957,
appendix B.4)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.specs import DataInfo
from aigc_gan.config import ResNetConfig
from aigc_gan.networks import Critic, CriticLayers, FirstConv, LatentGenerator, levels, widths


class UpBlock(nn.Module):
    """[N, inner, H, W] to [N, outer, 2H, 2W]: two convolutions beside one of 1x1, after each is doubled in size.

    What is of 1x1 comes before it is doubled, where it costs a quarter and gives the same.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2.0))
        h = self.conv2(F.relu(self.norm2(h)))
        y: Tensor = h + F.interpolate(self.skip(x), scale_factor=2.0)
        return y


class DownBlock(nn.Module):
    """[N, inner, H, W] to [N, outer, H/2, W/2], or of the same size where it does not `halve`: two convolutions
    beside one of 1x1, whose means over 2x2 are taken first: that gives the same."""

    def __init__(self, inner: int, outer: int, layers: CriticLayers, halve: bool = True) -> None:
        super().__init__()
        self.halve = halve
        self.conv1 = layers.weighted(nn.Conv2d(inner, outer, 3, padding=1))
        self.conv2 = layers.weighted(nn.Conv2d(outer, outer, 3, padding=1))
        self.skip = layers.weighted(nn.Conv2d(inner, outer, 1)) if inner != outer else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))
        if self.halve:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        y: Tensor = h + self.skip(x)
        return y


class ResNetGAN(LatentGenerator):
    """A linear layer to the coarsest grid, a residual block a level, a convolution, tanh.

    The grid is rounded up, and what it makes too much is cropped: so any height and width will do.
    """

    config: ResNetConfig

    def __init__(self, config: ResNetConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.latent = config.latent
        channels, height, width = data.shape
        depth = levels(height, width, config.grid)
        sizes = widths(config.width, depth + 1)
        self.grid = (sizes[-1], -(-height // 2**depth), -(-width // 2**depth))
        self.project = nn.Linear(config.latent, math.prod(self.grid))
        blocks = [UpBlock(inner, outer) for outer, inner in reversed(list(itertools.pairwise(sizes)))]
        last = nn.Conv2d(config.width, channels, 3, padding=1)
        self.layers = nn.Sequential(*blocks, nn.BatchNorm2d(config.width), nn.ReLU(), last, nn.Tanh())
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, latent] to [N, C, H, W] in [-1, 1]."""
        grid = self.project(z).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        pictures: Tensor = self.layers(grid)
        return pictures[:, :, : self.data.shape[1], : self.data.shape[2]]

    def critic(self, layers: CriticLayers) -> Critic:
        return ResNetCritic(self.config, self.data, layers)


class ResNetCritic(Critic):
    """A strided convolution, a residual block a level and one that keeps its size, a linear score of the sum over
    all places."""

    def __init__(self, config: ResNetConfig, data: DataInfo, layers: CriticLayers) -> None:
        super().__init__()
        channels, height, width = data.shape
        depth = levels(height, width, config.grid)
        sizes = widths(config.width, depth + 1)
        # The paper's first block works at full size, which costs as much as all others together.
        stack: list[nn.Module] = [layers.weighted(FirstConv(channels, sizes[1]))]
        stack += [DownBlock(inner, outer, layers) for inner, outer in itertools.pairwise(sizes[1:])]
        self.layers = nn.Sequential(*stack, DownBlock(sizes[-1], sizes[-1], layers, halve=False))
        self.places = (height >> depth) * (width >> depth)
        self.score = layers.weighted(nn.Linear(sizes[-1], 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, C, H, W] to [N]."""
        features = F.leaky_relu(self.layers(x), 0.2)
        # A sum grows with the picture: its root keeps the scores' size.
        pooled = features.sum((2, 3)) / math.sqrt(self.places)
        scores: Tensor = self.score(pooled).squeeze(1)
        return scores
