"""How sounds are drawn from a vocoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_audio.config import CopyOptions
from aigc_audio.picture import mel_picture
from aigc_audio.vocoder import Vocoder
from aigc_core.errors import UsageError
from aigc_core.interfaces import Block, Sampler


class Copy(Sampler[Vocoder, CopyOptions]):
    """Copy-synthesis: the mel spectrogram of a given sound, made a sound again."""

    def sample(self, generator: Vocoder, block: Block) -> Tensor:
        assert block.sounds is not None
        made = block.sounds.new_zeros(block.size, 1, block.sounds.shape[2])
        for row in block.rows:
            sound = given(block, row)
            mel = mel_of(generator, sound)
            made[row] = torch.nan
            made[row, 0, : len(sound)] = generator.vocode(mel[None], self.options.rounds)[0, : len(sound)]
            block.show(row, mel_picture(mel))
        return made


def given(block: Block, row: int) -> Tensor:
    """[T], the sound that a row was given. Raises UsageError for one of no length."""
    assert block.sounds is not None
    sound = block.sounds[row, 0]
    sound = sound[~sound.isnan()]
    if not len(sound):
        raise UsageError(f"the sound given to sample {block.start + row} has no length; give one that has")
    return sound


def mel_of(generator: Vocoder, sound: Tensor) -> Tensor:
    """[T] to the [bands, frames] that make at least as long a sound."""
    mel: Tensor = generator.mel(F.pad(sound, (0, -len(sound) % generator.mel_settings.hop))[None])[0]
    return mel
