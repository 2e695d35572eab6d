"""How a network speaks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from aigc_audio.config import GriffinLimOptions, NeuralOptions, SpeechOptions
from aigc_audio.griffin_lim import griffin_lim
from aigc_audio.mel import MelSettings
from aigc_audio.picture import attention_picture, mel_picture, stack
from aigc_audio.tacotron.network import Tacotron
from aigc_audio.tacotron.prompts import lines
from aigc_audio.tacotron.speaking import speak, streams_of
from aigc_core.errors import UsageError
from aigc_core.interfaces import Block, Sampler

O = TypeVar("O", bound=SpeechOptions)  # noqa: E741


class Speech(Sampler[Tacotron, O]):
    """Says each row's prompt, or the data's examples in turn."""

    def sample(self, generator: Tacotron, block: Block) -> Tensor:
        """[block.size, 1, T], NaN after the end of each; zeros where nothing was asked for. Raises UsageError for what
        the model can't say."""
        self.check(generator, block)
        said, streams = lines(generator, block, self.options), streams_of(block)
        spoken = speak(generator, said, streams, block.size, self.options)
        sounds = {}
        for row, found in spoken.items():
            sounds[row] = sound = self.sound(generator, found.frames.T.contiguous(), streams[row], block)
            voice = {"speaker": generator.speakers[said[row].speaker]} if generator.speakers else {}
            block.note(
                row,
                text=said[row].text,
                **voice,
                stopped=found.stopped,
                monotonic=found.monotonic,
                alignment=round(found.alignment, 4),
                seconds=round(len(sound) / generator.rate, 4),
            )
            if self.options.picture and block.pictures is not None:
                mel = mel_picture(found.frames.T)
                block.show(row, stack([mel, attention_picture(found.weights, mel.shape[1])]))
        out = torch.full((block.size, 1, max(map(len, sounds.values()))), torch.nan, device=block.device)
        for row in range(block.size):
            out[row, 0, : len(sounds[row]) if row in sounds else None] = sounds.get(row, 0.0)
        return out

    def check(self, generator: Tacotron, block: Block) -> None:
        """Raises UsageError if it lacks something to make sounds with."""

    @abstractmethod
    def sound(self, generator: Tacotron, mel: Tensor, stream: Block, block: Block) -> Tensor:
        """[bands, F] to [samples]; `stream` is that row's alone."""


class GriffinLim(Speech[GriffinLimOptions]):
    """Phases that fit the magnitudes, found step by step."""

    def sound(self, generator: Tacotron, mel: Tensor, stream: Block, block: Block) -> Tensor:
        phases = stream.randn(mel.shape[1], generator.mel.settings.bins)[0].T
        return griffin_lim(generator.mel, mel, phases, iterations=self.options.iterations)


class Neural(Speech[NeuralOptions]):
    """Another network makes the sound: an `audio/vocoder`."""

    def check(self, generator: Tacotron, block: Block) -> None:
        vocoder = block.parts.get("vocoder")
        if vocoder is None:
            raise UsageError(
                "the sampler neural needs a vocoder: give -s vocoder=NAME, weights of audio/vocoder"
            )
        ours, theirs = generator.mel.settings, cast(MelSettings, vocoder.mel_settings)
        differ = [
            f"{field.name} {getattr(ours, field.name)}, not {getattr(theirs, field.name)}"
            for field in fields(ours)
            if getattr(ours, field.name) != getattr(theirs, field.name)
        ]
        if differ:
            raise UsageError(
                f"the vocoder {self.options.vocoder!r} was trained for other mel spectrograms: the speech has "
                f"{'; '.join(differ)}; choose one that was trained on sounds of {ours.rate} Hz"
            )

    def sound(self, generator: Tacotron, mel: Tensor, stream: Block, block: Block) -> Tensor:
        vocoder: Any = block.parts["vocoder"]
        sound: Tensor = vocoder.vocode(mel[None])[0]
        return sound
