"""The options of the models of sounds; no torch here."""

from __future__ import annotations

from aigc_core.options import Field, Options, TrainingOptions


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
    picture: bool = Field(False, description="keeps a picture of mel and attention beside each sound")


class GriffinLimOptions(SpeechOptions):
    iterations: int = Field(60, ge=1, le=10000, description="steps of Griffin-Lim")


class NeuralOptions(SpeechOptions):
    vocoder: str = Field("", description="weights of audio/vocoder: a name, name@version or a file")
