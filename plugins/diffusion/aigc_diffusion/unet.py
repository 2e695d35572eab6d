"""The U-Net."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.specs import DataInfo
from aigc_diffusion.attention import attend
from aigc_diffusion.config import UNetConfig
from aigc_diffusion.denoiser import Condition, Denoiser, Embedding


class Block(nn.Module):
    """A residual block; noise level and condition scale and shift what is between its convolutions (Dhariwal and Nichol 2021,
    arXiv:2105.05233, section 3)."""

    def __init__(self, inner: int, outer: int, told: int) -> None:
        super().__init__()
        self.norm_1, self.conv_1 = norm(inner), nn.Conv2d(inner, outer, 3, padding=1)
        self.told = nn.Linear(told, 2 * outer)
        self.norm_2, self.conv_2 = norm(outer), nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, 1)
        h = self.conv_1(F.silu(self.norm_1(x)))
        h = self.conv_2(F.silu(self.norm_2(h) * (1 + scale) + shift))
        result: Tensor = self.skip(x) + h
        return result


class Attention(nn.Module):
    """Of all places of a grid to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        count, width, rows, columns = x.shape
        places = self.norm(x).permute(0, 2, 3, 1).reshape(count, rows * columns, width)
        mixed = attend(self.qkv(places), self.heads)
        added: Tensor = self.out(mixed)
        return x + added.view(count, rows, columns, width).permute(0, 3, 1, 2)


class UNet(Denoiser[UNetConfig]):
    """Squares of pixels become channels, so that what is computed is a coarse grid; from there down to coarser ones and back,
    with what was on the way down beside what is on the way up (Ho et al. 2020, arXiv:2006.11239, appendix B).

    Pictures of any size: they are filled up at the right and below to whole squares, and what is too much is cropped.
    """

    def __init__(self, config: UNetConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        widths = [config.width * multiple for multiple in config.multiples]
        depth = len(widths)
        # A narrow picture is not halved until nothing is left.
        while depth > 1 and min(data.shape[1:]) < config.patch * 2 ** (depth - 1):
            depth -= 1
        widths = widths[:depth]
        self.cell = config.patch * 2 ** (depth - 1)
        inputs = data.shape[0] * config.patch**2
        told = 4 * config.width
        self.embedding = Embedding(told, self.classes, self.texts)
        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)

        self.down, self.finer_to_coarser = nn.ModuleList(), nn.ModuleList()
        kept, inner = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            row = nn.ModuleList()
            for _ in range(config.blocks):
                row.append(Block(inner, width, told))
                inner = width
                kept.append(inner)
            self.down.append(row)
            if level < depth - 1:
                self.finer_to_coarser.append(nn.Conv2d(inner, inner, 2, stride=2))
                kept.append(inner)
        heads = math.gcd(config.heads, inner)
        self.middle = nn.ModuleList(
            [Block(inner, inner, told), Attention(inner, heads), Block(inner, inner, told)]
        )
        self.up, self.coarser_to_finer = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(depth)):
            row = nn.ModuleList()
            for _ in range(config.blocks + 1):
                row.append(Block(inner + kept.pop(), widths[level], told))
                inner = widths[level]
            self.up.append(row)
            if level:
                self.coarser_to_finer.append(nn.ConvTranspose2d(inner, inner, 2, stride=2))
        last = nn.Conv2d(inner, inputs, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.out = nn.Sequential(norm(inner), nn.SiLU(), last)
        self.to(memory_format=torch.channels_last)

    def network(self, x: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.cell, 0, -height % self.cell), mode="replicate")
        told = F.silu(self.embedding(noise, condition))
        x = self.stem(F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last))
        kept = [x]
        for level, row in enumerate(self.down):
            for block in row:  # type: ignore[attr-defined]
                x = block(x, told)
                kept.append(x)
            if level < len(self.finer_to_coarser):
                x = self.finer_to_coarser[level](x)
                kept.append(x)
        first, attention, last = self.middle
        x = last(attention(first(x, told)), told)
        for level, row in enumerate(self.up):
            for block in row:  # type: ignore[attr-defined]
                x = block(torch.cat([x, kept.pop()], 1), told)
            if level < len(self.coarser_to_finer):
                x = self.coarser_to_finer[level](x)
        made: Tensor = F.pixel_shuffle(self.out(x), self.config.patch)
        return made[:, :, :height, :width]


def norm(channels: int) -> nn.GroupNorm:
    """In groups of about 16 channels."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels)
