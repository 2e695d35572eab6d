"""Attention of all places to each other."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.nn import functional as F

FEW: Final = 256
"""Places up to which all scores are written out; for more it would take too much memory."""


def attend(qkv: Tensor, heads: int) -> Tensor:
    """[N, T, 3 D], queries, keys and values side by side, to [N, T, D]."""
    count, places, width = qkv.shape
    q, k, v = qkv.view(count, places, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if places > FEW:
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:
        mixed = ((q * q.shape[3] ** -0.5) @ k.transpose(2, 3)).softmax(3) @ v
    return mixed.transpose(1, 2).reshape(count, places, width // 3)
