"""How pictures are drawn from a VQ-VAE."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_vae.config import VQPriorOptions, VQReconstructOptions
from aigc_vae.vq import VQVAE
from aigc_vae.vq_prior import pick


class VQPrior(Sampler[VQVAE, VQPriorOptions]):
    """Codes from the prior, one after the other."""

    def sample(self, generator: VQVAE, block: Block) -> Tensor:
        uniform = torch.special.ndtr(block.randn(generator.places).double())

        def choose(place: int, logits: Tensor) -> Tensor:
            return pick(logits, uniform[:, place], self.options.temperature, self.options.top_k)

        return generator.decode(generator.prior.draw(block.size, choose))


class VQReconstruct(Sampler[VQVAE, VQReconstructOptions]):
    """Given pictures, through their codes."""

    def sample(self, generator: VQVAE, block: Block) -> Tensor:
        assert block.images is not None
        return generator.decode(generator.encode(block.images))
