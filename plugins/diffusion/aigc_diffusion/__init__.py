"""The registration module of aigc-diffusion: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar

SAMPLERS = {
    "dpmpp-2m": SamplerSpec(
        sampler="aigc_diffusion.samplers:Multistep",
        config="aigc_diffusion.config:MultistepOptions",
        summary="DPM-Solver++ 2M: second order by one look at the network a step",
        nfe="steps",
    ),
    "heun": SamplerSpec(
        sampler="aigc_diffusion.samplers:Heun",
        config="aigc_diffusion.config:HeunOptions",
        summary="Heun's method along EDM's noise levels",
        nfe="2 * steps - 1",
    ),
    "ddim": SamplerSpec(
        sampler="aigc_diffusion.samplers:DDIM",
        config="aigc_diffusion.config:DDIMOptions",
        summary="deterministic, along DDPM's noise levels; with eta as much chance as wanted",
        nfe="steps",
    ),
    "ddpm": SamplerSpec(
        sampler="aigc_diffusion.samplers:DDPM",
        config="aigc_diffusion.config:DDPMOptions",
        summary="ancestral: fresh noise in each step",
        nfe="steps",
        block=16,
    ),
    "euler": SamplerSpec(
        sampler="aigc_diffusion.samplers:Euler",
        config="aigc_diffusion.config:EulerOptions",
        summary="even steps of a rectified flow from noise to picture",
        nfe="steps",
    ),
    "midpoint": SamplerSpec(
        sampler="aigc_diffusion.samplers:Midpoint",
        config="aigc_diffusion.config:MidpointOptions",
        summary="the same of second order",
        nfe="2 * steps",
    ),
    "image-to-image": SamplerSpec(
        sampler="aigc_diffusion.editing:ImageToImage",
        config="aigc_diffusion.config:ImageToImageOptions",
        summary="a given picture, with noise and back: the more, the less is left of it",
        nfe="strength * steps",
        needs=("image",),
        block=8,
    ),
    "restore": SamplerSpec(
        sampler="aigc_diffusion.editing:Restore",
        config="aigc_diffusion.config:RestoreOptions",
        summary="fills in what a mask leaves out; without a mask takes noise out",
        nfe="rounds * steps",
        needs=("image",),
        takes=("mask",),
        block=8,
    ),
    "refine": SamplerSpec(
        sampler="aigc_diffusion.editing:Refine",
        config="aigc_diffusion.config:RefineOptions",
        summary="makes the detail of a coarse picture, or the colours of a grey one",
        nfe="rounds * steps",
        needs=("image",),
        block=8,
    ),
    "interpolate": SamplerSpec(
        sampler="aigc_diffusion.editing:Interpolate",
        config="aigc_diffusion.config:InterpolateOptions",
        summary="walks from each sample to the next, or from one given picture to another",
        nfe="2 * steps - 1",
        takes=("image",),
        block=8,
    ),
}
"""NFE are looks at the network without guidance; with it each takes two passes."""


DATA = DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 256, 256), moments=True)


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    registry.add(
        ModelSpec(
            id="diffusion/unet",
            summary="Diffusion by a small U-Net, EDM or rectified flow; told classes where there are any",
            modality="image",
            license="MIT",
            paper="Ho et al. 2020, arXiv:2006.11239; Karras et al. 2022, arXiv:2206.00364",
            params="2.2 M at 1x28x28",
            generator="aigc_diffusion.unet:UNet",
            config="aigc_diffusion.config:UNetConfig",
            trainer="aigc_diffusion.trainer:DiffusionTrainer",
            trainer_config="aigc_diffusion.config:DiffusionTraining",
            data=DATA,
            samplers=SAMPLERS,
            conditions=("label", "prompt"),
        )
    )
    registry.add(
        ModelSpec(
            id="diffusion/dit",
            summary="Diffusion by a small transformer; told classes where there are any",
            modality="image",
            license="MIT",
            paper="Peebles and Xie 2023, arXiv:2212.09748; Karras et al. 2022, arXiv:2206.00364",
            params="4.3 M at 1x28x28",
            generator="aigc_diffusion.dit:DiT",
            config="aigc_diffusion.config:DiTConfig",
            trainer="aigc_diffusion.trainer:DiffusionTrainer",
            trainer_config="aigc_diffusion.config:DiffusionTraining",
            data=DATA,
            samplers=SAMPLERS,
            conditions=("label", "prompt"),
        )
    )
