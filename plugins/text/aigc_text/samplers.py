"""Samplers that write token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_text import filters
from aigc_text.decoding import Decoder
from aigc_text.keywords import Plan
from aigc_text.language import LanguageModel
from aigc_text.options import GreedyOptions, SampleOptions, TextOptions
from aigc_text.writing import Stops, Text, echo, open_texts

O = TypeVar("O", bound=GreedyOptions)  # noqa: E741

AHEAD: Final = 64
"""Random values that are drawn at once, for so many tokens."""


def padded(texts: Mapping[int, bytes], block: Block) -> Tensor:
    """[block.size, longest] uint8, 0 where a text has ended, and in rows that nobody asked for."""
    out = torch.zeros(block.size, max(map(len, texts.values()), default=0), dtype=torch.uint8)
    for row, text in texts.items():
        if text:
            out[row, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return out.to(block.device)


class Greedy(Sampler[LanguageModel, O]):
    """The likeliest token each time."""

    def sample(self, generator: LanguageModel, block: Block) -> Tensor:
        """[block.size, L] the bytes of UTF-8, 0 after the end of a text: a 0 byte ends one."""
        texts = {row: bytearray() for row in block.rows}
        for row, piece in self.stream(generator, block):
            texts[row] += piece
        return padded({row: bytes(text) for row, text in texts.items()}, block)

    def stream(self, generator: LanguageModel, block: Block) -> Iterator[tuple[int, bytes]]:
        """Pieces as they come; those of a row, put together, are its text. Raises UsageError, DataError."""
        texts = open_texts(generator, block, self.options)
        plan = Plan(generator, self.options, texts) if self.options.keywords else None
        for row in texts:
            if start := echo(block, row, self.options):
                yield row, start
        yield from self._write(generator, block, texts, plan)
        if plan:  # what they cost: the same texts, without them
            plain = open_texts(generator, block, self.options)
            fresh = replace(block, notes=None)
            for _ in self._write(generator, fresh, plain, None):
                pass
            for row, text in texts.items():
                text.facts["keywords"] = plan.cost(text, plain[row], row)
        for row, text in texts.items():
            text.note(block, row)

    def _write(
        self, model: LanguageModel, block: Block, texts: Mapping[int, Text], plan: Plan | None
    ) -> Iterator[tuple[int, bytes]]:
        options, tokenizer = self.options, model.tokenizer
        longest = max(len(text.tokens) for text in texts.values()) + options.max_tokens
        decoder = Decoder(model, block.size, min(longest, model.context or longest))
        logits = decoder.start({row: text.tokens for row, text in texts.items()})
        choice = Choice(model, options, block, texts)
        uniform, step = self.uniform(block), 0
        while decoder.rows:
            rows = decoder.rows
            if uniform is not None and step and step % AHEAD == 0:
                uniform = self.uniform(block)
            values = None if uniform is None else uniform[rows, step % AHEAD]
            step += 1
            ended, tokens = [], {}
            for row, token, log_probability in choice.tokens(logits, rows, values, self.pick, plan):
                text = texts[row]
                if token is None or token == tokenizer.end:
                    piece = text.end("end" if token is not None else "filters")
                else:
                    tokens[row] = token
                    piece = text.add(token, tokenizer.token_bytes(token), log_probability)
                    if not text.stopped and text.generated == options.max_tokens:
                        piece += text.end("length")
                    elif not text.stopped and decoder.length[row] == model.context and not options.window:
                        piece += text.end("context")
                if text.stopped:
                    ended.append(row)
                if piece:
                    yield row, piece
            decoder.leave(ended)
            if decoder.rows:
                logits = self._next(decoder, texts, tokens, model.context)

    def _next(
        self, decoder: Decoder, texts: Mapping[int, Text], tokens: dict[int, int], context: int | None
    ) -> Tensor:
        """The logits after the next tokens; rows that fill the context go on from its last half."""
        full = [row for row in decoder.rows if decoder.length[row] == context]
        if not full:
            return decoder.step(tokens)
        assert context is not None
        rest = [row for row in decoder.rows if row not in full]
        found = {}
        if rest:
            stepped = decoder.step({row: tokens[row] for row in rest})
            found = {row: stepped[i : i + 1] for i, row in enumerate(rest)}
        for row in full:
            found[row] = decoder.again(row, texts[row].tokens[-max(1, context // 2) :])
        return torch.cat([found[row] for row in decoder.rows])

    def uniform(self, block: Block) -> Tensor | None:
        """[block.size, AHEAD] random values from 0 to 1, one a token; None if there is nothing to draw."""
        return None

    def pick(self, logits: Tensor, uniform: Tensor | None, left: dict[str, Tensor]) -> Tensor:
        """[n] tokens of logits [n, V]; notes in `left` how many tokens each filter has left."""
        return logits.argmax(1)


class Sample(Greedy[SampleOptions]):
    """Tokens by their probability, as the filters leave them."""

    def uniform(self, block: Block) -> Tensor:
        values: Tensor = torch.special.ndtr(block.randn(AHEAD).double())  # the normal's CDF
        return values

    def pick(self, logits: Tensor, uniform: Tensor | None, left: dict[str, Tensor]) -> Tensor:
        options = self.options
        logits = filters.temperature(logits.double(), options.temperature)
        if options.top_k:
            logits = left["top_k"] = filters.top_k(logits, options.top_k)
        if options.top_p < 1:
            logits = left["top_p"] = filters.top_p(logits, options.top_p)
        if options.min_p > 0:
            logits = left["min_p"] = filters.min_p(logits, options.min_p)
        if options.typical < 1:
            logits = left["typical"] = filters.typical(logits, options.typical)
        assert uniform is not None
        return filters.draw(logits, uniform)


class Choice:
    """The next tokens of rows: what may be chosen, what is, and what can be said about it."""

    def __init__(
        self, model: LanguageModel, options: GreedyOptions, block: Block, texts: Mapping[int, Text]
    ) -> None:
        self.model, self.options, self.texts = model, options, texts
        self.seen: Tensor | None = None
        if options.repetition_penalty != 1:
            self.seen = torch.zeros(block.size, model.tokenizer.size, dtype=torch.bool, device=block.device)
            for row, text in texts.items():
                self.seen[row, torch.tensor(text.tokens)] = True
        self.stops = stops_of(model, options)

    def tokens(
        self, logits: Tensor, rows: list[int], uniform: Tensor | None, pick: Any, plan: Plan | None
    ) -> list[tuple[int, int | None, float]]:
        """A row, its token (None: the filters left none), and the logarithm of its probability, for each row."""
        raw = logits.float()
        left: dict[str, Tensor] = {}
        allowed = self._allowed(raw, rows, left, plan)
        chosen = pick(allowed, uniform, left)
        none = (allowed.amax(1) == -torch.inf).tolist() if left else [False] * len(rows)
        logs = raw.log_softmax(1)
        if plan:
            chosen = plan.overrule(chosen, logs, rows, none)
            none = [empty and not plan.forced(row) for empty, row in zip(none, rows, strict=True)]
        if self.seen is not None:
            self.seen[rows, chosen] = True
        if self.options.explain:
            self._explain(raw, chosen, rows, left)
        gained = logs.gather(1, chosen[:, None])[:, 0].tolist()
        return [
            (row, None if empty else token, log)
            for row, token, log, empty in zip(rows, chosen.tolist(), gained, none, strict=True)
        ]

    def _allowed(self, logits: Tensor, rows: list[int], left: dict[str, Tensor], plan: Plan | None) -> Tensor:
        options, texts = self.options, [self.texts[row] for row in rows]
        if self.seen is not None:
            logits = filters.repetition(logits, self.seen[rows], options.repetition_penalty)
        if options.no_repeat_ngram:
            banned = [filters.repeating(text.tokens, options.no_repeat_ngram) for text in texts]
            logits = left["no_repeat_ngram"] = filters.forbid(logits, banned)
        early = [
            t.generated < options.min_tokens or (plan is not None and plan.missing(r))
            for r, t in zip(rows, texts, strict=True)
        ]
        if any(early):
            logits = left["min_tokens"] = filters.forbid(
                logits, [self._ends(t) if e else [] for t, e in zip(texts, early, strict=True)]
            )
        return logits

    def _ends(self, text: Text) -> list[int]:
        """Tokens with which a text would end."""
        return [self.model.tokenizer.end, *(self.stops.completing(text.written) if self.stops else ())]

    def _explain(self, logits: Tensor, chosen: Tensor, rows: list[int], left: dict[str, Tensor]) -> None:
        logs = logits.log_softmax(1).gather(1, chosen[:, None])
        ranks = (logits > logits.gather(1, chosen[:, None])).sum(1) + 1
        entropies = filters.entropy(logits)
        counts = {name: filters.left(those).tolist() for name, those in left.items()}
        for i, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            self.texts[row].explained.append({
                "text": self.model.tokenizer.token_bytes(token).decode("utf-8", "replace"), "token": token,
                "probability": float(logs[i].exp()), "rank": int(ranks[i]), "entropy": float(entropies[i]),
                "left": {name: count[i] for name, count in counts.items()},
            })  # fmt: skip


def stops_of(model: LanguageModel, options: TextOptions) -> Stops | None:
    """For texts that must not end before a length or a keyword."""
    must = options.min_tokens or (isinstance(options, GreedyOptions) and options.keywords)
    return Stops(model, [stop.encode() for stop in options.stop]) if must else None
