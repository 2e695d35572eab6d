"""The registration module of aigc-template: data only, no torch. It is imported for every listing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    registry.add(
        ModelSpec(
            id="template/small",
            summary="A small VAE for pictures",
            modality="image",
            license="MIT",
            params="0.4 M at 1x28x28",
            generator="aigc_template.network:TemplateGenerator",
            config="aigc_template.config:TemplateConfig",
            trainer="aigc_template.training:TemplateTrainer",
            trainer_config="aigc_template.config:TemplateTraining",
            data=DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 64, 64)),
            samplers={
                "prior": SamplerSpec(
                    sampler="aigc_template.sampling:TemplateSampler",
                    config="aigc_template.config:TemplateSampling",
                    summary="latents from the standard normal",
                )
            },
        )
    )
