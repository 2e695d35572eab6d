"""The layer that all networks of sound are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """ConvNeXt over time (Liu et al. 2022; Siuzdak 2023), for [N, time, width]: no statistics over time or batch, so
    that what comes later, and what is beside it, changes nothing but through the convolution."""

    def __init__(self, width: int, scale: float = 0.2) -> None:
        """scale: of what the layer adds, at first."""
        super().__init__()
        self.mix = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 3 * width)
        self.narrow = nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(x.transpose(1, 2)).transpose(1, 2)
        changed: Tensor = self.narrow(F.gelu(self.widen(self.norm(mixed))))
        return x + self.scale * changed
