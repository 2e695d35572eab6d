"""The registration module of aigc-vae: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, MetricSpec, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar

SAMPLERS = {
    "prior": SamplerSpec(
        sampler="aigc_vae.samplers:Prior",
        config="aigc_vae.config:PriorOptions",
        summary="latents from the standard normal",
    ),
    "gmm": SamplerSpec(
        sampler="aigc_vae.samplers:Mixture",
        config="aigc_vae.config:MixtureOptions",
        summary="latents from a mixture of normals, fitted to those of the training",
        fitted=True,
    ),
    "two-stage": SamplerSpec(
        sampler="aigc_vae.samplers:TwoStage",
        config="aigc_vae.config:TwoStageOptions",
        summary="latents from a second VAE, fitted to those of the training",
        fitted=True,
    ),
    "reconstruct": SamplerSpec(
        sampler="aigc_vae.samplers:Reconstruct",
        config="aigc_vae.config:ReconstructOptions",
        summary="encodes given pictures and decodes them again",
        nfe="2",
        needs=("image",),
    ),
    "restore": SamplerSpec(
        sampler="aigc_vae.editing:Restore",
        config="aigc_vae.config:RestoreOptions",
        summary="fills in what is masked of given pictures",
        nfe="2 * rounds",
        needs=("image",),
        takes=("mask",),
    ),
    "attribute": SamplerSpec(
        sampler="aigc_vae.editing:Attribute",
        config="aigc_vae.config:AttributeOptions",
        summary="takes given pictures from class to class in latent space",
        nfe="2",
        needs=("image",),
        fitted=True,
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
        block=4,
    ),
}

RAE_SAMPLERS = SAMPLERS | {
    "prior": SamplerSpec(
        sampler="aigc_vae.samplers:Prior",
        config="aigc_vae.config:PriorOptions",
        summary="latents from a normal with the mean and variance of the training's",
    ),
}
"""It has no prior of its own."""


@hookimpl
def aigc_register_metrics(registry: Registrar) -> None:
    judged = ("vae/conditional", "vae/conv", "vae/mlp")
    registry.add(
        MetricSpec(
            name="elbo",
            summary="evidence lower bound of held-out pictures, nats and bits a dimension",
            modality="image",
            metric="aigc_vae.likelihood:ELBO",
            lower_is_better=False,
            models=judged,
        )
    )
    registry.add(
        MetricSpec(
            name="iwae",
            summary="importance-weighted bound of 64 latents a picture, of 1,000 pictures",
            modality="image",
            metric="aigc_vae.likelihood:IWAE",
            lower_is_better=False,
            models=judged,
        )
    )
    registry.add(
        MetricSpec(
            name="reconstruction",
            summary="mean squared error of held-out pictures, encoded and decoded; pixels in 0 .. 1",
            modality="image",
            metric="aigc_vae.reconstruction:Reconstruction",
            models=(*judged, "vae/rae", "vae/vq"),
        )
    )


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    data = DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 256, 256))
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
            id="vae/rae",
            summary="Regularised autoencoder, deterministic",
            modality="image",
            license="MIT",
            paper="Ghosh et al. 2020, arXiv:1903.12436",
            params="0.5 M at 1x28x28",
            generator="aigc_vae.rae:RAE",
            config="aigc_vae.config:RAEConfig",
            trainer="aigc_vae.rae_trainer:RAETrainer",
            trainer_config="aigc_vae.config:RAETraining",
            data=data,
            samplers=RAE_SAMPLERS,
        )
    )
    registry.add(
        ModelSpec(
            id="vae/conditional",
            summary="Convolutional VAE that is told classes",
            modality="image",
            license="MIT",
            paper="Sohn et al. 2015, Learning Structured Output Representation",
            params="0.8 M at 1x28x28",
            generator="aigc_vae.conditional:ConditionalVAE",
            config="aigc_vae.config:ConvConfig",
            trainer="aigc_vae.trainer:VAETrainer",
            trainer_config="aigc_vae.config:VAETraining",
            data=DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 256, 256), labels=True),
            samplers=SAMPLERS,
            conditions=("label",),
        )
    )
    registry.add(
        ModelSpec(
            id="vae/conv",
            summary="Convolutional VAE, optimal-variance likelihood",
            modality="image",
            license="MIT",
            paper="Kingma and Welling 2014, arXiv:1312.6114; Rybkin et al. 2021, arXiv:2006.13202",
            params="0.6 M at 1x28x28",
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
