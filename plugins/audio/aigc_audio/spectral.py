"""Distances of sounds by their spectra, to train by."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from aigc_audio.mel import FLOOR, full

WINDOWS: Final = (0.02, 0.045, 0.09)
"""Seconds of the three resolutions' windows."""


def distance(asked: Tensor, real: Tensor) -> Tensor:
    """Of logarithms of magnitudes [N, bins, frames] from magnitudes likewise, [N]: spectral convergence, and the mean
    distance of the logarithms."""
    apart: Tensor = (asked.exp() - real).flatten(1).norm(dim=1)
    # A floor, so that what is silent is not divided by nothing.
    convergence: Tensor = apart / real.flatten(1).norm(dim=1).clamp_min(1.0)
    logarithms = asked.clamp_min(math.log(FLOOR)) - real.clamp_min(FLOOR).log()
    return convergence + logarithms.abs().flatten(1).mean(1)


class SpectralDistance(nn.Module):
    """The multi-resolution STFT distance (Yamamoto et al. 2020)."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.sizes = [max(16, round(seconds * rate)) for seconds in WINDOWS]

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """[N, T] and [N, T] to [N]."""
        total = made.new_zeros(len(made))
        for size in self.sizes:
            a, b = magnitudes(made, size), magnitudes(real, size)
            total = total + distance(a.clamp_min(FLOOR).log(), b)
        return total / len(self.sizes)


def magnitudes(sound: Tensor, window: int) -> Tensor:
    """[N, T] to [N, bins, frames], through a Hann window of so many samples; frames are a quarter of it apart."""
    shape = torch.hann_window(window, dtype=full(sound).dtype, device=sound.device)
    return torch.stft(
        full(sound), 1 << (window - 1).bit_length(), max(1, window // 4), window, shape,
        center=True, pad_mode="constant", return_complex=True,
    ).abs()  # fmt: skip
