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
            summary="Recurrent language model over bytes",
            modality="text",
            license="MIT",
            params="0.16 M at 64",
            generator="aigc_template.network:TemplateGenerator",
            config="aigc_template.config:TemplateConfig",
            trainer="aigc_template.training:TemplateTrainer",
            trainer_config="aigc_template.config:TemplateTraining",
            data=DataNeeds(modality="text", smallest=(2,), largest=(1024,)),
            samplers={
                "ancestral": SamplerSpec(
                    sampler="aigc_template.sampling:TemplateSampler",
                    config="aigc_template.config:TemplateSampling",
                    summary="byte by byte, each given those before it",
                    nfe="the bytes of an item",
                ),
            },
        )
    )
