"""What all language models share: their tokens, what they emit, how they are read token by token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.errors import UsageError
from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output
from aigc_text.config import LanguageConfig
from aigc_text.int8 import Int8Embedding, Int8Linear
from aigc_text.vocabulary import TextTokenizer

Drop = Callable[[Tensor], Tensor]
"""Dropout of values [N, ...], as the trainer has it made."""


def keep(x: Tensor) -> Tensor:
    """No dropout."""
    return x


class TokenEmbedding(nn.Embedding):
    """The vectors of tokens [N, T] int64; and of vectors [..., width] their products with each: the tied head."""

    def forward(self, x: Tensor) -> Tensor:
        # Both by a call of this module: a model that is shared out over processes has a weight within that alone.
        return F.linear(x, self.weight) if x.is_floating_point() else super().forward(x)


class LanguageModel(Generator[Any]):
    """p(next token | tokens before), over the tokens of its tokenizer."""

    config: LanguageConfig

    def __init__(self, config: LanguageConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.tokenizer = TextTokenizer.load(data.assets)

    @property
    def output(self) -> Output:
        return Output("text", (-1,), 0, 255)

    @property
    def context(self) -> int | None:
        """The tokens that it can look back on at most, the one that it predicts from among them; None: no limit."""
        return self.config.context

    @abstractmethod
    def forward(self, tokens: Tensor, drop: Drop | None = None) -> Tensor:
        """Tokens [N, T] int64 to logits [N, T, V] of the token after each; V is `tokenizer.size`."""

    @abstractmethod
    def stacks(self) -> Mapping[str, int]:
        """The matrices within its layers, by parameter: how many are stacked in each, one below the other."""

    @abstractmethod
    def memory(self, rows: int, room: int) -> Any:
        """Empty room for `room` tokens of each of `rows` texts that are read by `advance`."""

    @abstractmethod
    def advance(self, tokens: Tensor, memory: Any, rows: Tensor | None = None) -> Tensor:
        """Reads the next tokens [n, T] of the texts `rows` [n] of a memory, None for all of them; logits [n, V] of
        the token after the last. What a text is shorter by is -1 on its left, the first time that it is read."""

    def check_length(self, length: int) -> None:
        """Raises UsageError if so many tokens are more than it can look back on."""
        if self.context is not None and length > self.context:
            raise UsageError(
                f"{length} tokens are more than the model's context of {self.context}; give it fewer, "
                "or train one with a larger context"
            )


def linear(config: LanguageConfig, ins: int, outs: int, bias: bool = True) -> nn.Module:
    """A matrix [outs, ins] of a model, in the form that its config asks for."""
    return Int8Linear(ins, outs, bias) if is_int8(config) else nn.Linear(ins, outs, bias)


def embedding(config: LanguageConfig, rows: int, width: int) -> TokenEmbedding | Int8Embedding:
    """The vectors [rows, width] of a model's tokens, in the form that its config asks for."""
    return Int8Embedding(rows, width) if is_int8(config) else TokenEmbedding(rows, width)


def is_int8(config: LanguageConfig) -> bool:
    return getattr(config, "weights", "float32") == "int8"
