"""The prior over codes: a causal transformer that reads the grid row by row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ABOVE: Final = ((-1, 0), (-1, -1), (-1, 1))
"""Rows and columns from a place to those above that it is told of, beside the one before it. They are what matters most,
and to look for them by attention has to be learnt first."""


class Layer(nn.Module):
    """Attention to what came before, then two matrices; each after a layer normalisation (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for matrix in (self.qkv, self.proj, self.up, self.down):
            nn.init.normal_(matrix.weight, std=0.02)
        for last in (self.proj, self.down):
            nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * layers))
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, past: Tensor | None = None, place: int = 0) -> Tensor:
        """[N, T, width] to the same. With `past` [2, N, heads, T', D], the keys and values of a text so far, x is the
        one at `place`, T = 1, whose own are put there."""
        count, length, width = x.shape
        qkv = self.qkv(self.norm_1(x)).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.contiguous()
        if past is not None:
            past[0, :, :, place], past[1, :, :, place] = k[:, :, 0], v[:, :, 0]
            k, v = past[:, :, :, : place + 1].to(q.dtype)
        mixed = _attention(q, k, v).transpose(1, 2).reshape(count, length, width)
        x = x + self.proj(mixed)
        made: Tensor = self.down(F.gelu(self.up(self.norm_2(x))))
        return x + made


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of the last places q [N, heads, T, D] among all k, v [N, heads, T', D], each to itself and those before it.

    Written out: for grids as small as these it takes a fifth of the time of torch's own on a processor.
    """
    length, places = q.shape[2], k.shape[2]
    later = torch.full((length, places), -math.inf, dtype=q.dtype, device=q.device).triu(places - length + 1)
    scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3) + later
    mixed: Tensor = scores.softmax(3) @ v
    return mixed


class CodePrior(nn.Module):
    """p(codes) = prod_t p(code t | codes before t) over the T = rows * columns places of a grid and K codes, read row by
    row."""

    def __init__(self, codes: int, rows: int, columns: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.codes, self.rows, self.columns, self.heads = codes, rows, columns, heads
        self.embedding = nn.Embedding((1 + len(ABOVE)) * (codes + 1), width)
        """A table for the code before, and one for each above; the last row of each is for what is outside the grid."""
        self.position = nn.Parameter(0.02 * torch.randn(rows * columns, width))
        self.layers = nn.ModuleList(Layer(width, heads, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, codes)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """[N, T] to the logits of each given those before it, [N, T, K]."""
        grid = F.pad(codes.view(-1, self.rows, self.columns), (1, 1, 1, 0), value=self.codes)
        above = [
            grid[:, 1 + up :, 1 + right :][:, : self.rows, : self.columns].flatten(1) for up, right in ABOVE
        ]
        x = self._embedded([F.pad(codes[:, :-1], (1, 0), value=self.codes), *above]) + self.position
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # a residual stream of half the bytes
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def draw(self, count: int, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """[count, T] codes, place by place: choose(t, logits [count, K]) names those at t. Keys and values are kept, so
        that a place costs one pass over it alone."""
        weight, places = self.position, self.rows * self.columns
        shape = (len(self.layers), 2, count, self.heads, places, weight.shape[1] // self.heads)
        past = weight.new_zeros(shape)
        grid = torch.full((count, 1 + self.rows, self.columns + 2), self.codes, device=weight.device)
        before = grid[:, 0, 0]
        for place in range(places):
            row, column = 1 + place // self.columns, 1 + place % self.columns
            above = [grid[:, row + up, column + right] for up, right in ABOVE]
            x = (self._embedded([before, *above]) + weight[place])[:, None]
            for layer, kept in zip(self.layers, past, strict=True):
                x = layer(x, kept, place)
            logits = self.head(self.norm(x))[:, 0].to(weight.dtype)
            grid[:, row, column] = before = choose(place, logits)
        return grid[:, 1:, 1:-1].flatten(1)

    def _embedded(self, told: list[Tensor]) -> Tensor:
        """The code before and those above, each [...], to the sum of their embeddings [..., width]."""
        tables = torch.arange(len(told), device=told[0].device) * (self.codes + 1)
        embedded: Tensor = self.embedding(torch.stack(told, -1) + tables).sum(-2)
        return embedded


def log_likelihood(logits: Tensor, codes: Tensor) -> Tensor:
    """[N]: log p(codes [N, T]) in nats, of logits [N, T, K]."""
    return -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes).sum(1)


def pick(logits: Tensor, uniform: Tensor, temperature: float, top_k: int) -> Tensor:
    """[N] codes drawn from logits [N, K] by the inverse of their distribution function, at uniform [N] in 0..1."""
    if temperature == 0:
        return logits.argmax(1)
    logits = logits.double() / temperature
    if 0 < top_k < logits.shape[1]:
        least = logits.topk(top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    cumulative = logits.softmax(1).cumsum(1)
    wanted = uniform.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    # Never a code of probability 0, to which rounding up to the very end would lead.
    last = (cumulative < cumulative[:, -1:]).sum(1)
    return torch.minimum(torch.searchsorted(cumulative, wanted, right=True)[:, 0], last)
