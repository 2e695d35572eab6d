"""How samples are drawn: all randomness comes from the block."""

from __future__ import annotations

from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_template.config import TemplateSampling
from aigc_template.network import TemplateGenerator


class TemplateSampler(Sampler[TemplateGenerator, TemplateSampling]):
    """Latents from the standard normal, decoded."""

    def sample(self, generator: TemplateGenerator, block: Block) -> Tensor:
        return generator.decode(self.options.temperature * block.randn(generator.latent))
