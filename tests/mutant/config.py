"""The options of the GAN; no torch here."""

from __future__ import annotations

from typing import Literal

from aigc_core.options import Field, Options, TrainingOptions


class DCGANConfig(Options):
    latent: int = Field(64, ge=1, le=4096, description="size of the latent")
    width: int = Field(
        24, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
    )
    grid: int = Field(7, ge=2, le=64, description="about how many cells wide the coarsest grid is")
    plain: bool = Field(
        False, description="strided layers alone, as in the paper; else each network has one of stride 1 too"
    )


class GANTraining(TrainingOptions):
    """Adam for both networks, one step each a batch."""

    critic_lr: float | None = Field(None, gt=0, le=10, description="the critic's learning rate; none: as lr")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's beta 1")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's beta 2")
    objective: Literal["hinge", "nonsaturating"] = Field(
        "hinge", description="what the two networks play for"
    )
    ema_half_life: float = Field(
        50_000, gt=0, description="half-life of the generator's moving average, in pictures"
    )


class DCGANTraining(GANTraining):
    lr: float = Field(5e-4, gt=0, le=10, description="the generator's learning rate")


class PriorOptions(Options):
    """The prior has no options."""
