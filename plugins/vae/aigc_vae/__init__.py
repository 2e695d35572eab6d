"""The registration module of aigc-vae: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar

SAMPLERS = {
    "prior": SamplerSpec(
        sampler="aigc_vae.samplers:Prior",
        config="aigc_vae.config:PriorOptions",
        summary="latents from the standard normal",
    ),
    "reconstruct": SamplerSpec(
        sampler="aigc_vae.samplers:Reconstruct",
        config="aigc_vae.config:ReconstructOptions",
        summary="encodes given pictures and decodes them again",
        nfe="2",
        needs=("image",),
    ),
    "interpolate": SamplerSpec(
        sampler="aigc_vae.samplers:Interpolate",
        config="aigc_vae.config:InterpolateOptions",
        summary="walks from each sample of the prior to the next",
    ),
}


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    data = DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 64, 64))
    registry.add(
        ModelSpec(
            id="vae/mlp",
            summary="Fully connected VAE",
            modality="image",
            license="MIT",
            paper="Kingma and Welling 2014, arXiv:1312.6114",
            params="1.1 M at 1x28x28",
            generator="aigc_vae.mlp:MLPVAE",
            config="aigc_vae.config:MLPConfig",
            trainer="aigc_vae.trainer:VAETrainer",
            trainer_config="aigc_vae.config:VAETraining",
            data=data,
            samplers=SAMPLERS,
        )
    )
    registry.add(
        ModelSpec(
            id="vae/conv",
            summary="Convolutional VAE, optimal-variance likelihood",
            modality="image",
            license="MIT",
            paper="Kingma and Welling 2014, arXiv:1312.6114; Rybkin et al. 2021, arXiv:2006.13202",
            params="0.5 M at 1x28x28",
            generator="aigc_vae.conv:ConvVAE",
            config="aigc_vae.config:ConvConfig",
            trainer="aigc_vae.trainer:VAETrainer",
            trainer_config="aigc_vae.config:VAETraining",
            data=data,
            samplers=SAMPLERS,
        )
    )
