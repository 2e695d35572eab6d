"""The convolutional GAN."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from aigc_core.specs import DataInfo, Output
from aigc_gan.config import DCGANConfig, DCGANTraining
from aigc_gan.trainer import GANTrainer, LatentGenerator


def levels(height: int, width: int) -> int:
    """How often the picture is halved on the way to the coarsest grid, which is 4 to 10 cells wide."""
    return max(1, round(math.log2(max(height, width) / 7)))


class DCGAN(LatentGenerator):
    """A linear layer to the coarsest grid, a transposed convolution a level, a convolution, tanh.

    The grid is rounded up, and what it makes too much is cropped: so any height and width will do.
    """

    config: DCGANConfig

    def __init__(self, config: DCGANConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.latent = config.latent
        channels, height, width = data.shape
        depth = levels(height, width)
        top = config.width << depth
        self.grid = (top, -(-height // 2**depth), -(-width // 2**depth))
        self.project = nn.Linear(config.latent, math.prod(self.grid))
        layers: list[nn.Module] = [nn.BatchNorm2d(top), nn.ReLU()]
        for level in reversed(range(depth)):
            inner, outer = config.width << (level + 1), config.width << level
            up = nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(outer), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(config.width, channels, 3, padding=1), nn.Tanh())
        self.to(memory_format=torch.channels_last)

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape, -1.0, 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """[N, latent] to [N, C, H, W] in [-1, 1]."""
        grid = self.project(z).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        pictures: Tensor = self.layers(grid)
        return pictures[:, :, : self.data.shape[1], : self.data.shape[2]]


class DCGANCritic(nn.Module):
    """A strided convolution a level, one at the coarsest, a linear score; every layer of spectral norm 1."""

    def __init__(self, config: DCGANConfig, data: DataInfo) -> None:
        super().__init__()
        channels, height, width = data.shape
        depth = levels(height, width)
        layers: list[nn.Module] = []
        for level in range(depth):
            outer = config.width << level
            layers += [spectral_norm(nn.Conv2d(channels, outer, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            channels, height, width = outer, height // 2, width // 2
        top = config.width << depth
        layers += [spectral_norm(nn.Conv2d(channels, top, 3, padding=1)), nn.LeakyReLU(0.2), nn.Flatten()]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Linear(top * height * width, 1)))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N]."""
        scores: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last)).squeeze(1)
        return scores


class DCGANTrainer(GANTrainer[DCGAN, DCGANTraining]):
    def make_critic(self) -> nn.Module:
        return DCGANCritic(self.generator.config, self.generator.data)
