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

VQ_SAMPLERS = {
    "prior": SamplerSpec(
        sampler="aigc_vae.vq_samplers:VQPrior",
        config="aigc_vae.config:VQPriorOptions",
        summary="codes from the prior, one after the other",
        nfe="codes of a picture + 1",
        block=256,
    ),
    "reconstruct": SamplerSpec(
        sampler="aigc_vae.vq_samplers:VQReconstruct",
        config="aigc_vae.config:VQReconstructOptions",
        summary="encodes given pictures and decodes them again",
        nfe="2",
        needs=("image",),
    ),
    "restore": SamplerSpec(
        sampler="aigc_vae.vq_samplers:VQRestore",
        config="aigc_vae.config:VQRestoreOptions",
        summary="fills in what a mask leaves out, with codes from the prior",
        nfe="tries * rounds * (codes of a picture + 2)",
        needs=("image",),
        takes=("mask",),
        block=16,
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
    registry.add(
        ModelSpec(
            id="vae/vq",
            summary="Vector-quantised VAE with a transformer prior over its codes",
            modality="image",
            license="MIT",
            paper="van den Oord et al. 2017, arXiv:1711.00937",
            params="2.3 M at 1x28x28",
            generator="aigc_vae.vq:VQVAE",
            config="aigc_vae.config:VQConfig",
            trainer="aigc_vae.vq_trainer:VQTrainer",
            trainer_config="aigc_vae.config:VQTraining",
            data=DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 256, 256)),
            samplers=VQ_SAMPLERS,
        )
    )
