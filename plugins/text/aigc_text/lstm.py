"""A language model of LSTM layers (Hochreiter and Schmidhuber 1997), as in Karpathy's char-rnn, the head tied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aigc_core.specs import DataInfo
from aigc_text.config import LSTMConfig
from aigc_text.language import Drop, LanguageModel, TokenEmbedding, keep


@dataclass
class State:
    """Where the layers stand after what they have read."""

    hidden: Tensor
    """[layers, rows, width]"""
    cell: Tensor
    """[layers, rows, width]"""

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """What the texts `source` have read is what the texts `target` have read, from now on."""
        for state in (self.hidden, self.cell):
            state[:, list(target)] = state[:, list(source)]

    def clear(self, rows: Sequence[int]) -> None:
        """These texts have read nothing, from now on."""
        for state in (self.hidden, self.cell):
            state[:, list(rows)] = 0


class LSTM(LanguageModel):
    """Token vectors, layers, and the head."""

    config: LSTMConfig

    def __init__(self, config: LSTMConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        width, size = config.width, self.tokenizer.size
        self.embedding = TokenEmbedding(size, width)
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(config.layers))
        self.head = nn.Linear(width, size, bias=False) if not config.tied else None
        self.bias = nn.Parameter(torch.zeros(size))
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    @property
    def context(self) -> int | None:
        return None

    def forward(self, tokens: Tensor, drop: Drop | None = None) -> Tensor:
        drop = drop or keep
        x = drop(self.embedding(tokens))
        for layer in self.layers:
            x = drop(layer(x)[0])
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """[..., width] after the last layer to [..., V]."""
        head = self.embedding if self.head is None else self.head
        logits: Tensor = head(x) + self.bias
        return logits

    def stacks(self) -> Mapping[str, int]:
        """Each layer's matrices hold those of its four gates."""
        named = self.layers.named_parameters(prefix="layers")
        return {name: 4 for name, parameter in named if parameter.ndim == 2}

    def memory(self, rows: int, room: int) -> State:
        shape = (self.config.layers, rows, self.config.width)
        return State(self.bias.new_zeros(shape), self.bias.new_zeros(shape))

    def advance(self, tokens: Tensor, memory: State, rows: Tensor | None = None) -> Tensor:
        """Texts of one length are read together."""
        which = torch.arange(len(tokens), device=tokens.device) if rows is None else rows
        padding = (tokens < 0).sum(1).tolist() if tokens.shape[1] > 1 else [0] * len(tokens)
        logits = self.bias.new_empty(len(tokens), self.tokenizer.size)
        for skipped in sorted(set(padding)):
            chosen = [number for number, pads in enumerate(padding) if pads == skipped]
            alike = slice(None) if len(chosen) == len(tokens) else torch.tensor(chosen, device=tokens.device)
            logits[alike] = self._advance(tokens[alike, skipped:], memory, which[alike])
        return logits

    def _advance(self, tokens: Tensor, memory: State, rows: Tensor) -> Tensor:
        x, hidden, cell = self.embedding(tokens), memory.hidden[:, rows], memory.cell[:, rows]
        for number, layer in enumerate(self.layers):
            x, (h, c) = layer(x, (hidden[number : number + 1], cell[number : number + 1]))
            hidden[number], cell[number] = h[0], c[0]
        memory.hidden[:, rows], memory.cell[:, rows] = hidden, cell
        return self.logits(x[:, -1])
