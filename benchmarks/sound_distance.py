"""How far a sound is from another: the multi-resolution STFT distance."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOWS = (0.02, 0.04, 0.08)
"""Seconds of the three resolutions' windows."""
FLOOR = 1e-5
"""Magnitudes below it are taken for silence."""


def stft_distance(a: Tensor, b: Tensor, rate: int) -> tuple[float, float]:
    """Of sounds [T] and [T'], b being the right one: spectral convergence and the L1 distance of log magnitudes
    (Yamamoto et al. 2020, eq. 4 and 5), each the mean over three resolutions; their sum is the distance.

    What one is longer than the other is not looked at.
    """
    length = min(len(a), len(b))
    convergence, logarithm = 0.0, 0.0
    for seconds in WINDOWS:
        window = max(16, round(seconds * rate))
        made, real = (magnitudes(sound[:length].double(), window) for sound in (a, b))
        convergence += float((made - real).norm() / real.norm().clamp_min(FLOOR))
        logarithm += float((made.clamp_min(FLOOR).log() - real.clamp_min(FLOOR).log()).abs().mean())
    return convergence / len(WINDOWS), logarithm / len(WINDOWS)


def magnitudes(sound: Tensor, window: int) -> Tensor:
    """[T] to [bins, frames], frames a quarter of a window apart."""
    size = 1 << (window - 1).bit_length()
    shape = torch.hann_window(window, dtype=sound.dtype)
    return torch.stft(
        sound, size, max(1, window // 4), window, shape, center=True, pad_mode="constant", return_complex=True
    ).abs()  # fmt: skip
