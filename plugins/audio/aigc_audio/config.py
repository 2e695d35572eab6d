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
    epochs: float = Field(24.0, gt=0, description="passes over the data, where --steps is not given")
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
    critic_width: int = Field(16, ge=1, le=1024, description="channels of the critics' first layers")
    mel_weight: float = Field(15.0, ge=0, description="of the distance of mels")
    stft_weight: float = Field(20.0, ge=0, description="of the distance of spectra at three resolutions")
    magnitude_weight: float = Field(20.0, ge=0, description="of the distance of the magnitudes asked for")
    matching_weight: float = Field(2.0, ge=0, description="of the distance of the critics' features")
    ema_half_life: float = Field(3000, gt=0, description="half-life of the moving average, in pieces")


class CopyOptions(Options):
    rounds: int = Field(64, ge=0, le=10000, description="of fast Griffin-Lim between its two networks")


class VAEConfig(Options):
    """What both VAEs can be told; their networks differ in width."""

    seconds: float = Field(1.0, ge=0.05, le=60, description="what it hears and makes; the rest is cut off")
    conditional: bool = Field(
        False, description="learn each class by its label, and make what --label asks for"
    )
    latent: int = Field(32, ge=1, le=4096, description="size of the latent")


class MelVAEConfig(VAEConfig):
    width: int = Field(128, ge=4, le=4096, description="channels of the network")


class RawVAEConfig(VAEConfig):
    latent: int = Field(32, ge=1, le=4096, description="size of the latent")
    width: int = Field(
        48, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
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


class RawVAETraining(VAETraining):
    lr: float = Field(1e-3, gt=0, le=10, description="peak learning rate")
    beta: float = Field(
        2.0,
        ge=0,
        le=10000,
        description="weight of the KL term: more makes samples of the prior better, copies coarser",
    )


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


class TacotronConfig(Options):
    embedding: int = Field(128, ge=8, le=1024, description="width of the characters and of the encoder")
    speaker: int = Field(32, ge=1, le=512, description="width of the speakers, where there are several")
    prenet: int = Field(128, ge=8, le=1024, description="width of the two layers that take the frame before")
    decoder: int = Field(256, ge=16, le=2048, description="width of the decoder's two LSTMs")
    attention: int = Field(64, ge=4, le=512, description="width in which text and query are compared")
    postnet: int = Field(128, ge=8, le=1024, description="channels of the post-net")
    reduction: int = Field(2, ge=1, le=10, description="frames that the decoder makes at a step")


class TacotronTraining(TrainingOptions):
    batch_size: int = Field(32, ge=1, le=65536, description="sounds a step, over all processes")
    lr: float = Field(1.5e-3, gt=0, le=10, description="peak learning rate")
    epochs: float = Field(50.0, gt=0, description="passes over the data, where --steps is not given")
    warmup: float = Field(
        0.03, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine"
    )
    clip: float = Field(1.0, ge=0, description="longest gradient; 0: any")
    guide: float = Field(1.0, ge=0, description="weight of the loss that pulls the attention to the diagonal")
    width: float = Field(
        0.2, gt=0, le=10, description="how far from the diagonal the attention may go, as a share"
    )
    half_life: float = Field(20000.0, gt=0, description="of the moving average of the weights, in sounds")


class SpeechOptions(Options):
    speaker: tuple[str, ...] = Field(
        (), description="whose voice: sample i is in voice i mod K; the first if none"
    )
    seconds: float = Field(
        0.0,
        ge=0,
        le=600,
        description="most of a sound, which is cut there; 0: twice the longest in the training",
    )
    best_of: int = Field(
        1, ge=1, le=64, description="candidates of each sample, of which the best aligned is kept"
    )
    window: int = Field(
        3, ge=0, le=1000, description="characters that the attention may go on at a step; 0: no bound"
    )
    picture: bool = Field(True, description="keeps a picture of mel and attention beside each sound")


class GriffinLimOptions(SpeechOptions):
    iterations: int = Field(60, ge=1, le=10000, description="steps of Griffin-Lim")


class NeuralOptions(SpeechOptions):
    vocoder: str = Field("", description="weights of audio/vocoder: a name, name@version or a file")
