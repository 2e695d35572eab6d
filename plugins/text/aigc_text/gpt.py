"""GPT-2 (Radford et al. 2019), exactly: pre-norm blocks, learned positions, tanh GELU, tied head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.errors import DataError
from aigc_core.specs import DataInfo
from aigc_text.config import GPTConfig
from aigc_text.language import Drop, LanguageModel, embedding, keep, linear

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}
"""By the names of the config."""


class Attention(nn.Module):
    """Causal self-attention: queries, keys and values by one matrix."""

    def __init__(self, config: GPTConfig, number: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.scale = (config.width // config.heads) ** -0.5 if config.scale_attention else 1.0
        if config.scale_by_layer:
            self.scale /= number + 1
        self.qkv = linear(config, config.width, 3 * config.width, config.bias)
        self.proj = linear(config, config.width, config.width, config.bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, T, width] to queries, keys and values, each [N, heads, T, width / heads]."""
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return q, k, v

    def join(self, mixed: Tensor) -> Tensor:
        """What the heads have read [N, heads, T, width / heads], to [N, T, width]."""
        joined: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return joined

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.join(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale))


class MLP(nn.Module):
    """Two matrices and the activation between."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        inner = config.inner or 4 * config.width
        self.up = linear(config, config.width, inner, config.bias)
        self.down = linear(config, inner, config.width, config.bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.activation(self.up(x)))
        return out


class Block(nn.Module):
    """x + attention(norm(x)), and x + MLP(norm(x)) of that."""

    def __init__(self, config: GPTConfig, number: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, config.epsilon, bias=config.bias)
        self.attn = Attention(config, number)
        self.ln_2 = nn.LayerNorm(config.width, config.epsilon, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, drop: Drop = keep) -> Tensor:
        x = x + drop(self.attn(self.ln_1(x)))
        return x + drop(self.mlp(self.ln_2(x)))


class GPT(LanguageModel):
    """Token and position vectors, blocks, a norm, and the head."""

    config: GPTConfig

    def __init__(self, config: GPTConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        rows = config.rows or self.tokenizer.size
        if rows < self.tokenizer.size:
            raise DataError(
                f"rows={rows} are fewer than the {self.tokenizer.size} tokens of the tokenizer; leave rows out"
            )
        self.wte = embedding(config, rows, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config, number) for number in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width, config.epsilon, bias=config.bias)
        if not config.tied:
            self.head = linear(config, config.width, rows, bias=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        """Normal with 0.02; what is added to the residual stream less, by the root of how often (section 2.3)."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, Block):  # after its children
            for matrix in (module.attn.proj, module.mlp.down):
                if isinstance(matrix, nn.Linear):
                    nn.init.normal_(matrix.weight, std=0.02 / math.sqrt(2 * self.config.layers))

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens and positions, of shapes that broadcast to [N, T], to [N, T, width]."""
        embedded: Tensor = self.wte(tokens) + self.wpe(positions)
        return embedded

    def logits(self, x: Tensor) -> Tensor:
        """[..., width] after the last block to [..., V]."""
        head = self.wte if self.config.tied else self.head
        logits: Tensor = head(self.ln_f(x))
        return logits[..., : self.tokenizer.size]

    def forward(self, tokens: Tensor, drop: Drop | None = None) -> Tensor:
        self.check_length(tokens.shape[1])
        drop = drop or keep
        x = drop(self.embed(tokens, torch.arange(tokens.shape[1], device=tokens.device)))
        for block in self.blocks:
            x = block(x, drop)
        return self.logits(x)

    def stacks(self) -> Mapping[str, int]:
        return {
            name: 3 if name.endswith("qkv.weight") else 1
            for name, parameter in self.named_parameters()
            if name.startswith("blocks.") and parameter.ndim == 2
        }

    def as_int8(self) -> GPT:
        from aigc_text.int8 import convert

        return convert(self)

    def memory(self, rows: int, room: int) -> Any:
        from aigc_text import cache

        return cache.memory(self, rows, room)

    def advance(self, tokens: Tensor, memory: Any, rows: Tensor | None = None) -> Tensor:
        from aigc_text import cache

        return cache.advance(self, tokens, memory, rows)
