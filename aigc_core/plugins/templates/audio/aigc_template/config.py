"""The options: they make the help page, the checks and the record in the weights. No torch here."""

from __future__ import annotations

from aigc_core.options import Field, Options, TrainingOptions


class TemplateConfig(Options):
    latent: int = Field(16, ge=1, le=1024, description="size of the latent")
    width: int = Field(48, ge=4, le=1024, description="channels of the convolutions")


class TemplateTraining(TrainingOptions):
    batch_size: int = Field(32, ge=1, le=65536, description="sounds a step, over all processes")
    lr: float = Field(2e-3, gt=0, le=10, description="learning rate")
    kl_weight: float = Field(
        30.0,
        ge=0,
        le=1e6,
        description="of the KL in the loss; more: better samples from the prior, less detail",
    )


class TemplateSampling(Options):
    iterations: int = Field(32, ge=1, le=1000, description="rounds of Griffin-Lim, which finds the phases")
