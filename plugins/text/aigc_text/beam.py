"""Beam search: the likeliest text, as far as following a few at once finds it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_text import filters
from aigc_text.decoding import Decoder
from aigc_text.language import LanguageModel
from aigc_text.options import BeamOptions
from aigc_text.samplers import padded, stops_of
from aigc_text.writing import Stops, Text, echo, open_texts

NEVER = -1.0e9
"""A score that no text has."""


@dataclass(frozen=True)
class Hypothesis:
    """A text that may be the result."""

    tokens: tuple[int, ...]
    """What follows the prompt."""
    ending: str = ""
    """Why it ended, if it has."""


class Beam(Sampler[LanguageModel, BeamOptions]):
    """Follows the best texts at once; the result is the one of highest log-probability / length**length_penalty.

    Rows are searched one by one: none depends on another. Scores and the rule by which it ends are those of
    transformers' default: the search ends when the best text that still runs, judged as if it ended now, is worse than
    the worst of as many finished ones as there are beams.
    """

    def sample(self, generator: LanguageModel, block: Block) -> Tensor:
        """[block.size, L] the bytes of UTF-8, 0 after the end of a text."""
        texts, written = open_texts(generator, block, self.options), {}
        stops = stops_of(generator, self.options)
        for row, text in texts.items():
            self._search(generator, text, stops)
            text.note(block, row)
            written[row] = echo(block, row, self.options) + bytes(text.written)
        return padded(written, block)

    @torch.inference_mode()
    def _search(self, model: LanguageModel, text: Text, stops: Stops | None) -> None:
        """Fills a text in."""
        beams, size = self.options.beams, model.tokenizer.size
        limit, short = self.options.max_tokens, "length"
        if model.context is not None and model.context - text.prompt + 1 < limit:
            limit, short = model.context - text.prompt + 1, "context"
        decoder = Decoder(model, beams, text.prompt + limit)
        logits = decoder.start(dict.fromkeys(range(beams), text.tokens))
        running = [Hypothesis(())] * beams
        scores = torch.full((beams,), NEVER, device=decoder.device)
        scores[0] = 0  # or the same text would be followed as often as there are beams
        finished, kept = [Hypothesis(())] * beams, torch.full((beams,), NEVER, device=decoder.device)
        for length in range(1, limit + 1):
            logs = logits.float().log_softmax(1)
            if length <= self.options.min_tokens:
                logs = filters.forbid(logs, [self._ends(model, text, one, stops) for one in running])
            best, index = (logs + scores[:, None]).view(-1).topk(2 * beams)
            sources = [int(i) // size for i in index]
            grown = [
                self._grown(model, text, running[source], int(i) % size, short if length == limit else "")
                for source, i in zip(sources, index, strict=True)
            ]
            ended = torch.tensor([bool(one.ending) for one in grown], device=best.device)
            going = (best + ended * NEVER).topk(beams)
            # Only the best as many as there are beams may end; the others are there to go on with.
            final = (
                best / length**self.options.length_penalty
                + (~ended | (torch.arange(2 * beams) >= beams)) * NEVER
            )
            kept, chosen = torch.cat([kept, final]).topk(beams)
            pool = finished + grown
            finished = [pool[i] for i in chosen.tolist()]
            running, scores = [grown[i] for i in going.indices.tolist()], going.values
            hopeless = bool(kept.min() > NEVER / 2) and float(
                scores[0] / length**self.options.length_penalty
            ) <= float(kept.min())
            if bool(ended.all()) or hopeless:
                break
            order = [sources[i] for i in going.indices.tolist()]
            moved = [(source, place) for place, source in enumerate(order) if source != place]
            if moved:
                decoder.memory.copy([source for source, _ in moved], [place for _, place in moved])
            logits = decoder.step({place: one.tokens[-1] for place, one in enumerate(running)})
        self._write(model, text, finished[0], float(kept[0]))

    def _grown(
        self, model: LanguageModel, text: Text, one: Hypothesis, token: int, ending: str
    ) -> Hypothesis:
        """A text and one token more."""
        tokens = (*one.tokens, token)
        if token == model.tokenizer.end:
            return Hypothesis(tokens, "end")
        if text.stops:
            written = model.tokenizer.decode(tokens)
            if any(stop in written for stop in text.stops):
                return Hypothesis(tokens, "stop")
        return Hypothesis(tokens, ending)

    def _ends(self, model: LanguageModel, text: Text, one: Hypothesis, stops: Stops | None) -> list[int]:
        """Tokens with which it would end."""
        written = bytearray(model.tokenizer.decode(one.tokens))
        return [model.tokenizer.end, *(stops.completing(written) if stops else ())]

    def _write(self, model: LanguageModel, text: Text, one: Hypothesis, score: float) -> None:
        """The result, token by token, as another sampler would have written it."""
        count = len(one.tokens)
        mean = score * count**self.options.length_penalty / count
        for token in one.tokens:
            if token == model.tokenizer.end:
                text.end("end")
            elif not text.stopped:
                text.add(token, model.tokenizer.token_bytes(token), mean)
        if not text.stopped:
            text.end(one.ending)
        text.facts["score"] = score
