"""How sounds are drawn from a VAE."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from aigc_audio.config import FromMelOptions, PriorOptions, ReconstructOptions
from aigc_audio.griffin_lim import griffin_lim
from aigc_audio.mel import Mel, settings_of
from aigc_audio.picture import mel_picture
from aigc_audio.vae import MelVAE, SoundVAE
from aigc_audio.vocoder import Vocoder
from aigc_core.errors import UsageError
from aigc_core.interfaces import Block, Sampler


class Prior(Sampler[SoundVAE, PriorOptions]):
    """Latents from the prior: of the labels that are asked for, where the model knows labels."""

    def sample(self, generator: SoundVAE, block: Block) -> Tensor:
        labels = generator.labels_of(block)
        mean, log_variance = generator.prior(labels, block.size)
        spread = self.options.temperature * (0.5 * log_variance).exp()
        latents = mean + block.randn(generator.latent) * spread
        return sounds(generator, generator.decode(latents, labels), block, self.options)


class Reconstruct(Sampler[SoundVAE, ReconstructOptions]):
    """Given sounds, through the latent, as loud as they were. Where the model knows labels, those of the sounds are
    to be given too."""

    def sample(self, generator: SoundVAE, block: Block) -> Tensor:
        assert block.sounds is not None
        labels = generator.labels_of(block)
        prepared, gain = generator.prepared(block.sounds)
        mean, log_variance = generator.encode(generator.hear(prepared), labels)
        if self.options.noise:
            mean = mean + block.randn(generator.latent) * (0.5 * log_variance).exp()
        made = sounds(generator, generator.decode(mean, labels), block, self.options)
        return made / gain[:, None]


def sounds(generator: SoundVAE, made: Tensor, block: Block, options: Any) -> Tensor:
    """What a decoder made to sounds [size, 1, samples], of the rows that are wanted; shows their spectrograms."""
    found = made.new_zeros(block.size, 1, generator.samples)
    phases = _phases(generator, made, block, options)
    for row in block.rows:
        if isinstance(generator, MelVAE):
            mel = made[row]
            sound = _from_mel(generator, mel, None if phases is None else phases[row], block, options)
        else:
            sound = made[row, 0]
            mel = Mel(settings_of(generator.rate)).to(sound.device)(sound[None])[0]
        found[row, 0] = sound[: generator.samples]
        block.show(row, mel_picture(mel))
    return found


def _phases(generator: SoundVAE, made: Tensor, block: Block, options: Any) -> Tensor | None:
    """[size, bins, frames] for Griffin-Lim to begin with, drawn for the block as a whole; None where it is not used."""
    if not isinstance(generator, MelVAE) or options.vocoder:
        return None
    return block.randn(generator.mel.settings.bins, made.shape[2])


def _from_mel(
    generator: MelVAE, mel: Tensor, phases: Tensor | None, block: Block, options: FromMelOptions
) -> Tensor:
    if phases is not None:
        return griffin_lim(generator.mel, mel, phases, iterations=options.iterations)
    vocoder = block.parts["vocoder"]
    assert isinstance(vocoder, Vocoder)
    if vocoder.mel_settings != generator.mel.settings:
        raise UsageError(
            f"the vocoder {options.vocoder!r} makes sounds of {vocoder.mel_settings.rate} Hz, and the model is of "
            f"{generator.rate} Hz; train one on the same data: aigc train audio/vocoder"
        )
    return vocoder.vocode(mel[None])[0]
