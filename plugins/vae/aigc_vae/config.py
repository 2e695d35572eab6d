"""The options of the VAE models; no torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from aigc_core.options import Field, Options, TrainingOptions


class LatentConfig(Options):
    latent: int = Field(16, ge=1, le=4096, description="size of the latent")


class VAEConfig(LatentConfig):
    likelihood: Literal["gaussian", "bernoulli"] = Field(
        "gaussian", description="of the pixels given the latent; gaussian has the optimal variance"
    )


class MLPConfig(VAEConfig):
    hidden: tuple[int, ...] = Field((512, 256), min_length=1, description="widths of the encoder's layers")


class ConvConfig(VAEConfig):
    width: int = Field(
        32, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
    )


class RAEConfig(LatentConfig):
    width: int = Field(
        32, ge=4, le=1024, description="channels of the finest layer; doubled at each coarser one"
    )


class LatentTraining(TrainingOptions):
    """What all models with a continuous latent can be told."""

    batch_size: int = Field(128, ge=1, le=65536, description="pictures a step, over all processes")
    lr: float = Field(2e-3, gt=0, le=10, description="peak learning rate")
    warmup: float = Field(
        0.03, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine"
    )
    gmm_components: int = Field(
        100, ge=1, le=10000, description="of the mixture that gmm draws from; classes share them"
    )
    two_stage_steps: int = Field(
        3000, ge=1, le=1000000, description="of the fit of two-stage; a short training and few data have less"
    )


class VAETraining(LatentTraining):
    beta: float = Field(
        1.0, ge=0, le=10000, description="weight of the KL term; 1 is the evidence bound, more is beta-VAE"
    )


class RAETraining(LatentTraining):
    regulariser: Literal["l2", "gradient", "none"] = Field(
        "l2",
        description="of the decoder: l2 of its weights, gradient of what it makes by the latent, or none",
    )
    l2: float = Field(1e-5, ge=0, le=10, description="weight of the decoder's l2 norm")
    gradient: float = Field(1e-2, ge=0, le=1e6, description="weight of the gradient's squared norm")
    norm: float = Field(1e-2, ge=0, le=1e6, description="weight of the squared norm of latents")


class PriorOptions(Options):
    """The prior has no options."""


class MixtureOptions(Options):
    """The mixture is fitted as the model is trained."""

    temperature: float = Field(
        1.0,
        ge=0,
        le=10,
        description="spread of each of its parts: 1 as fitted; less is more typical, less diverse",
    )


class TwoStageOptions(Options):
    """The second stage is fitted as the model is trained."""


class ReconstructOptions(Options):
    noise: bool = Field(False, description="draw the latent from the encoder's distribution; else its mean")


class RestoreOptions(Options):
    rounds: int = Field(50, ge=1, le=100000, description="times that what is masked is encoded and decoded")


class AttributeOptions(Options):
    to_label: str = Field("", description="name of the class to go to; by default each in turn")
    from_label: str = Field("", description="name of the class that pictures are of; by default the nearest")
    strength: float = Field(
        1.0, ge=-100, le=100, description="share of the way: 0 stays, 1 arrives, 2 exaggerates"
    )


class InterpolateOptions(Options):
    steps: int = Field(8, ge=1, le=10000, description="samples from one end of a walk to the next")


class VQConfig(Options):
    codes: int = Field(256, ge=2, le=65536, description="vectors in the codebook")
    code_size: int = Field(32, ge=4, le=1024, description="length of a vector of the codebook")
    grid: int = Field(8, ge=2, le=64, description="rows and columns of codes a picture has at most")
    width: int = Field(32, ge=4, le=1024, description="channels of the finest layer; doubled at the next one")
    blocks: int = Field(2, ge=0, le=64, description="residual blocks at the grid, before it and after it")
    prior_width: int = Field(192, ge=8, le=4096, description="channels of the prior, a transformer")
    prior_layers: int = Field(4, ge=1, le=64, description="layers of the prior")
    prior_heads: int = Field(4, ge=1, le=64, description="heads of its attention")

    @model_validator(mode="after")
    def _heads(self) -> VQConfig:
        if self.prior_width % self.prior_heads:
            raise ValueError(f"prior_heads must divide prior_width, {self.prior_width}")
        return self


class VQTraining(TrainingOptions):
    batch_size: int = Field(64, ge=1, le=65536, description="pictures a step, over all processes")
    lr: float = Field(2e-3, gt=0, le=10, description="peak learning rate of encoder and decoder")
    prior_lr: float = Field(2e-3, gt=0, le=10, description="peak learning rate of the prior")
    autoencoder: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the steps that fit encoder and decoder; the others fit the prior",
    )
    commitment: float = Field(
        0.25, ge=0, le=100, description="weight of what keeps the encoder near the codebook"
    )
    decay: float = Field(0.99, ge=0, lt=1, description="a step, of the moving averages that are the codebook")
    restart: float = Field(
        0.05, ge=0, le=1, description="codes used less than so much of the mean are restarted; 0 for none"
    )
    warmup: float = Field(
        0.03, ge=0, lt=1, description="share of its steps in which a rate rises; then a cosine"
    )


class VQPriorOptions(Options):
    temperature: float = Field(
        1.0, ge=0, le=10, description="of the codes' distribution; 0 for the likeliest"
    )
    top_k: int = Field(0, ge=0, le=65536, description="draw among so many of the likeliest codes; 0 for all")


class VQReconstructOptions(Options):
    """Reconstruction by codes has no options."""


class VQRestoreOptions(VQPriorOptions):
    tries: int = Field(8, ge=1, le=256, description="drawn for each picture; the best fitting one is kept")
    rounds: int = Field(
        2, ge=1, le=16, description="times that what was drawn is encoded again with the rest"
    )
