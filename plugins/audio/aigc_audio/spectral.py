"""Distances of sounds by their spectra, to train by."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from aigc_audio.mel import FLOOR

WINDOWS: Final = (0.02, 0.045, 0.09)
"""Seconds of the three resolutions' windows."""


class SpectralDistance(nn.Module):
    """The multi-resolution STFT distance (Yamamoto et al. 2020): spectral convergence and logarithms of magnitudes."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        sizes = [max(16, round(seconds * rate)) for seconds in WINDOWS]
        self.windows = nn.ParameterList(
            nn.Parameter(torch.hann_window(size), requires_grad=False) for size in sizes
        )

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """[N, T] and [N, T] to [N]."""
        total = made.new_zeros(len(made))
        for window in self.windows:
            a, b = _magnitudes(made, window), _magnitudes(real, window)
            # A window's worth of faint noise: what is silent is not divided by nothing.
            floor = 0.01 * float(window.sum())
            total = total + (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1).clamp_min(floor)
            total = total + (a.clamp_min(FLOOR).log() - b.clamp_min(FLOOR).log()).abs().flatten(1).mean(1)
        return total / len(self.windows)


def _magnitudes(sound: Tensor, window: Tensor) -> Tensor:
    size = len(window)
    return torch.stft(
        sound.float(), 1 << (size - 1).bit_length(), max(1, size // 4), size, window,
        center=True, pad_mode="constant", return_complex=True,
    ).abs()  # fmt: skip
