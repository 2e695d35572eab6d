"""The options: `aigc train -o width=512`. Each has a range and says what it is; no torch here."""

from __future__ import annotations

from aigc_core.options import Field, Options, TrainingOptions


class TemplateConfig(Options):
    """What the network is built from; kept in the weights file."""

    latent: int = Field(16, ge=1, le=1024, description="size of the latent")
    width: int = Field(256, ge=8, le=8192, description="size of the hidden layers")


class TemplateTraining(TrainingOptions):
    """Beside batch_size, lr and epochs, which every training has."""

    lr: float = Field(2e-3, gt=0, le=10, description="learning rate")
    beta: float = Field(1.0, ge=0, le=100, description="weight of the KL term")


class TemplateSampling(Options):
    """What `aigc sample -s temperature=0.8` can set."""

    temperature: float = Field(1.0, ge=0, le=10, description="standard deviation of the latents")
