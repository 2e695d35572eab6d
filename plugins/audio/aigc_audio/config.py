"""The options of the models of sound; no torch here."""

from __future__ import annotations

from aigc_core.options import Field, Options, TrainingOptions


class VocoderConfig(Options):
    width: int = Field(192, ge=4, le=4096, description="channels of the network")
    layers: int = Field(4, ge=1, le=64, description="ConvNeXt blocks of each of its two networks")
    rounds: int = Field(
        32, ge=0, le=1000, description="of fast Griffin-Lim between its two networks, while it is trained"
    )


class VocoderTraining(TrainingOptions):
    batch_size: int = Field(16, ge=1, le=65536, description="pieces of sound a step, over all processes")
    lr: float = Field(1e-3, gt=0, le=10, description="peak learning rate; falls along a cosine")
    critic_lr: float = Field(4e-4, gt=0, le=10, description="the critics' learning rate, likewise")
    epochs: float = Field(30.0, gt=0, description="passes over the data, where --steps is not given")
    segment: float = Field(0.32, gt=0, le=60, description="seconds of the pieces that are trained on")
    sounds_from: float = Field(
        0.4,
        ge=0,
        le=1,
        description="share of the steps after which sounds are made, and not magnitudes alone",
    )
    adversarial_from: float = Field(
        0.8, ge=0, le=1, description="share of the steps after which the critics join; 1 for never"
    )
    critic_width: int = Field(12, ge=1, le=1024, description="channels of the critics' first layers")
    mel_weight: float = Field(15.0, ge=0, description="of the distance of mels")
    stft_weight: float = Field(20.0, ge=0, description="of the distance of spectra at three resolutions")
    magnitude_weight: float = Field(20.0, ge=0, description="of the distance of the magnitudes asked for")
    matching_weight: float = Field(2.0, ge=0, description="of the distance of the critics' features")
    ema_half_life: float = Field(3000, gt=0, description="half-life of the moving average, in pieces")


class CopyOptions(Options):
    rounds: int = Field(64, ge=0, le=10000, description="of fast Griffin-Lim between its two networks")


class VAEConfig(Options):
    """What both VAEs can be told; their networks differ in width."""

    seconds: float = Field(1.0, gt=0, le=60, description="what it hears and makes; the rest is cut off")
    conditional: bool = Field(
        False, description="learn each class by its label, and make what --label asks for"
    )
    latent: int = Field(32, ge=1, le=4096, description="size of the latent")


class MelVAEConfig(VAEConfig):
    width: int = Field(128, ge=4, le=4096, description="channels of the network")


class RawVAEConfig(VAEConfig):
    latent: int = Field(64, ge=1, le=4096, description="size of the latent")
    width: int = Field(
        16, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
    )


class VAETraining(TrainingOptions):
    batch_size: int = Field(64, ge=1, le=65536, description="sounds a step, over all processes")
    lr: float = Field(2e-3, gt=0, le=10, description="peak learning rate")
    epochs: float = Field(40.0, gt=0, description="passes over the data, where --steps is not given")
    warmup: float = Field(
        0.03, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine"
    )
    beta: float = Field(
        40.0,
        ge=0,
        le=10000,
        description="weight of the KL term: more makes samples of the prior better, copies coarser",
    )
    ema_half_life: float = Field(5000, gt=0, description="half-life of the moving average, in sounds")


class PriorOptions(Options):
    temperature: float = Field(
        0.8,
        ge=0,
        le=10,
        description="spread of the latents; less is more typical, more is as varied as the data",
    )


class ReconstructOptions(Options):
    noise: bool = Field(False, description="draw the latent from the encoder's distribution; else its mean")


class FromMelOptions(Options):
    """How a mel spectrogram becomes a sound."""

    vocoder: str = Field(
        "", description="weights of an audio/vocoder to make the sound; empty for Griffin-Lim"
    )
    iterations: int = Field(60, ge=0, le=10000, description="of Griffin-Lim, where no vocoder is given")


class MelPriorOptions(PriorOptions, FromMelOptions):
    """Of the prior of mel spectrograms."""


class MelReconstructOptions(ReconstructOptions, FromMelOptions):
    """Of mel spectrograms that are encoded and decoded."""
