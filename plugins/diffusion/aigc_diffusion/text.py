"""What a text says, for a network: a small encoder that is trained along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LONGEST: Final = 256
"""Bytes of a text that are heard."""
NARROW: Final = 64
"""Channels of a byte."""


def encode(texts: Sequence[str]) -> Tensor:
    """[N, L] int64: the bytes of UTF-8 of each plus one, then zeros; at least one column."""
    rows = [text.encode()[:LONGEST] for text in texts]
    longest = max(1, *map(len, rows))
    return torch.tensor([[*(byte + 1 for byte in row), *[0] * (longest - len(row))] for row in rows])


class TextEncoder(nn.Module):
    """Two convolutions over bytes, and of each channel the mean and the largest value over the text: which pieces of words
    are there, in whatever order and script. An empty text is nothing, exactly."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bytes = nn.Embedding(257, NARROW, padding_idx=0)
        self.conv_1 = nn.Conv1d(NARROW, 2 * NARROW, 5, padding=2)
        self.conv_2 = nn.Conv1d(2 * NARROW, 2 * NARROW, 5, padding=2)
        self.out = nn.Linear(4 * NARROW, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L] to [N, size]."""
        there = tokens > 0
        mask = there[:, None].to(self.out.weight.dtype)
        x = self.bytes(tokens).transpose(1, 2)
        x = F.silu(self.conv_1(x)) * mask
        x = (x + F.silu(self.conv_2(x))) * mask
        mean = x.sum(2) / mask.sum(2).clamp_min(1)
        largest = x.masked_fill(~there[:, None], -torch.inf).amax(2)
        said: Tensor = self.out(torch.cat([mean, largest.masked_fill(~there.any(1, keepdim=True), 0)], 1))
        return said * there.any(1, keepdim=True)
