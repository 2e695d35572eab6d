"""What sampling can be told. No torch here. What is not said is not done: no filter has a value of its own."""

from __future__ import annotations

import re
from typing import Self

from pydantic import field_validator, model_validator

from aigc_core.options import Field, Options


class TextOptions(Options):
    """What every sampler of texts can be told."""

    max_tokens: int = Field(
        200, ge=1, le=1048576, description="tokens of a text at most, the prompt's not counted"
    )
    min_tokens: int = Field(0, ge=0, le=1048576, description="tokens before which no text ends")
    stop: tuple[str, ...] = Field(
        (), description=r"a text ends before the first of these strings; \n is a line break"
    )
    echo: bool = Field(True, description="the prompt is part of the text")
    truncate: bool = Field(False, description="cut a prompt that is longer than the context, from its left")

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if not all(stop):
            raise ValueError("a stop string is empty")
        return tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in stop)

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens={self.min_tokens} are more than max_tokens={self.max_tokens}")
        return self


class GreedyOptions(TextOptions):
    """What samplers that write token by token can be told."""

    repetition_penalty: float = Field(
        1.0, gt=0, le=100, description="logits of tokens that were there are divided by it"
    )
    no_repeat_ngram: int = Field(0, ge=0, le=1024, description="no sequence of so many tokens twice; 0: any")
    keywords: tuple[str, ...] = Field((), description="texts that are in the output, whatever it costs")
    window: bool = Field(
        True, description="beyond the context, go on from its last half; false: the text ends there"
    )
    explain: bool = Field(
        False, description="note the probability, rank, entropy and what filters left, token by token"
    )

    @field_validator("keywords")
    @classmethod
    def _keywords(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        if not all(keywords) or any("\0" in word for word in keywords):
            raise ValueError("a keyword is empty, or holds a 0 character, which would end the text")
        parts = [part.strip() for word in keywords for part in re.split("[，、]", word)]
        return tuple(dict.fromkeys(part for part in parts if part))


class SampleOptions(GreedyOptions):
    """The filters, in the order in which they are applied after the two of greedy texts."""

    temperature: float = Field(1.0, gt=0, le=100, description="logits are divided by it")
    top_k: int = Field(0, ge=0, le=1048576, description="only the k likeliest tokens; 0: all")
    top_p: float = Field(1.0, gt=0, le=1, description="only the fewest likeliest tokens of this mass; 1: all")
    min_p: float = Field(
        0.0, ge=0, le=1, description="only tokens of this part of the likeliest's probability"
    )
    typical: float = Field(1.0, gt=0, le=1, description="only the most typical tokens of this mass; 1: all")


class BeamOptions(TextOptions):
    """Of beam search."""

    beams: int = Field(4, ge=1, le=256, description="texts that are followed at once")
    length_penalty: float = Field(
        1.0, ge=-10, le=10, description="log-probabilities are divided by length to this power"
    )
