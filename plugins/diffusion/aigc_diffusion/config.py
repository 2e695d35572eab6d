"""The options of the diffusion models; no torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from aigc_core.options import Field, Options, TrainingOptions


class DenoiserConfig(Options):
    """What all models of the family can be told."""

    parametrisation: Literal["edm", "flow"] = Field(
        "edm", description="what the network predicts: as in EDM, or a rectified flow's velocity"
    )
    condition: Literal["auto", "label", "text", "none"] = Field(
        "auto",
        description="what it is told: labels, texts (captions, or the names of classes); auto: all that the data have",
    )


class UNetConfig(DenoiserConfig):
    patch: int = Field(2, ge=1, le=16, description="side of the squares of pixels that become channels")
    width: int = Field(32, ge=8, le=1024, description="channels of the finest level")
    multiples: tuple[int, ...] = Field(
        (1, 4), min_length=1, max_length=6, description="channels of each level, in multiples of width"
    )
    blocks: int = Field(
        1, ge=1, le=16, description="residual blocks a level, on the way down; one more going up"
    )
    heads: int = Field(4, ge=1, le=64, description="heads of the attention, at the coarsest level")

    @model_validator(mode="after")
    def _fits(self) -> UNetConfig:
        if any(multiple < 1 for multiple in self.multiples):
            raise ValueError("multiples must be 1 or more")
        if self.width * self.multiples[-1] % self.heads:
            raise ValueError(f"heads must divide the coarsest width, {self.width * self.multiples[-1]}")
        return self


class DiTConfig(DenoiserConfig):
    patch: int = Field(4, ge=1, le=32, description="side of the squares of pixels that become tokens")
    width: int = Field(192, ge=8, le=4096, description="size of a token")
    layers: int = Field(6, ge=1, le=64, description="layers of the transformer")
    heads: int = Field(4, ge=1, le=64, description="heads of its attention")

    @model_validator(mode="after")
    def _fits(self) -> DiTConfig:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, {self.width}")
        return self


class DiffusionTraining(TrainingOptions):
    batch_size: int = Field(64, ge=1, le=65536, description="pictures a step, over all processes")
    lr: float = Field(1e-3, gt=0, le=10, description="peak learning rate")
    warmup: float = Field(
        0.02, ge=0, lt=1, description="share of the steps in which the rate rises; then it falls to 0"
    )
    noise_mean: float | None = Field(
        None,
        ge=-10,
        le=10,
        description="of the logarithm of a noise level in training; none: -0.5 for edm, 0 for flow",
    )
    noise_deviation: float | None = Field(
        None, gt=0, le=10, description="of that logarithm; none: 1.2 for edm, 1 for flow"
    )
    forget: float = Field(
        0.1, ge=0, le=1, description="share of the pictures of which nothing is told, for guidance"
    )
    ema_half_life: float = Field(
        500_000,
        gt=0,
        description="half-life of the moving average, in pictures; a twentieth of those seen at most",
    )


class GuidedOptions(Options):
    """What all samplers can be told."""

    guidance: float = Field(
        1.0,
        ge=0,
        le=100,
        description="weight of the condition: 1 as trained, more for clearer pictures of it",
    )


class DDPMOptions(GuidedOptions):
    steps: int = Field(100, ge=1, le=1000, description="noise levels that it goes through")


class DDIMOptions(GuidedOptions):
    steps: int = Field(50, ge=1, le=1000, description="noise levels that it goes through")
    eta: float = Field(0.0, ge=0, le=1, description="fresh noise a step: 0 for none, 1 for as much as ddpm")


class HeunOptions(GuidedOptions):
    steps: int = Field(18, ge=1, le=1000, description="noise levels that it goes through")
    rho: float = Field(
        7.0, ge=1, le=100, description="how much nearer the levels lie where there is little noise"
    )
    churn: float = Field(0.0, ge=0, le=100, description="fresh noise in all steps together")


class MultistepOptions(GuidedOptions):
    steps: int = Field(18, ge=1, le=1000, description="noise levels that it goes through")
    rho: float = Field(
        7.0, ge=1, le=100, description="how much nearer the levels lie where there is little noise"
    )


class EulerOptions(GuidedOptions):
    steps: int = Field(40, ge=1, le=1000, description="moments that it goes through")


class MidpointOptions(GuidedOptions):
    steps: int = Field(20, ge=1, le=1000, description="moments that it goes through")


class ImageToImageOptions(GuidedOptions):
    strength: float = Field(
        0.5, ge=0, le=1, description="how far to noise and back: 0 is the picture itself, 1 a new one"
    )
    steps: int = Field(
        18, ge=1, le=1000, description="noise levels of the whole way, of which a share is gone"
    )


class KeepingOptions(GuidedOptions):
    """What is known of a picture is kept while the rest comes out of noise."""

    steps: int = Field(36, ge=1, le=1000, description="noise levels that it goes through")
    eta: float = Field(1.0, ge=0, le=1, description="fresh noise a step, so that errors are forgotten")
    rounds: int = Field(
        4, ge=1, le=100, description="times that each step is taken, so that what is made fits what is known"
    )


class RestoreOptions(KeepingOptions):
    """With a mask what it leaves is kept; without one the picture is taken to be noisy."""

    noise: float = Field(
        0.2, ge=0, le=2, description="without a mask: the deviation of the noise, for pixels in -1 .. 1"
    )


class RefineOptions(KeepingOptions):
    factor: int = Field(
        2,
        ge=1,
        le=64,
        description="side of the squares whose mean is kept, what is in them made; 1 for each pixel",
    )
    grey: bool = Field(False, description="the mean of a pixel's colours is kept, and the colours are made")


class InterpolateOptions(GuidedOptions):
    steps: int = Field(18, ge=1, le=1000, description="noise levels that it goes through")
    stops: int = Field(8, ge=2, le=10_000, description="samples from one end of a walk to the next")
