"""The registration module of aigc-gan: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar

SAMPLERS = {
    "prior": SamplerSpec(
        sampler="aigc_gan.samplers:Prior",
        config="aigc_gan.config:PriorOptions",
        summary="latents from the standard normal, through the averaged generator",
    ),
    "truncated": SamplerSpec(
        sampler="aigc_gan.samplers:Truncated",
        config="aigc_gan.config:TruncatedOptions",
        summary="latents from near the middle: more typical pictures, less diverse",
    ),
    "interpolate": SamplerSpec(
        sampler="aigc_gan.samplers:Interpolate",
        config="aigc_gan.config:InterpolateOptions",
        summary="walks from each sample of the prior to the next",
    ),
    "top-by-critic": SamplerSpec(
        sampler="aigc_gan.samplers:TopByCritic",
        config="aigc_gan.config:TopOptions",
        summary="of several pictures the one that the kept critic rates highest",
        nfe="2 * candidates",
        fitted=True,
    ),
    "restore": SamplerSpec(
        sampler="aigc_gan.restoration:Restore",
        config="aigc_gan.config:RestoreOptions",
        summary="searches for the latent that makes what is known of a given picture",
        nfe="candidates + 2 * restarts * steps",
        needs=("image",),
        takes=("mask",),
        block=4,
    ),
}
DATA = DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 256, 256))


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
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
            trainer="aigc_gan.trainer:GANTrainer",
            trainer_config="aigc_gan.config:MLPTraining",
            data=DATA,
            samplers=SAMPLERS,
        )
    )
    registry.add(
        ModelSpec(
            id="gan/dcgan",
            summary="Convolutional GAN: R1 penalty, averaged generator",
            modality="image",
            license="MIT",
            paper="Radford et al. 2016, arXiv:1511.06434; Mescheder et al. 2018, arXiv:1801.04406",
            params="0.4 M at 1x28x28",
            generator="aigc_gan.dcgan:DCGAN",
            config="aigc_gan.config:DCGANConfig",
            trainer="aigc_gan.trainer:GANTrainer",
            trainer_config="aigc_gan.config:DCGANTraining",
            data=DATA,
            samplers=SAMPLERS,
        )
    )
    registry.add(
        ModelSpec(
            id="gan/resnet",
            summary="GAN of residual blocks",
            modality="image",
            license="MIT",
            paper="Miyato et al. 2018, arXiv:1802.05957; He et al. 2016, arXiv:1512.03385",
            params="0.2 M at 1x28x28",
            generator="aigc_gan.resnet:ResNetGAN",
            config="aigc_gan.config:ResNetConfig",
            trainer="aigc_gan.trainer:GANTrainer",
            trainer_config="aigc_gan.config:ResNetTraining",
            data=DATA,
            samplers=SAMPLERS,
        )
    )
    registry.add(
        ModelSpec(
            id="gan/conditional",
            summary="Convolutional GAN that is told the class, projection critic",
            modality="image",
            license="MIT",
            paper="Mirza and Osindero 2014, arXiv:1411.1784; Miyato and Koyama 2018, arXiv:1802.05637",
            params="0.5 M at 1x28x28",
            generator="aigc_gan.conditional:ConditionalGAN",
            config="aigc_gan.config:ConditionalConfig",
            trainer="aigc_gan.trainer:GANTrainer",
            trainer_config="aigc_gan.config:ConditionalTraining",
            data=DataNeeds(modality="image", smallest=DATA.smallest, largest=DATA.largest, labels=True),
            samplers=SAMPLERS,
            conditions=("label",),
        )
    )
