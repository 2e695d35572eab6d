"""The convolutional GAN."""

from __future__ import annotations

import itertools
import math

import torch
from aigc_mutant.config import DCGANConfig, DCGANTraining
from aigc_mutant.trainer import GANTrainer, LatentGenerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from aigc_core.specs import DataInfo, Output


def levels(height: int, width: int, grid: int = 7) -> int:
    """How often the picture is halved on the way to the coarsest grid: so that this is nearly `grid` cells
    wide, for 7 that is 4 to 10, and at least one high."""
    most = int(math.log2(min(height, width)))
    return max(1, min(most, round(math.log2(max(height, width) / grid))))


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
        widths = [config.width << level for level in range(depth + (not config.plain))]
        top = widths[-1]
        self.grid = (top, -(-height // 2**depth), -(-width // 2**depth))
        self.project = nn.Linear(config.latent, math.prod(self.grid))
        layers: list[nn.Module] = [nn.BatchNorm2d(top), nn.ReLU(inplace=True)]
        for outer, inner in reversed(list(itertools.pairwise(widths))):
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
    def output(self) -> Output:
        return Output("image", self.data.shape, -1.0, 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """[N, latent] to [N, C, H, W] in [-1, 1]."""
        grid = self.project(z).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        pictures: Tensor = self.layers(grid)
        return pictures[:, :, : self.data.shape[1], : self.data.shape[2]]


class FirstConv(nn.Conv2d):
    """The strided convolution of few channels, as a matrix product of its patches.

    Where there are few, a CPU's own kernel takes ten times as long for the gradient of the input, and of one
    channel it can't tell that the channels are last.
    """

    def __init__(self, channels: int, outer: int) -> None:
        super().__init__(channels, outer, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 4, padding=1, stride=2).transpose(1, 2)
        features = F.linear(patches, self.weight.flatten(1), self.bias)
        return features.view(len(x), x.shape[2] // 2, x.shape[3] // 2, -1).permute(0, 3, 1, 2)


class DCGANCritic(nn.Module):
    """A strided convolution a level, unless it is plain one at the coarsest, a linear score; every layer of
    spectral norm 1."""

    def __init__(self, config: DCGANConfig, data: DataInfo) -> None:
        super().__init__()
        channels, height, width = data.shape
        depth = levels(height, width, config.grid)
        layers: list[nn.Module] = []
        for level in range(depth):
            outer = config.width << level
            down = nn.Conv2d(channels, outer, 4, stride=2, padding=1) if level else FirstConv(channels, outer)
            # not in place on the first one's view: autograd would copy what lies around it
            layers += [spectral_norm(down), nn.LeakyReLU(0.2, inplace=level > 0)]
            channels, height, width = outer, height // 2, width // 2
        if not config.plain:
            top = config.width << depth
            layers += [spectral_norm(nn.Conv2d(channels, top, 3, padding=1)), nn.LeakyReLU(0.2, inplace=True)]
            channels = top
        self.layers = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Linear(channels * height * width, 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N]."""
        features = self.layers(x)
        # In the order of memory, so that gradients too come back with the channels last.
        scores: Tensor = self.score(features.permute(0, 2, 3, 1).flatten(1)).squeeze(1)
        return scores


class DCGANTrainer(GANTrainer[DCGAN, DCGANTraining]):
    def make_critic(self) -> nn.Module:
        return DCGANCritic(self.generator.config, self.generator.data)
