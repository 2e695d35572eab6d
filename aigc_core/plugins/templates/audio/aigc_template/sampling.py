"""How samples are drawn: all randomness comes from the block, so sample i of a seed is always the same."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_template.config import TemplateSampling
from aigc_template.network import BINS, FFT, FLOOR, HOP, SPAN, TemplateGenerator, stft


class TemplateSampler(Sampler[TemplateGenerator, TemplateSampling]):
    """Decodes latents from the prior, and finds phases for the magnitudes."""

    def sample(self, generator: TemplateGenerator, block: Block) -> Tensor:
        """[block.size, 1, T] in -1 .. 1."""
        spectrum = generator.decode(block.randn(generator.config.latent)).float()
        magnitude = ((spectrum * SPAN).clamp_max(math.log(FFT)).exp() - FLOOR).clamp_min(0)
        sound = self.invert(magnitude, generator.data.shape[1])
        peak = sound.abs().amax(dim=1, keepdim=True).clamp_min(1)
        return (sound / peak)[:, None]

    def invert(self, magnitude: Tensor, length: int) -> Tensor:
        """Magnitudes [N, BINS, frames] to sounds [N, length] that have about these (Griffin and Lim 1984)."""
        window = torch.hann_window(FFT, device=magnitude.device)
        bins, frames = torch.arange(BINS), torch.arange(magnitude.shape[2])
        # Each bin starts as a steady tone at its own frequency: a fixed start, so the same sound each time.
        turns = (bins[:, None] * frames * HOP % FFT / FFT).to(magnitude.device)
        spectrum = torch.polar(magnitude, (2 * math.pi * turns).expand_as(magnitude))
        for _ in range(self.options.iterations):
            spectrum = stft(torch.istft(spectrum, FFT, HOP, window=window, length=length))
            # The small term keeps the phase of what is nearly silent from turning on a rounding error.
            spectrum = magnitude * spectrum / (spectrum.abs() + FLOOR)
        return torch.istft(spectrum, FFT, HOP, window=window, length=length)
