"""The matrix products of decoding, by the fastest kernels that are there for few rows."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from aigc_text.gpt import GPT

PACKED_FOR: Final = 32
"""Rows that weights are laid out for by oneDNN; that layout is good for fewer rows as well."""
FUSED: Final = {
    "gelu_tanh": ("gelu", "tanh"),
    "gelu": ("gelu", "none"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
}
"""Activations that oneDNN computes within the product: the names of the config to its own."""


class Matrix:
    """Rows x [n, ins] to x W^T + b [n, outs], with what comes after it where a kernel can do that as well.

    On CPUs the weights are kept a second time, as oneDNN lays them out: 2.2 times as fast as in rows for 32 texts,
    and for one text too, where they do not fit into the cache: there it is the memory's speed.
    """

    def __init__(self, module: nn.Module, activation: str | None = None) -> None:
        from aigc_text.gpt import ACTIVATIONS

        self.module = module
        self.activation = ACTIVATIONS[activation] if activation else None
        self.after = FUSED[activation] if activation else ("none", "")
        self.packed: Tensor | None = None
        weight = module.weight
        if isinstance(module, nn.Linear | nn.Embedding) and packs(module.weight):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), PACKED_FOR)
        self.weight = weight if isinstance(weight, Tensor) else None
        bias = getattr(module, "bias", None)
        self.bias = bias if isinstance(bias, Tensor) else None
        self.plain = isinstance(module, nn.Linear | nn.Embedding)

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed is not None:
            name, how = self.after
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, name, [], how)
            return out
        out = (
            F.linear(x, self.weight, self.bias) if self.plain and self.weight is not None else self.module(x)
        )
        return out if self.activation is None else self.activation(out)

    def onto(self, x: Tensor, residual: Tensor) -> Tensor:
        """residual [n, outs] + (x W^T + b)"""
        if self.packed is not None:
            out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                x, residual, self.packed, self.bias, "add"
            )
            return out
        return residual + self(x)


def packs(weight: Tensor) -> bool:
    """Whether oneDNN has a layout of its own for such weights here."""
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    half = weight.dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return half or weight.dtype == torch.float32


class Norm:
    """A layer norm of x [n, width], by the function: a module's call costs as much as the norm of a row."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.given = tuple(norm.normalized_shape), norm.weight, norm.bias, norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, *self.given)


class Layer:
    """What one block of a GPT computes with."""

    def __init__(self, block: Any, activation: str) -> None:
        self.ln_1, self.ln_2 = Norm(block.ln_1), Norm(block.ln_2)
        self.qkv, self.proj = Matrix(block.attn.qkv), Matrix(block.attn.proj)
        self.up, self.down = Matrix(block.mlp.up, activation), Matrix(block.mlp.down)
        self.scale = block.attn.scale


class Kernels:
    """All of a GPT's products. Kept with the network, and made again where its weights have changed."""

    def __init__(self, model: GPT, state: tuple[Any, ...]) -> None:
        self.state = state
        self.layers = [Layer(block, model.config.activation) for block in model.blocks]
        self.head = Matrix(model.wte if model.config.tied else model.head)
        self.ln_f = Norm(model.ln_f)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """None: a copy of the network has weights of its own."""


def kernels(model: GPT) -> Kernels:
    """Those of a network as it is now."""
    tensors = chain(model.parameters(), model.buffers())
    state = tuple((t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype) for t in tensors)
    found = model.__dict__.get("_kernels")
    if isinstance(found, Kernels) and found.state == state:
        return found
    made = Kernels(model, state)
    model.__dict__["_kernels"] = made  # no module, no tensor: nothing that is saved
    return made
