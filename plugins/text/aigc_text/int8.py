"""Matrices of 8 bits and a scale a row, for sampling on CPUs: a token costs the reading of all weights, and these are a
quarter of the bytes. Activations are not quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.errors import UsageError

if TYPE_CHECKING:
    from aigc_text.gpt import GPT

FEW: Final = 64
"""Rows up to which the matrix is multiplied by as it is; for more, it is cheaper to make floats of it first."""
STRIDE: Final = 64
"""Columns that the kernel reads at once: of a matrix with others, it would read what lies behind it."""
LARGEST: Final = 127
"""Of the 8 bits: the same both ways."""


class Int8Linear(nn.Module):
    """y = x W^T + b, with W[o, i] = weight[o, i] * scale[o], as in LLM.int8()'s row-wise scales (Dettmers et al. 2022,
    arXiv:2208.07339, section 2.1), for weights alone.

    At most FEW rows are multiplied in bfloat16, and summed in float32.
    """

    weight: Tensor
    """[outs, ins] int8"""
    scale: Tensor
    """[outs], values that bfloat16 has exactly, as the product takes them so."""

    def __init__(self, ins: int, outs: int, bias: bool = True) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outs, ins, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(outs))
        self.bias = nn.Parameter(torch.zeros(outs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        out = product(x, self.weight, self.scale)
        return out if self.bias is None else out + self.bias

    @torch.no_grad()
    def fill(self, matrix: Tensor, bias: Tensor | None = None) -> None:
        """With the values [outs, ins] nearest to these."""
        weight, scale = quantised(matrix)
        self.weight.copy_(weight)
        self.scale.copy_(scale)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)


class Int8Embedding(nn.Module):
    """The vectors of tokens, and their products with vectors: the tied head.

    What all rows have in common is kept apart, as floats. It moves all logits alike and is what makes them large:
    without it, bfloat16 is precise enough for what remains.
    """

    weight: Tensor
    """[rows, width] int8"""
    scale: Tensor
    """[rows]"""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(rows, width, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(rows))
        self.mean = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [...] int64 to vectors [..., width], or vectors [..., width] to products [..., rows]."""
        if x.is_floating_point():
            return product(x, self.weight, self.scale) + (x @ self.mean)[..., None]
        return self.weight[x] * self.scale[x][..., None].to(self.mean.dtype) + self.mean

    @torch.no_grad()
    def fill(self, matrix: Tensor) -> None:
        """With the values [rows, width] nearest to these."""
        mean = matrix.mean(0)
        weight, scale = quantised(matrix - mean)
        self.weight.copy_(weight)
        self.scale.copy_(scale)
        self.mean.copy_(mean)


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[outs, ins] int8, and the scale [outs] of each row."""
    scale = matrix.float().abs().amax(1).clamp_min(1e-30) / LARGEST
    scale = (scale * (1 + 2**-8)).bfloat16().float()  # up to a value that bfloat16 has
    return (matrix.float() / scale[:, None]).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale


def product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x [..., ins] times the matrix's transpose, [..., outs]."""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > FEW or x.device.type != "cpu" or weight.shape[1] % STRIDE:
        return F.linear(x, weight.to(x.dtype) * scale.to(x.dtype)[:, None])
    out = torch.ops.aten._weight_int8pack_mm(rows.bfloat16(), weight, scale.bfloat16())
    shaped: Tensor = out.to(x.dtype).view(*x.shape[:-1], -1)
    return shaped


@torch.no_grad()
def convert(model: GPT) -> GPT:
    """The same network with matrices of 8 bits. Raises UsageError for one that has them already."""
    if model.config.weights == "int8":
        raise UsageError("the weights are int8 already; give those that they were made of")
    made = type(model)(model.config.model_copy(update={"weights": "int8"}), model.data)
    made.to(model.wpe.weight.device)
    into = made.state_dict()
    for name, value in model.state_dict().items():
        if name in into and into[name].is_floating_point():
            into[name].copy_(value)
    for name, module in made.named_modules():
        if isinstance(module, Int8Linear):
            source = model.get_submodule(name)
            assert isinstance(source, nn.Linear)
            module.fill(source.weight, source.bias)
        elif isinstance(module, Int8Embedding):
            source = model.get_submodule(name)
            assert isinstance(source, nn.Embedding)
            module.fill(source.weight)
    return made.train(model.training)
