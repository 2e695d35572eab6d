"""The registration module of the backend that the kit's tests spoil: a small convolutional GAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    data = DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 64, 64))
    prior = SamplerSpec(
        sampler="aigc_mutant.samplers:Prior",
        config="aigc_mutant.config:PriorOptions",
        summary="latents from the standard normal, through the averaged generator",
    )
    registry.add(
        ModelSpec(
            id="mutant/dcgan",
            summary="Convolutional GAN: spectral norm, hinge loss, averaged generator",
            modality="image",
            license="MIT",
            paper="Radford et al. 2016, arXiv:1511.06434; Miyato et al. 2018, arXiv:1802.05957",
            params="0.4 M at 1x28x28",
            generator="aigc_mutant.dcgan:DCGAN",
            config="aigc_mutant.config:DCGANConfig",
            trainer="aigc_mutant.dcgan:DCGANTrainer",
            trainer_config="aigc_mutant.config:DCGANTraining",
            data=data,
            samplers={"prior": prior},
        )
    )
