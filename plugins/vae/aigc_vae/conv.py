"""The convolutional VAE."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from aigc_core.specs import DataInfo
from aigc_vae.config import ConvConfig, RAEConfig
from aigc_vae.vae import VAE

LABEL: Final = 32
"""Numbers that stand for a class, beside the latent."""
DEEPEST: Final = 3
"""Levels at which the channels are doubled, at most; those of finer ones are halved instead."""


class ConvVAE(VAE):
    """A strided convolution a level, one at the coarsest, a linear layer to the latent; and back.

    The picture is halved until its grid is 4 to 10 cells wide. The decoder's grid is rounded up, and what
    it makes too much is cropped: so any height and width will do. The class of a picture, where it is told, is
    added before the coarsest convolution, and stands beside the latent.
    """

    parts: ClassVar[int] = 2
    """What the encoder says of each number of the latent: its mean and its log variance."""

    def __init__(self, config: ConvConfig | RAEConfig, data: DataInfo, classes: int = 0) -> None:
        likelihood = config.likelihood if isinstance(config, ConvConfig) else "gaussian"
        super().__init__(config, data, likelihood, classes)
        channels, height, width = data.shape
        depth = max(1, round(math.log2(max(height, width) / 7)))
        depth = min(depth, int(math.log2(min(height, width))))  # of a narrow strip a row of cells is left
        widths = [max(4, _channels(config.width, level, depth)) for level in range(depth + 1)]
        *widths, top = widths

        encoder: list[nn.Module] = []
        inner = channels
        for outer in widths:
            encoder += [nn.Conv2d(inner, outer, 4, stride=2, padding=1, bias=False), *_norm(outer)]
            inner = outer
        encoder += [nn.Conv2d(inner, top, 3, padding=1, bias=False), *_norm(top), nn.Flatten()]
        coarse = (height // 2**depth) * (width // 2**depth)
        self.levels = 3 * depth
        self.encoder = nn.Sequential(*encoder, nn.Linear(top * coarse, self.parts * config.latent))

        self.grid = (top, -(-height // 2**depth), -(-width // 2**depth))
        self.project = nn.Linear(config.latent + (LABEL if classes else 0), math.prod(self.grid))
        decoder: list[nn.Module] = [*_norm(top)]
        inner = top
        for outer in reversed(widths):
            decoder += [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False), *_norm(outer)]
            inner = outer
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(inner, channels, 3, padding=1))
        if classes:
            self.label_in = nn.Embedding(classes, widths[-1])
            self.label_out = nn.Embedding(classes, LABEL)
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """[N, C, H, W] to what the encoder says, [N, parts * latent]."""
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.classes:
            return self.encoder(x)  # type: ignore[no-any-return]
        assert labels is not None
        x = self.encoder[: self.levels](x)
        return self.encoder[self.levels :](x + self.label_in(labels)[:, :, None, None].to(x.dtype))  # type: ignore[no-any-return]

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.features(x, labels).chunk(2, dim=1)
        return mean, log_variance

    def decode_logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes:
            assert labels is not None
            z = torch.cat([z, self.label_out(labels).to(z.dtype)], dim=1)
        grid = self.project(z).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.decoder(grid)
        return logits[:, :, : self.data.shape[1], : self.data.shape[2]]


def _channels(width: int, level: int, depth: int) -> int:
    """Of a level, the finest being 0: doubled from one to the next, and at the coarsest no more than at DEEPEST."""
    return (width << level) >> max(0, depth - DEEPEST)


def _norm(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.SiLU()
