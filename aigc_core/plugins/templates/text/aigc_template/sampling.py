"""How samples are drawn: all randomness comes from the block, so sample i of a seed is always the same."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_template.config import TemplateSampling
from aigc_template.network import START, TemplateGenerator


class TemplateSampler(Sampler[TemplateGenerator, TemplateSampling]):
    """Byte by byte, from a newline on."""

    def sample(self, generator: TemplateGenerator, block: Block) -> Tensor:
        """[block.size, length] byte values."""
        (length,) = generator.output.shape
        uniform = torch.special.ndtr(block.randn(length))  # the normal's CDF: values from 0 to 1
        last = torch.full((block.size, 1), START, device=block.device)
        state, drawn = None, []
        for place in range(length):
            logits, state = generator(last, state)
            last = self.draw(logits[:, -1], uniform[:, place, None])
            drawn.append(last)
        return torch.cat(drawn, dim=1)

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """One byte a row, [N, 1], from logits [N, 256] and uniform values [N, 1]."""
        logits = logits.double() / self.options.temperature
        if self.options.top_k:
            least = logits.topk(self.options.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        cumulative = logits.softmax(1).cumsum(1)
        # Where the cumulative probability passes the value; its end may miss 1 by a rounding error.
        return torch.searchsorted(cumulative, uniform.double() * cumulative[:, -1:])
