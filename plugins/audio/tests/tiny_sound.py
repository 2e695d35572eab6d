"""Small sounds and what trains on them, for the tests of this backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from aigc_core.interfaces import Batch, Block, Trainer
from aigc_core.specs import DataInfo
from aigc_core.testing.material import SETS
from aigc_core.training.engine import AccelerateEngine

RATE = 8000
INFO = DataInfo("audio", (1, 4000), ("low", "high"), {"sample_rate": RATE})
CPU = torch.device("cpu")


def tone(hertz: float, samples: int, loudness: float = 0.3) -> torch.Tensor:
    """[samples]: a tone with overtones, of a rate of 8 kHz."""
    time = torch.arange(samples) / RATE
    return loudness * torch.stack(
        [torch.sin(2 * torch.pi * hertz * k * time) / k for k in (1, 2, 3, 5)]
    ).mean(0)


def batch(count: int = 4, samples: int = 4000) -> Batch:
    """Low and high tones of several lengths, silence after their ends."""
    x, lengths = torch.zeros(count, 1, samples), []
    for i in range(count):
        length = samples - i * samples // (2 * count)
        x[i, 0, :length] = tone(150 + 250 * (i % 2) + 10 * i, length)
        lengths.append(length)
    return Batch(x, torch.arange(count), torch.arange(count) % 2, {"length": torch.tensor(lengths)})


def digits(count: int) -> Batch:
    """Some of the spoken digits that the kit has, always the same."""
    with np.load(SETS["audio"]) as kept:
        sounds = torch.from_numpy(kept["audio"]).reshape(len(kept["audio"]), 1, -1)
    x = sounds[torch.arange(count) * (len(sounds) // count)].float() / 32768
    return Batch(x, torch.arange(count), torch.arange(count) % 2)


def fit(trainer: Trainer[Any, Any], given: Batch, steps: int, first: int = 0) -> list[dict[str, float]]:
    """The metrics of some steps on the same batch."""
    found = []
    for step in range(first, first + steps):
        engine(trainer).begin(step)
        found.append({name: float(value) for name, value in trainer.step(given).items()})
    return found


def engine(trainer: Trainer[Any, Any]) -> AccelerateEngine:
    assert isinstance(trainer.engine, AccelerateEngine)
    return trainer.engine


def new_engine(batch_size: int, steps: int) -> AccelerateEngine:
    made = AccelerateEngine(0, batch_size, steps, cpu=True)
    made.set_up()
    return made


def block(size: int, sounds: list[torch.Tensor] | None = None, **more: Any) -> Block:
    """A block whose rows are given sounds [T], which may differ in length."""
    given = None
    if sounds is not None:
        longest = max(len(sound) for sound in sounds)
        given = torch.full((size, 1, longest), torch.nan)
        for row in range(size):
            sound = sounds[row % len(sounds)]
            given[row, 0, : len(sound)] = sound
    start = more.pop("start", 0)
    return Block(more.pop("seed", 7), start, size, CPU, sounds=given, **more)


def equal(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two states, of tensors at any depth, are the same bit for bit."""
    if a.keys() != b.keys():
        return False
    return all(
        equal(a[key], b[key])
        if isinstance(a[key], Mapping)
        else torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]
        for key in a
    )  # fmt: skip
