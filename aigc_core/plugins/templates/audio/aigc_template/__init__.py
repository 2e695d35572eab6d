"""The registration module: data only. It is imported for every listing, so it imports no torch."""

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
            summary="VAE over spectrograms, inverted by Griffin-Lim",
            modality="audio",
            license="MIT",
            paper="Kingma and Welling 2014, arXiv:1312.6114; Griffin and Lim 1984",
            params="0.12 M at 1x8000",
            generator="aigc_template.network:TemplateGenerator",
            config="aigc_template.config:TemplateConfig",
            trainer="aigc_template.training:TemplateTrainer",
            trainer_config="aigc_template.config:TemplateTraining",
            data=DataNeeds(modality="audio", smallest=(1, 256), largest=(1, 16384)),
            samplers={
                "prior": SamplerSpec(
                    sampler="aigc_template.sampling:TemplateSampler",
                    config="aigc_template.config:TemplateSampling",
                    summary="latents from the standard normal",
                ),
            },
        )
    )
