"""The convolutional VAE."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from aigc_core.specs import DataInfo
from aigc_vae.config import ConvConfig
from aigc_vae.vae import VAE


class ConvVAE(VAE):
    """A strided convolution a level, one at the coarsest, a linear layer to the latent; and back.

    The picture is halved until its grid is 4 to 10 cells wide. The decoder's grid is rounded up, and what
    it makes too much is cropped: so any height and width will do.
    """

    config: ConvConfig

    def __init__(self, config: ConvConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        channels, height, width = data.shape
        depth = max(1, round(math.log2(max(height, width) / 7)))
        widths = [config.width << level for level in range(depth)]
        top = config.width << depth

        encoder: list[nn.Module] = []
        inner = channels
        for outer in widths:
            encoder += [nn.Conv2d(inner, outer, 4, stride=2, padding=1, bias=False), *_norm(outer)]
            inner = outer
        encoder += [nn.Conv2d(inner, top, 3, padding=1, bias=False), *_norm(top), nn.Flatten()]
        coarse = (height // 2**depth) * (width // 2**depth)
        self.encoder = nn.Sequential(*encoder, nn.Linear(top * coarse, 2 * config.latent))

        self.grid = (top, -(-height // 2**depth), -(-width // 2**depth))
        self.project = nn.Linear(config.latent, math.prod(self.grid))
        decoder: list[nn.Module] = [*_norm(top)]
        inner = top
        for outer in reversed(widths):
            decoder += [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False), *_norm(outer)]
            inner = outer
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(inner, channels, 3, padding=1))
        self.to(memory_format=torch.channels_last)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x.contiguous(memory_format=torch.channels_last))
        mean, log_variance = features.chunk(2, dim=1)
        return mean, log_variance

    def decode_logits(self, z: Tensor) -> Tensor:
        grid = self.project(z).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.decoder(grid)
        return logits[:, :, : self.data.shape[1], : self.data.shape[2]]


def _norm(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.SiLU()
