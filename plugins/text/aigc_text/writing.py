"""A text as it is written: its bytes, where it stops, and what can be said of it already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Block
from aigc_text.language import LanguageModel
from aigc_text.options import TextOptions


class Text:
    """One row: its tokens, and its bytes, of which those that may become a stop string are held back."""

    def __init__(self, prompt: Sequence[int], stops: Sequence[bytes]) -> None:
        self.tokens = list(prompt)
        """All of them, the prompt's too."""
        self.prompt = len(prompt)
        self.stops = stops
        self.written = bytearray()
        """What was generated, that which is held back too."""
        self.shown = 0
        self.log_probability = 0.0
        self.stopped = ""
        """Why it ended: `end` (the model said so), `stop` (a stop string), `length` (as many tokens as were asked
        for), `context` (the model can look back no further), `filters` (they left nothing); empty while it goes on."""
        self.facts: dict[str, Any] = {}
        self.explained: list[dict[str, Any]] = []
        self.searched = 0
        """Bytes before which no stop string counts."""

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt

    def add(self, token: int, piece: bytes, log_probability: float) -> bytes:
        """Goes on with a token; returns the bytes that are certain now."""
        self.tokens.append(token)
        self.log_probability += log_probability
        self.written += piece
        if (zero := self.written.find(0)) >= 0:  # it ends a text, as it is returned
            return self._end("end", zero)
        found = [self.written.find(stop, self.searched) for stop in self.stops]
        if where := [place for place in found if place >= 0]:
            return self._end("stop", min(where))
        return self._show(len(self.written) - self._held())

    def end(self, why: str) -> bytes:
        """Ends here; returns what was held back."""
        return self._end(why, len(self.written))

    def note(self, block: Block, row: int) -> None:
        """What is kept with the sample."""
        facts: dict[str, Any] = {"tokens": self.generated, "stopped": self.stopped, **self.facts}
        if self.generated:
            facts["log_probability"] = self.log_probability / self.generated
            facts["perplexity"] = self.perplexity
        if self.explained:
            facts["explain"] = self.explained
        block.note(row, **facts)

    @property
    def perplexity(self) -> float:
        """Of what was generated, under the model as it is, without filters."""
        return math.exp(-self.log_probability / max(1, self.generated))

    def _end(self, why: str, at: int) -> bytes:
        del self.written[at:]
        self.stopped = why
        return self._show(len(self.written))

    def _show(self, upto: int) -> bytes:
        piece = bytes(self.written[self.shown : upto])
        self.shown = max(self.shown, upto)
        return piece

    def _held(self) -> int:
        """Bytes at the end with which a stop string begins."""
        most = max((len(stop) for stop in self.stops), default=1) - 1
        tail = bytes(self.written[max(self.searched, len(self.written) - most) :]) if most else b""
        starts = (tail[i:] for i in range(len(tail)))
        return next((len(part) for part in starts if any(stop.startswith(part) for stop in self.stops)), 0)


class Stops:
    """Which tokens would complete a stop string, for texts that must not end yet."""

    def __init__(self, model: LanguageModel, stops: Sequence[bytes]) -> None:
        table = [model.tokenizer.token_bytes(token) for token in range(model.tokenizer.size)]
        self.whole = [t for t, piece in enumerate(table) if b"\0" in piece or any(s in piece for s in stops)]
        self.ends = {
            stop[:cut]: [t for t, piece in enumerate(table) if piece.startswith(stop[cut:])]
            for stop in stops
            for cut in range(1, len(stop))
        }

    def completing(self, written: bytearray) -> list[int]:
        """The tokens after which these bytes would end with a stop string, or hold one, or a 0."""
        return self.whole + [
            t for begun, tokens in self.ends.items() if written.endswith(begun) for t in tokens
        ]


def open_texts(model: LanguageModel, block: Block, options: TextOptions) -> dict[int, Text]:
    """The texts of the rows that are asked for, which have their prompts so far.

    Raises UsageError for a prompt that is longer than the context and not to be cut, or has a character without a token.
    """
    stops = [stop.encode() for stop in options.stop]
    return {row: Text(tokens_of(model, block, row, options), stops) for row in block.rows}


def tokens_of(model: LanguageModel, block: Block, row: int, options: TextOptions) -> list[int]:
    prompt = block.prompts[row] if block.prompts else ""
    if "\0" in prompt:
        raise UsageError(f"prompt {prompt[:20]!r} holds a 0 character, which ends a text; leave it out")
    # Without a prompt, what comes after the end of another document.
    try:
        tokens: list[int] = model.tokenizer.encode(prompt).tolist() or [model.tokenizer.end]
    except DataError as error:
        raise UsageError(f"prompt {prompt[:20]!r}: {error}") from None
    if model.context is not None and len(tokens) > model.context:
        if not options.truncate:
            raise UsageError(
                f"a prompt of {len(tokens)} tokens is longer than the model's context of {model.context}; shorten it, "
                "or cut it from its left with truncate=true"
            )
        tokens = tokens[-model.context :]
    return tokens


def echo(block: Block, row: int, options: TextOptions) -> bytes:
    """What a row's text begins with."""
    return block.prompts[row].encode() if block.prompts and options.echo else b""
