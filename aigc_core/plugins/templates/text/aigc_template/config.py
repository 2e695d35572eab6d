"""The options: they make the help page, the checks and the record in the weights. No torch here."""

from __future__ import annotations

from aigc_core.options import Field, Options, TrainingOptions


class TemplateConfig(Options):
    width: int = Field(128, ge=8, le=2048, description="size of the recurrent state")


class TemplateTraining(TrainingOptions):
    batch_size: int = Field(32, ge=1, le=65536, description="texts a step, over all processes")
    lr: float = Field(5e-3, gt=0, le=10, description="learning rate")
    clip: float = Field(1.0, gt=0, le=1000, description="largest norm of the gradient")


class TemplateSampling(Options):
    temperature: float = Field(
        0.8, gt=0, le=100, description="below 1 more likely bytes, above 1 wilder ones"
    )
    top_k: int = Field(0, ge=0, le=256, description="draw among the likeliest bytes alone; 0: among all")
