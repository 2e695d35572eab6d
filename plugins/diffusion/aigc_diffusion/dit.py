"""The diffusion transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.specs import DataInfo
from aigc_diffusion.attention import attend
from aigc_diffusion.config import DiTConfig
from aigc_diffusion.denoiser import Condition, Denoiser, Embedding


class Layer(nn.Module):
    """Attention, then two matrices; noise level and condition scale and shift what goes into each and weigh what comes out,
    by nothing at first (Peebles and Xie 2023, arXiv:2212.09748, section 3.2, adaLN-Zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.told = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """x: [N, T, width]; told: [N, width]."""
        shift, scale, weight, shift_2, scale_2, weight_2 = self.told(told)[:, None].chunk(6, 2)
        x = x + weight * self.mixed(attend(self.qkv(self.norm(x) * (1 + scale) + shift), self.heads))
        made: Tensor = self.down(F.gelu(self.up(self.norm(x) * (1 + scale_2) + shift_2), approximate="tanh"))
        result: Tensor = x + weight_2 * made
        return result


class DiT(Denoiser[DiTConfig]):
    """Squares of pixels are the tokens of a transformer.

    Pictures of any size: they are filled up at the right and below to whole squares, and what is too much is cropped.
    """

    def __init__(self, config: DiTConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        channels, height, width = data.shape
        self.grid = (-(-height // config.patch), -(-width // config.patch))
        values = channels * config.patch**2
        self.embedding = Embedding(config.width, self.classes, self.texts)
        self.enter = nn.Linear(values, config.width)
        self.places = nn.Parameter(0.02 * torch.randn(self.grid[0] * self.grid[1], config.width))
        self.layers = nn.ModuleList(Layer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, elementwise_affine=False)
        self.told, self.leave = nn.Linear(config.width, 2 * config.width), nn.Linear(config.width, values)
        for last in (self.told, self.leave):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def network(self, x: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        height, width, patch = *x.shape[2:], self.config.patch
        x = F.pad(x, (0, -width % patch, 0, -height % patch), mode="replicate")
        told = F.silu(self.embedding(noise, condition))
        tokens = self.enter(F.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)) + self.places
        for layer in self.layers:
            tokens = layer(tokens, told)
        shift, scale = self.told(told)[:, None].chunk(2, 2)
        made = self.leave(self.norm(tokens) * (1 + scale) + shift).transpose(1, 2).unflatten(2, self.grid)
        whole: Tensor = F.pixel_shuffle(made, patch)
        return whole[:, :, :height, :width]
