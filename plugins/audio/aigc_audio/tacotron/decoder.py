"""From a memory to frames, some at a time, each from the ones before."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_audio.mel import SILENCE, full

REACH = 7
"""Characters on either side of one whose past attention it is compared with."""


class Memory(NamedTuple):
    """What is attended to, prepared once for all steps."""

    values: Tensor
    """[N, L, D]"""
    keys: Tensor
    """[N, L, A]"""
    mask: Tensor
    """[N, L] bool: what is text."""

    def rows(self, count: int) -> Memory:
        """The first rows."""
        return Memory(self.values[:count], self.keys[:count], self.mask[:count])


class State(NamedTuple):
    """Of the attention, between two steps."""

    hidden: Tensor
    """[N, H]"""
    cell: Tensor
    """[N, H]"""
    context: Tensor
    """[N, D]"""
    weights: Tensor
    """[N, L]: how much each character was attended to in the step before."""
    total: Tensor
    """[N, L]: and in all steps."""

    def rows(self, count: int) -> State:
        """The first rows."""
        return State(*(part[:count] for part in self))


class Attention(nn.Module):
    """An LSTM and what it attends to: by content, and by what it attended to before (Chorowski et al. 2015)."""

    def __init__(self, inputs: int, memory: int, hidden: int, width: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.Linear(inputs, 4 * hidden)
        self.gates = nn.Linear(memory + hidden, 4 * hidden, bias=False)
        self.query = nn.Linear(hidden, width)
        self.location = nn.Linear(2 * (2 * REACH + 1), width, bias=False)
        self.energy = nn.Linear(width, 1, bias=False)

    def start(self, memory: Memory) -> State:
        """Of a first step, which has the attention on the first character."""
        values = memory.values
        n, length, width = values.shape
        zero, first = values.new_zeros(n, self.hidden), values.new_zeros(n, length)
        first[:, 0] = 1
        return State(zero, zero, values.new_zeros(n, width), first, values.new_zeros(n, length))

    def forward(self, x: Tensor, state: State, memory: Memory, allowed: Tensor | None = None) -> State:
        """One step. x [N, 4 * hidden]: `inputs` of what it is given; allowed [N, L]: where it may go, None for all."""
        gates = x + self.gates(torch.cat([state.context, state.hidden], 1))
        opened, new = gates[:, : 3 * self.hidden].sigmoid(), gates[:, 3 * self.hidden :].tanh()
        keep, write, read = opened.chunk(3, 1)
        cell = keep * state.cell + write * new
        hidden = read * cell.tanh()
        past = F.pad(torch.stack([state.weights, state.total], 1), (REACH, REACH))
        past = past.unfold(2, 2 * REACH + 1, 1).permute(0, 2, 1, 3).flatten(2)
        compared = (self.query(hidden)[:, None] + memory.keys + self.location(past)).tanh()
        energies = full(self.energy(compared)[:, :, 0])
        mask = memory.mask if allowed is None else memory.mask & allowed
        weights = energies.masked_fill(~mask, -torch.inf).softmax(1)
        context = torch.bmm(weights[:, None].to(memory.values.dtype), memory.values)[:, 0]
        return State(hidden, cell, context, weights, state.total + weights)


class Steps(NamedTuple):
    """What the decoder made."""

    frames: Tensor
    """[N, S * reduction, bands]"""
    gate: Tensor
    """[N, S] logits that a step was the last."""
    weights: Tensor
    """[N, S, L] attention."""


class Decoder(nn.Module):
    """Pre-net, attention, an LSTM, and linear layers to the frames and the gate (Shen et al. 2018, section 2.2).

    It has a parameter of its own, so that a training that shares it out gathers it once a batch and not at every step,
    of which processes have different numbers.
    """

    def __init__(
        self,
        *,
        bands: int,
        memory: int,
        speaker: int,
        prenet: int,
        hidden: int,
        attention: int,
        reduction: int,
    ) -> None:
        super().__init__()
        self.bands, self.reduction = bands, reduction
        self.silence = nn.Parameter(torch.full((bands,), SILENCE))
        """The frame before the first."""
        self.first, self.second = nn.Linear(bands, prenet), nn.Linear(prenet, prenet)
        self.attention = Attention(prenet + speaker, memory, hidden, attention)
        self.lstm = nn.LSTM(hidden + memory, hidden, batch_first=True)
        self.frames = nn.Linear(hidden + memory, reduction * bands)
        self.gate = nn.Linear(hidden + memory, 1)

    def forward(
        self, memory: Memory, speaker: Tensor, target: Tensor, masks: Tensor, counts: list[int]
    ) -> Steps:
        """All steps of [N, S * reduction, bands], each given the true frame before it.

        speaker [N, speaker]; masks [N, S, 2 * prenet]: of the pre-net; counts: the steps of each row, falling.
        """
        n, steps = target.shape[0], target.shape[1] // self.reduction
        before = target[:, self.reduction - 1 :: self.reduction][:, :-1]
        before = torch.cat([self.silence.expand(n, 1, -1), before], 1)
        x = self.given(before, speaker[:, None].expand(-1, steps, -1), masks)
        state, rows, states = self.attention.start(memory), n, []
        for step in range(steps):
            left = sum(count > step for count in counts)
            if left <= 0.75 * rows:  # to leave rows out costs something, too
                state, memory, rows = state.rows(left), memory.rows(left), left
            state = self.attention(x[:rows, step], state, memory)
            states.append(state)
        hidden, context, weights = (
            torch.stack([F.pad(part, (0, 0, 0, n - len(part))) for part in parts], 1)
            for parts in zip(*((s.hidden, s.context, s.weights) for s in states), strict=True)
        )
        return Steps(*self.emit(hidden, context, None)[:2], weights)

    def given(self, before: Tensor, speaker: Tensor, masks: Tensor) -> Tensor:
        """[..., 4 * hidden]: what the attention's LSTM is given of the frame before, [..., bands], and the speaker.

        masks [..., 2 * prenet]: 0 where the pre-net drops a value, 2 where it does not.
        """
        first, second = masks.chunk(2, -1)
        x = self.second(self.first(before).relu() * first).relu() * second
        given: Tensor = self.attention.inputs(torch.cat([x, speaker], -1))
        return given

    def emit(
        self, hidden: Tensor, context: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Frames [N, S * reduction, bands], the gate's logits [N, S] and the LSTM's state, of some steps."""
        out, state = self.lstm(torch.cat([hidden, context], -1), state)
        both = torch.cat([out, context], -1)
        return (
            self.frames(both).unflatten(-1, (self.reduction, self.bands)).flatten(1, 2),
            self.gate(both)[..., 0],
            state,
        )
