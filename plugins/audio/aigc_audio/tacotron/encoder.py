"""Characters to a memory that a decoder attends to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = 3
"""Convolutions before the LSTM (Shen et al. 2018, section 2.2)."""


class Encoder(nn.Module):
    """An embedding, convolutions over 5 characters, and an LSTM each way.

    What follows a text's end changes nothing: padding is kept at zero, positions are normalised each by itself, and
    the LSTM that goes backwards begins at the end of the text.
    """

    def __init__(self, symbols: int, width: int) -> None:
        """symbols: how many, from 1; 0 pads."""
        super().__init__()
        self.embedding = nn.Embedding(symbols + 1, width, padding_idx=0)
        self.convolutions = nn.ModuleList(Convolution(width, width, 5) for _ in range(LAYERS))
        self.forwards = nn.LSTM(width, width // 2, batch_first=True)
        self.backwards = nn.LSTM(width, width // 2, batch_first=True)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        """[N, L] symbols, of which each row has `lengths` [N], to [N, L, width]; zeros after the end."""
        places = torch.arange(text.shape[1], device=text.device)[None]
        mask = (places < lengths[:, None])[:, :, None]
        x = self.embedding(text)
        for convolution in self.convolutions:
            x = convolution(x, mask).relu()
        turned = (lengths[:, None] - 1 - places).clamp_min(0)[:, :, None]
        there = self.forwards(x)[0]
        back = self.backwards(x.gather(1, turned.expand_as(x)))[0]
        back = back.gather(1, turned.expand_as(back))
        return torch.cat([there, back], 2) * mask


class Convolution(nn.Module):
    """A convolution over time that keeps its length, normalised place by place."""

    def __init__(self, inner: int, outer: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inner, outer, size, padding=size // 2)
        self.norm = nn.LayerNorm(outer)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[N, T, inner] to [N, T, outer]; mask [N, T, 1] says which places are real, the others count as zero."""
        y: Tensor = self.norm(self.convolution((x * mask).transpose(1, 2)).transpose(1, 2))
        return y
