"""The registration module of aigc-gan: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    data = DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 64, 64))
    prior = SamplerSpec(
        sampler="aigc_gan.samplers:Prior",
        config="aigc_gan.config:PriorOptions",
        summary="latents from the standard normal, through the averaged generator",
    )
    registry.add(
        ModelSpec(
            id="gan/mlp",
            summary="Fully connected GAN, 100-256-512-1024-C*H*W",
            modality="image",
            license="MIT",
            paper="Goodfellow et al. 2014, arXiv:1406.2661",
            params="1.5 M at 1x28x28",
            generator="aigc_gan.mlp:MLPGenerator",
            config="aigc_gan.config:MLPConfig",
            trainer="aigc_gan.mlp:MLPTrainer",
            trainer_config="aigc_gan.config:MLPTraining",
            data=data,
            samplers={"prior": prior},
        )
    )
    registry.add(
        ModelSpec(
            id="gan/dcgan",
            summary="Convolutional GAN: spectral norm, hinge loss, averaged generator",
            modality="image",
            license="MIT",
            paper="Radford et al. 2016, arXiv:1511.06434; Miyato et al. 2018, arXiv:1802.05957",
            params="0.4 M at 1x28x28",
            generator="aigc_gan.dcgan:DCGAN",
            config="aigc_gan.config:DCGANConfig",
            trainer="aigc_gan.dcgan:DCGANTrainer",
            trainer_config="aigc_gan.config:DCGANTraining",
            data=data,
            samplers={"prior": prior},
        )
    )
