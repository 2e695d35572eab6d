"""From lines of text to mel spectrograms, bit for bit the same whatever is said beside them.

Each text is encoded, and each spectrogram refined, by itself at its own length. Between the two the decoder takes the
whole block at once: always as many rows, over a memory whose length depends on the row's own text; rows of other lengths
wait for their turn. What is drawn at random comes from a row's own stream, and only as long as that row speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from aigc_audio.config import SpeechOptions
from aigc_audio.tacotron.decoder import Memory
from aigc_audio.tacotron.network import Tacotron
from aigc_audio.tacotron.prompts import Line, steps_of
from aigc_core.interfaces import Block

AHEAD: Final = 32
"""Steps whose random values are drawn at once."""
SHORTEST: Final = 16
"""Symbols that the decoder attends to at least, most of them padding; it doubles as texts need it."""


@dataclass(frozen=True)
class Spoken:
    """One row's spectrogram, and how it came about."""

    frames: Tensor
    """[F, bands]"""
    weights: Tensor
    """[S, L] the attention of each step to each symbol, the end's last."""
    stopped: bool
    """Whether it ended by itself."""

    @property
    def monotonic(self) -> bool:
        """Whether what was attended to most went through the text to its end and never back."""
        path = self.weights.argmax(1)
        return bool((path.diff() >= 0).all()) and int(path[-1]) >= self.weights.shape[1] - 2

    @property
    def alignment(self) -> float:
        """0 .. 1: how sharp the attention was, times how much of the text it touched."""
        sharp = self.weights.amax(1).mean()
        touched = self.weights[:, :-1].sum(0).clamp_max(1).mean()
        return float(sharp * touched)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The greater, the better."""
        return self.stopped, self.monotonic, self.alignment


def streams_of(block: Block) -> dict[int, Block]:
    """By row a block of that row alone, whose stream is drawn from as far as that row needs."""
    return {row: replace(block, start=block.start + row, size=1, wanted=None) for row in block.rows}


def speak(
    model: Tacotron,
    lines: Mapping[int, Line],
    streams: Mapping[int, Block],
    size: int,
    options: SpeechOptions,
) -> dict[int, Spoken]:
    """By row the best of `options.best_of` candidates; size: how many rows a block has."""
    best: dict[int, Spoken] = {}
    for length, rows in _buckets(lines).items():
        memory, voice = _remember(model, {row: lines[row] for row in rows}, size, length)
        for _ in range(options.best_of):
            for row, spoken in _speak(model, memory, voice, {row: streams[row] for row in rows}, options):
                spoken = replace(spoken, weights=spoken.weights[:, : lines[row].symbols.shape[1]])
                if row not in best or spoken.rank > best[row].rank:
                    best[row] = spoken
    return {row: replace(best[row], frames=_refined(model, best[row].frames)) for row in lines}


def _buckets(lines: Mapping[int, Line]) -> dict[int, list[int]]:
    """Rows by the length to which their texts are padded."""
    found: dict[int, list[int]] = {}
    for row, line in lines.items():
        length = max(SHORTEST, 1 << (line.symbols.shape[1] - 1).bit_length())
        found.setdefault(length, []).append(row)
    return found


def _remember(model: Tacotron, lines: Mapping[int, Line], size: int, length: int) -> tuple[Memory, Tensor]:
    """The memory of some rows of a block, each made by itself, and [size, speaker] their voices; of the other rows only
    the first place is attended to, and it is empty."""
    parts: dict[int, tuple[Memory, Tensor]] = {}
    for row, line in lines.items():
        parts[row] = model.remember(line.symbols, torch.tensor([line.speaker], device=line.symbols.device))
    first, voice = next(iter(parts.values()))
    values = first.values.new_zeros(size, length, first.values.shape[2])
    keys = first.keys.new_zeros(size, length, first.keys.shape[2])
    mask, voices = first.mask.new_zeros(size, length), voice.new_zeros(size, voice.shape[1])
    mask[:, 0] = True
    for row, (memory, voice) in parts.items():
        own = memory.mask.shape[1]
        values[row, :own], keys[row, :own], mask[row, :own], voices[row] = (
            memory.values[0],
            memory.keys[0],
            True,
            voice[0],
        )
    return Memory(values, keys, mask), voices


def _speak(
    model: Tacotron, memory: Memory, voice: Tensor, streams: Mapping[int, Block], options: SpeechOptions
) -> Iterator[tuple[int, Spoken]]:
    """One candidate a row, before the post-net, as each comes to its end."""
    decoder = model.decoder
    size, length = memory.mask.shape
    frame = decoder.silence.expand(size, 1, -1)
    least, most = steps_of(model, options)
    state, lstm = decoder.attention.start(memory), None
    masks = voice.new_zeros(size, AHEAD, 2 * model.config.prenet)
    places = torch.arange(length, device=voice.device)
    frames, weights, left = [], [], set(streams)
    for step in range(most):
        if step % AHEAD == 0:
            for row in left:
                masks[row] = 2.0 * (streams[row].randn(*masks.shape[1:])[0] > 0)
        allowed = None
        if options.window and step:
            at = state.weights.argmax(1, keepdim=True)
            allowed = (places >= at - 1) & (places <= at + options.window)
        x = decoder.given(frame[:, -1], voice, masks[:, step % AHEAD])
        state = decoder.attention(x, state, memory, allowed)
        frame, gate, lstm = decoder.emit(state.hidden[:, None], state.context[:, None], lstm)
        frames.append(frame)
        weights.append(state.weights)
        stops = (gate[:, 0] > 0).tolist()
        for row in sorted(left):
            stopped = stops[row] and step + 1 >= least
            if stopped or step + 1 == most:
                left.remove(row)
                own = torch.cat([part[row] for part in frames]), torch.stack([part[row] for part in weights])
                yield row, Spoken(*own, stopped)
        if not left:
            return


def _refined(model: Tacotron, frames: Tensor) -> Tensor:
    """After the post-net, [F, bands]."""
    refined: Tensor = model.postnet(frames[None], torch.ones_like(frames[None, :, :1]))
    return refined[0]
