"""The options of the VAE models; no torch here."""

from __future__ import annotations

from typing import Literal

from aigc_core.options import Field, Options, TrainingOptions


class VAEConfig(Options):
    latent: int = Field(10, ge=1, le=4096, description="size of the latent")
    likelihood: Literal["gaussian", "bernoulli"] = Field(
        "gaussian", description="of the pixels given the latent; gaussian has the optimal variance"
    )


class MLPConfig(VAEConfig):
    hidden: tuple[int, ...] = Field((512, 256), min_length=1, description="widths of the encoder's layers")


class ConvConfig(VAEConfig):
    width: int = Field(
        32, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
    )


class VAETraining(TrainingOptions):
    batch_size: int = Field(128, ge=1, le=65536, description="pictures a step, over all processes")
    lr: float = Field(2e-3, gt=0, le=10, description="peak learning rate")
    warmup: float = Field(
        0.03, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine"
    )


class PriorOptions(Options):
    """The prior has no options."""


class ReconstructOptions(Options):
    noise: bool = Field(False, description="draw the latent from the encoder's distribution; else its mean")


class InterpolateOptions(Options):
    steps: int = Field(8, ge=1, le=10000, description="samples from one end of a walk to the next")
