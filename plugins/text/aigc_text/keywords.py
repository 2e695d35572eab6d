"""Texts that hold given keywords, whatever the model thinks of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor

from aigc_core.errors import UsageError
from aigc_text.language import LanguageModel
from aigc_text.options import GreedyOptions
from aigc_text.writing import Text

EASY: Final = math.log(0.5)
"""How much less likely than the likeliest token the first one of a keyword may be at the start of a text."""
HARD: Final = math.log(1e-3)
"""Likewise, just before no room is left but for the keywords."""


@dataclass
class Row:
    """What a text has still to get."""

    missing: list[str]
    queue: list[int] = field(default_factory=list)
    """Tokens of a keyword that was begun."""
    tokens: int = 0
    """Tokens that were forced."""


class Plan:
    """Decides where keywords go (lexically constrained decoding, in the spirit of Hokamp and Liu 2017,
    arXiv:1704.07138, with one text instead of beams).

    A keyword is begun where its first token is nearly as likely as the likeliest one; how nearly, is given up bit by
    bit as the room for it runs out, and at the last moment it is begun anywhere. Its tokens then follow each other, so
    that its bytes are in the text as they are. Until all keywords are there, the text can't end, and what is
    a stop string is none.
    """

    def __init__(self, model: LanguageModel, options: GreedyOptions, texts: Mapping[int, Text]) -> None:
        """Raises UsageError for keywords that can't fit, DataError for a character that has no token."""
        self.texts = texts
        self.ways = {word: ways(model, word) for word in options.keywords}
        self.rows = {row: Row(list(options.keywords)) for row in texts}
        self.limits: dict[int, int] = {}
        self.now: set[int] = set()
        for word in options.keywords:
            if stop := next((stop for stop in options.stop if stop in word), None):
                raise UsageError(
                    f"keyword {word!r} holds the stop string {stop!r}: it would end there; drop one"
                )
        for row, text in texts.items():
            self._room(model, options, row, text)
            self._look(row)

    def _room(self, model: LanguageModel, options: GreedyOptions, row: int, text: Text) -> None:
        self.limits[row], reason = options.max_tokens, f"max_tokens={options.max_tokens}"
        if model.context is not None and not options.window:
            room = model.context - text.prompt + 1
            if room < self.limits[row]:
                self.limits[row], reason = (
                    room,
                    f"the {room} tokens that the model's context has after the prompt",
                )
        need = self._need(options.keywords)
        if need > self.limits[row]:
            raise UsageError(
                f"keywords of {need} tokens in all do not fit into {reason}; give fewer or shorter ones, or more room"
            )

    def missing(self, row: int) -> bool:
        """Whether a text lacks a keyword."""
        self._look(row)
        return bool(self.rows[row].missing)

    def forced(self, row: int) -> bool:
        """Whether its last token was the plan's."""
        return row in self.now

    def overrule(self, chosen: Tensor, logs: Tensor, rows: Sequence[int], empty: Sequence[bool]) -> Tensor:
        """The tokens [n] that rows get instead of those chosen, by their log-probabilities [n, V]; empty: where
        nothing could be chosen."""
        chosen = chosen.clone()
        self.now = set()
        for i, row in enumerate(rows):
            token = self._token(row, logs[i], empty[i])
            if token is not None:
                chosen[i] = token
                self.now.add(row)
                self.rows[row].tokens += 1
        return chosen

    def cost(self, text: Text, plain: Text, row: int) -> dict[str, Any]:
        """What the keywords cost: perplexity with them, and of the same sample without, by the same random values."""
        return {
            "perplexity": text.perplexity,
            "perplexity_without": plain.perplexity if plain.generated else None,  # it may have ended at once
            "ratio": text.perplexity / plain.perplexity if plain.generated else None,
            "forced_tokens": self.rows[row].tokens,
        }

    def _look(self, row: int) -> None:
        """Takes note of keywords that are there."""
        state, text = self.rows[row], self.texts[row]
        if not state.missing:
            return
        state.missing = [word for word in state.missing if word.encode() not in text.written]
        # No stop string before the last keyword ends the text.
        text.searched = 1 << 62 if state.missing else len(text.written)

    def _token(self, row: int, logs: Tensor, empty: bool) -> int | None:
        state, text = self.rows[row], self.texts[row]
        if not state.queue:
            self._look(row)
            if state.missing:
                state.queue = self._begin(state, text, self.limits[row] - text.generated, logs, empty)
        return state.queue.pop(0) if state.queue else None

    def _begin(self, state: Row, text: Text, remaining: int, logs: Tensor, empty: bool) -> list[int]:
        """The tokens of the keyword to write now, or none."""
        slack = remaining - self._need(state.missing)
        fitting = [
            way
            for word in state.missing
            for way in self.ways[word]
            if len(way) - len(self.ways[word][0]) <= slack
        ]
        gains = logs[[way[0] for way in fitting]] - logs.max()
        best = int(gains.argmax())
        if empty or slack <= 0:
            return list(fitting[best])
        spent = text.generated / (text.generated + slack)
        least = EASY + (HARD - EASY) * spent**2
        return list(fitting[best]) if float(gains[best]) >= least and whole(text.written) else []

    def _need(self, words: Sequence[str]) -> int:
        """Tokens that these take at least."""
        return sum(len(self.ways[word][0]) for word in words)


def ways(model: LanguageModel, word: str) -> list[list[int]]:
    """The tokens of a keyword, the fewest first: as it is, and for byte pairs as a word of its own."""
    texts = [word, f" {word}"] if model.tokenizer.name == "bpe" else [word]
    return sorted((model.tokenizer.encode(text).tolist() for text in texts), key=len)


def whole(written: bytearray) -> bool:
    """Whether bytes end with a whole character."""
    try:
        bytes(written[-4:]).decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True
