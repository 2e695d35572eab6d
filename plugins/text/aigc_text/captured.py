"""The next token of all texts as one graph of kernels, for GPUs: there a step's time is that of launching its kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from aigc_text.cache import Memory
    from aigc_text.gpt import GPT


def static_step(model: GPT, tokens: Tensor, lengths: Tensor, places: Tensor, memory: Memory) -> Tensor:
    """The next token [n] of the texts at `places` [n] of a memory, which have read `lengths` [n]: logits [n, V].

    No shape depends on how much was read: keys and values are looked at over all the room, what lies beyond a text's
    length masked. So a text's numbers do not depend on how long another is, and the same kernels serve each token.
    """
    count = len(tokens)
    x = model.embed(tokens, lengths)
    room = torch.arange(memory.room, device=tokens.device)
    seen = (room <= lengths[:, None])[:, None, None]
    for layer, kept in zip(memory.kernels.layers, memory.layers, strict=True):
        qkv = layer.qkv(layer.ln_1(x)).view(count, 3, memory.heads, memory.width)
        kept.index_put_((places, lengths), qkv[:, 1:])
        keys, values = kept[places].permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(qkv[:, 0, :, None], keys, values, seen, scale=layer.scale)
        x = layer.proj.onto(mixed.reshape(count, -1), x)
        x = layer.down.onto(layer.up(layer.ln_2(x)), x)
    return memory.kernels.head(memory.kernels.ln_f(x))[:, : model.tokenizer.size]


class Captured:
    """Steps of a number of texts, captured once and replayed: for a memory whose room stays as it is."""

    def __init__(self, model: GPT, memory: Memory, count: int) -> None:
        device = memory.layers[0].device
        self.tokens, self.lengths, self.places = (
            torch.zeros(count, dtype=torch.long, device=device) for _ in range(3)
        )
        kept = [layer.clone() for layer in memory.layers]  # which the warm-up writes into
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                static_step(model, self.tokens, self.lengths, self.places, memory)
        torch.cuda.current_stream(device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = static_step(model, self.tokens, self.lengths, self.places, memory)
        for layer, before in zip(memory.layers, kept, strict=True):
            layer.copy_(before)

    def __call__(self, tokens: Tensor, lengths: list[int], places: list[int]) -> Tensor:
        """Logits [n, V], a copy."""
        self.tokens.copy_(tokens)
        self.lengths.copy_(torch.tensor(lengths))
        self.places.copy_(torch.tensor(places))
        self.graph.replay()
        return self.logits.clone()
