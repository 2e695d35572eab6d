"""What a GPT keeps of the tokens that it has read: keys and values, written in place, read as live slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_text.kernels import Layer, kernels

if TYPE_CHECKING:
    from aigc_text.gpt import GPT

GROWTH = 1.5
"""By how much the room of a memory grows when it is full."""


class Memory:
    """Keys and values of a number of texts, each of its own length.

    A layer's are one tensor [rows, room, 2, heads, width of a head], so that the keys and values of a token are one
    copy of what its product with the matrix of queries, keys and values gave.
    """

    def __init__(self, model: GPT, rows: int, room: int) -> None:
        self.kernels = kernels(model)
        self.lengths = [0] * rows
        self.room = min(room, model.config.context)
        self.heads, self.width = model.config.heads, model.config.width // model.config.heads
        like = model.wpe.weight
        shape = (rows, self.room, 2, self.heads, self.width)
        make = (
            torch.zeros if like.is_cuda else torch.empty
        )  # there what was never written is read, and masked
        self.layers = [make(shape, dtype=like.dtype, device=like.device) for _ in model.blocks]
        self.graphs: dict[int, Any] = {}
        """On a GPU, the captured steps of so many texts."""

    def captured(self, model: GPT, tokens: Tensor, slots: list[int], lengths: list[int]) -> Tensor:
        """A step on a GPU, where the room must stay as it is: kernels are captured once for so many texts."""
        from aigc_text.captured import Captured

        if len(slots) not in self.graphs:
            self.graphs[len(slots)] = Captured(model, self, len(slots))
        logits: Tensor = self.graphs[len(slots)](tokens, lengths, slots)
        for slot, length in zip(slots, lengths, strict=True):
            self.lengths[slot] = length + 1
        return logits

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """What the texts `source` have read is what the texts `target` have read, from now on."""
        lengths = [self.lengths[row] for row in source]
        longest = max(lengths, default=0)
        index = torch.tensor(source, device=self.layers[0].device)
        places = torch.tensor(target, device=index.device)
        for layer in self.layers:
            layer[places, :longest] = layer[index, :longest]
        for row, length in zip(target, lengths, strict=True):
            self.lengths[row] = length

    def clear(self, rows: Sequence[int]) -> None:
        """These texts have read nothing, from now on."""
        for row in rows:
            self.lengths[row] = 0

    def reserve(self, length: int) -> None:
        """Room for texts of so many tokens."""
        if length > self.room:
            self.room = max(length, int(self.room * GROWTH))
            for number, old in enumerate(self.layers):
                layer = old.new_empty(old.shape[0], self.room, *old.shape[2:])
                layer[:, : old.shape[1]] = old
                self.layers[number] = layer
            self.graphs.clear()


def memory(model: GPT, rows: int, room: int) -> Memory:
    """Empty room for `room` tokens of each of `rows` texts."""
    return Memory(model, rows, room)


@torch.inference_mode()
def advance(model: GPT, tokens: Tensor, memory: Memory, rows: Tensor | None = None) -> Tensor:
    """See `LanguageModel.advance`. More than one token of a text are read by themselves, text by text; the next tokens
    of all texts are read together, but attended to by texts of one length, so that no text's numbers depend on how
    long another is. Raises UsageError if a text gets longer than the context."""
    if torch.is_autocast_enabled(tokens.device.type):  # the products below have no casts within
        with torch.autocast(tokens.device.type, enabled=False):
            return advance(model, tokens, memory, rows)
    slots = list(range(len(tokens))) if rows is None else rows.tolist()
    if tokens.shape[1] == 1:
        lengths = [memory.lengths[slot] for slot in slots]
        _reserve(model, memory, max(lengths) + 1)
        if tokens.is_cuda:
            return memory.captured(model, tokens[:, 0], slots, lengths)
        return _step(model, tokens[:, 0], memory, slots, lengths)
    padding = (tokens < 0).sum(1).tolist()
    read = [_read(model, tokens[i, padding[i] :], memory, slot) for i, slot in enumerate(slots)]
    return torch.cat(read)


def _reserve(model: GPT, memory: Memory, length: int) -> None:
    model.check_length(length)
    memory.reserve(length)


def _read(model: GPT, tokens: Tensor, memory: Memory, slot: int) -> Tensor:
    """The next tokens [T] of one text; logits [1, V] of the token after them."""
    start, length = memory.lengths[slot], memory.lengths[slot] + len(tokens)
    _reserve(model, memory, length)
    mask = None
    if start and len(tokens) > 1:
        mask = torch.ones(len(tokens), length, dtype=torch.bool, device=tokens.device).tril(start)
    x = model.embed(tokens, torch.arange(start, length, device=tokens.device))
    for layer, kept in zip(memory.kernels.layers, memory.layers, strict=True):
        qkv = layer.qkv(layer.ln_1(x)).view(len(tokens), 3, memory.heads, memory.width)
        kept[slot, start:length] = qkv[:, 1:]
        keys, values = kept[slot : slot + 1, :length].transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(
            qkv[None, :, 0].transpose(1, 2), keys, values, mask, is_causal=start == 0, scale=layer.scale
        )
        x = _rest(layer, x, mixed.transpose(1, 2).reshape(len(tokens), -1))
    memory.lengths[slot] = length
    return _logits(model, x[-1:], memory)


def _step(model: GPT, tokens: Tensor, memory: Memory, slots: list[int], lengths: list[int]) -> Tensor:
    """The next token of each text: [n] to logits [n, V].

    The kernel of attention gives other bits on another thread. It shares out what it does in the order of the first
    two axes: with the heads first, a head is always on the same thread, however many texts there are, if the threads
    divide the heads; if not, each text is attended to by itself.
    """
    together = memory.heads % torch.get_num_threads() == 0
    groups = (
        list(_groups(slots, lengths)) if together else [(i, 1, s, lengths[i]) for i, s in enumerate(slots)]
    )
    x = model.embed(tokens, torch.tensor(lengths, device=tokens.device))
    mixed = x.new_empty(len(slots), memory.heads, memory.width)
    for layer, kept in zip(memory.kernels.layers, memory.layers, strict=True):
        qkv = layer.qkv(layer.ln_1(x)).view(len(slots), 3, memory.heads, memory.width)
        for first, count, slot, length in groups:
            part = qkv if count == len(slots) else qkv[first : first + count]
            live = kept[slot : slot + count, : length + 1]
            live[:, length] = part[:, 1:]
            keys, values = live.permute(2, 3, 0, 1, 4).unbind(0)
            queries = part[:, 0].transpose(0, 1)[:, :, None]
            read = F.scaled_dot_product_attention(queries, keys, values, scale=layer.scale)[:, :, 0]
            if count == len(slots):
                mixed = read.transpose(0, 1)
            else:
                mixed[first : first + count] = read.transpose(0, 1)
        x = _rest(layer, x, mixed.reshape(len(slots), -1))
    for slot, length in zip(slots, lengths, strict=True):
        memory.lengths[slot] = length + 1
    return _logits(model, x, memory)


def _rest(layer: Layer, x: Tensor, mixed: Tensor) -> Tensor:
    """A block after its attention: x and what the heads have read, both [n, width], to [n, width]."""
    x = layer.proj.onto(mixed, x)
    return layer.down.onto(layer.up(layer.ln_2(x)), x)


def _logits(model: GPT, x: Tensor, memory: Memory) -> Tensor:
    return memory.kernels.head(memory.kernels.ln_f(x))[:, : model.tokenizer.size]


def _groups(slots: list[int], lengths: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Texts that lie beside each other and are of one length: the first, how many, its slot, their length."""
    first = 0
    for i in range(1, len(slots) + 1):
        if i == len(slots) or slots[i] != slots[i - 1] + 1 or lengths[i] != lengths[first]:
            yield first, i - first, slots[first], lengths[first]
            first = i
