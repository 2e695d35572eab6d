"""The options of the GAN models; no torch here."""

from __future__ import annotations

from typing import Literal

from aigc_core.options import Field, Options, TrainingOptions

Change = Literal["colour", "translation", "cutout"]


class MLPConfig(Options):
    latent: int = Field(100, ge=1, le=4096, description="size of the latent")
    hidden: tuple[int, ...] = Field((256, 512, 1024), min_length=1, description="widths of the hidden layers")


class DCGANConfig(Options):
    latent: int = Field(64, ge=1, le=4096, description="size of the latent")
    width: int = Field(
        24, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
    )
    grid: int = Field(7, ge=2, le=64, description="about how many cells wide the coarsest grid is")
    plain: bool = Field(
        False, description="strided layers alone, as in the paper; else each network has one of stride 1 too"
    )


class ConditionalConfig(DCGANConfig):
    embedding: int = Field(32, ge=1, le=4096, description="size of what a class adds to the latent")


class ResNetConfig(Options):
    latent: int = Field(64, ge=1, le=4096, description="size of the latent")
    width: int = Field(
        16, ge=4, le=1024, description="channels of the finest blocks; doubled at each coarser one"
    )
    grid: int = Field(7, ge=2, le=64, description="about how many cells wide the coarsest grid is")


class GANTraining(TrainingOptions):
    """Adam for both networks, one step each a batch."""

    critic_lr: float | None = Field(None, gt=0, le=10, description="the critic's learning rate; none: as lr")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's beta 1")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's beta 2")
    decay: float = Field(
        0.5, ge=0, le=1, description="the last share of the steps, in which both learning rates fall to 0"
    )
    objective: Literal["hinge", "nonsaturating", "lsgan", "wgan"] = Field(
        "nonsaturating", description="what the two networks play for"
    )
    spectral_norm: bool = Field(False, description="every layer of the critic has spectral norm 1")
    r1: float = Field(1.0, ge=0, le=1e6, description="weight of the critic's squared slope at real pictures")
    gradient_penalty: float | None = Field(
        None, ge=0, le=1e6, description="weight of WGAN-GP's penalty; none: 10 for wgan, else 0"
    )
    lazy: int = Field(
        16, ge=1, le=1024, description="steps from one penalty to the next, which weighs as much more"
    )
    augment: tuple[Change, ...] = Field(
        (), description="what DiffAugment changes, for few pictures: colour, translation, cutout"
    )
    ema_half_life: float = Field(
        50_000, gt=0, description="half-life of the generator's moving average, in pictures"
    )
    keep_critic: bool = Field(True, description="keep the critic with the weights, for top-by-critic")


class MLPTraining(GANTraining):
    batch_size: int = Field(128, ge=1, le=65536, description="pictures a step, over all processes")
    lr: float = Field(1e-3, gt=0, le=10, description="the generator's learning rate")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's beta 1")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's beta 2")
    epochs: float = Field(20.0, gt=0, description="passes over the data, where --steps is not given")
    r1: float = Field(0.0, ge=0, le=1e6, description="weight of the critic's squared slope at real pictures")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout in the critic")


class DCGANTraining(GANTraining):
    lr: float = Field(1e-3, gt=0, le=10, description="the generator's learning rate")


class ConditionalTraining(GANTraining):
    lr: float = Field(2e-3, gt=0, le=10, description="the generator's learning rate")


class ResNetTraining(GANTraining):
    lr: float = Field(1e-3, gt=0, le=10, description="the generator's learning rate")


class PriorOptions(Options):
    """The prior has no options."""


class TruncatedOptions(Options):
    threshold: float = Field(
        1.0, gt=0, le=10, description="how far from 0 a latent may lie: nearer is more typical, less diverse"
    )


class InterpolateOptions(Options):
    steps: int = Field(8, ge=1, le=10_000, description="samples from one of the prior's to its next")


class TopOptions(Options):
    candidates: int = Field(4, ge=1, le=1024, description="pictures made for each one that is kept")


class RestoreOptions(Options):
    candidates: int = Field(
        128, ge=1, le=65536, description="latents that are tried before the search begins"
    )
    restarts: int = Field(3, ge=1, le=1024, description="the best of them, that the search goes on from")
    steps: int = Field(80, ge=0, le=100_000, description="steps of Adam from each of these")
    lr: float = Field(0.1, gt=0, le=10, description="Adam's learning rate, in units of the prior")
    prior: float = Field(
        1e-3, ge=0, le=1e3, description="weight of a latent's squared values beside the pixels' squared error"
    )
