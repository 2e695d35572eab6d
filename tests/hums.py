"""A backend of sounds of any length: each is a tone of a class, and what speaks through another's weights."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from helpers import Site

import aigc_core

BACKEND = """
from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

@hookimpl
def aigc_register_models(registry):
    hum = dict(sampler="hum_network:Hum", config="hum_options:HumOptions", summary="a tone", block=4)
    registry.add(ModelSpec(
        id="hum/hum", summary="a tone of any length", modality="audio", license="MIT",
        generator="hum_network:Tone", config="hum_options:ToneOptions", trainer="hum_network:Fit",
        data=DataNeeds(modality="audio", smallest=(1, 16)), conditions=("label",),
        samplers={
            "hum": SamplerSpec(**hum),
            "colour": SamplerSpec(**hum, parts={"timbre": "hum/timbre"}),
            "speak": SamplerSpec(**hum, needs=("prompt",)),
            "echo": SamplerSpec(**{**hum, "sampler": "hum_network:Echo"}, needs=("sound",)),
        },
    ))
    registry.add(ModelSpec(
        id="hum/class", summary="a tone of a class", modality="audio", license="MIT",
        generator="hum_network:Tone", config="hum_options:ToneOptions", trainer="hum_network:Fit",
        data=DataNeeds(modality="audio", smallest=(1, 16), labels=True), conditions=("label",),
        samplers={"hum": SamplerSpec(**hum)},
    ))
    registry.add(ModelSpec(
        id="hum/timbre", summary="what a tone sounds like", modality="audio", license="CC0-1.0",
        generator="hum_network:Timbre", config="aigc_core.options:Options", trainer="hum_network:Fit",
        data=DataNeeds(modality="audio", smallest=(1, 16)),
        samplers={"copy": SamplerSpec(sampler="hum_network:Copy", config="aigc_core.options:Options", summary="copies",
                                      needs=("sound",))},
    ))
"""

OPTIONS = """
from aigc_core.options import Field, Options

class ToneOptions(Options):
    conditional: bool = Field(True, description="whether it knows classes")

class HumOptions(Options):
    speaker: str = Field("", description="whose voice it is")
    best_of: int = Field(1, ge=1, le=100, description="attempts")
    timbre: str = Field("", description="weights of a timbre; empty: a plain tone")
    shown: bool = Field(True, description="whether it shows a picture")
"""

NETWORK = """
import math
import numpy as np
import torch
from torch import nn
from aigc_core.errors import UsageError
from aigc_core.interfaces import Generator, Sampler, Trainer
from aigc_core.specs import Output

NAN = float("nan")

class Tone(Generator):
    def __init__(self, config, data):
        super().__init__(config, data)
        self.pitch = nn.Parameter(torch.linspace(0.1, 0.9, max(len(data.classes), 1)))
        self.gain = nn.Parameter(torch.ones(()))

    @property
    def output(self):
        return Output("audio", (1, -1), -1.0, 1.0, self.data.details)

class Timbre(Generator):
    def __init__(self, config, data):
        super().__init__(config, data)
        self.drive = nn.Parameter(torch.tensor(0.5))

    @property
    def output(self):
        return Output("audio", self.data.shape, -1.0, 1.0, self.data.details)

class Fit(Trainer):
    def __init__(self, generator, options, engine):
        super().__init__(generator, options, engine)
        self.optimizer = torch.optim.SGD(generator.parameters(), lr=1e-2)

    def step(self, batch):
        loss = sum((p - batch.x.abs().mean()).square().mean() for p in self.generator.parameters())
        self.optimizer.zero_grad(); loss.backward(); self.optimizer.step()
        return {"loss": loss.detach()}

def ragged(rows, block):
    longest = max(map(len, rows.values()))
    values = torch.full((block.size, 1, longest), NAN)
    values[:, :, 0] = 0
    for row, sound in rows.items():
        values[row, 0, :len(sound)] = sound
    return values

class Hum(Sampler):
    def sample(self, generator, block):
        if block.labels is not None and not generator.config.conditional:
            raise UsageError("these weights were made without classes; leave out --label")
        labels, noise = block.labels_of(len(generator.pitch)), block.randn(2 + self.options.best_of)
        rows = {}
        for row in block.rows:
            length = 20 + int(noise[row, 0].abs() * 100) + len(block.prompts[row] if block.prompts else "")
            time = torch.arange(length) * (generator.pitch[labels[row]] + 0.01 * noise[row, 1])
            sound = generator.gain * torch.sin(time) * (1.5 if self.options.speaker == "loud" else 0.5)
            if "timbre" in block.parts:
                sound = torch.tanh(sound * block.parts["timbre"].drive)
            rows[row] = sound
            block.note(row, seconds=length / 8000, label=int(labels[row]))
            if self.options.shown:
                shade = (sound.detach().abs().clamp(0, 1) * 255).to(torch.uint8).numpy()
                block.show(row, np.stack([shade] * 4) if labels[row] % 2 else np.stack([np.stack([shade] * 3)] * 3, 2))
        return ragged(rows, block)

class Echo(Sampler):
    def sample(self, generator, block):
        if block.labels is not None:
            raise UsageError("an echo is of no class; leave out --label")
        sounds = block.sounds
        return ragged({r: sounds[r, 0, : int((~sounds[r, 0].isnan()).sum())].flip(0) for r in block.rows}, block)

class Copy(Sampler):
    def sample(self, generator, block):
        return block.sounds.nan_to_num() * generator.drive / generator.drive
"""


def install(site: Site) -> None:
    """As an installer would: the models `hum/hum`, `hum/class` and `hum/timbre`."""
    site.add("hum", BACKEND)
    (site.path / "hum_options.py").write_text(OPTIONS)
    (site.path / "hum_network.py").write_text(NETWORK)


def write_tone(path: Path, count: int = 400, rate: int = 8000, pitch: float = 0.3) -> Path:
    """A `.wav` of a sine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
        file.writeframes((8000 * np.sin(np.arange(count) * pitch)).astype("<i2").tobytes())
    return path


def trained(folder: Path, model: str = "hum/hum", name: str = "hum", **options: object) -> str:
    """Weights in the store, fitted on tones of the classes `high`, `low` and `mid`."""
    for label, pitch in (("high", 0.9), ("low", 0.1), ("mid", 0.4)):
        for i in range(2):
            write_tone(folder / label / f"{i}.wav", 300 + i, pitch=pitch)
    return aigc_core.train(model, folder, steps=1, name=name, options={"batch_size": 2, **options}).weights
