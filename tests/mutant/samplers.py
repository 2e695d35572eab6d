"""How pictures are drawn from a GAN."""

from __future__ import annotations

from aigc_mutant.config import PriorOptions
from aigc_mutant.trainer import LatentGenerator
from torch import Tensor

from aigc_core.interfaces import Block, Sampler


class Prior(Sampler[LatentGenerator, PriorOptions]):
    """Latents from the standard normal."""

    def sample(self, generator: LatentGenerator, block: Block) -> Tensor:
        pictures: Tensor = generator(block.randn(generator.latent))
        return pictures
