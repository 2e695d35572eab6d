"""From a mel spectrogram to a sound, without a network."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_audio.mel import Mel, expand


def griffin_lim(
    mel: Mel, spectrogram: Tensor, phases: Tensor, *, iterations: int, momentum: float = 0.99
) -> Tensor:
    """[bands, frames] of one sound, as `Mel` makes it, to [samples]: (frames - 1) * hop of them.

    The fast variant of Perraudin et al. 2013 (momentum 0: Griffin and Lim 1984). phases [bins, frames]: normal values
    that it starts from. The magnitudes are `spectrum`'s.
    """
    return from_magnitudes(mel, spectrum(mel, expand(spectrogram)), phases, iterations, momentum)


def from_magnitudes(mel: Mel, magnitudes: Tensor, phases: Tensor, iterations: int, momentum: float) -> Tensor:
    """[bins, frames] to the sound [samples] whose transform is near those magnitudes."""
    s = mel.settings
    samples = s.samples(magnitudes.shape[1])
    if samples < 1:
        return magnitudes.new_zeros(0)

    angles = torch.polar(torch.ones_like(phases), phases * torch.pi)
    previous = torch.zeros_like(angles)
    for _ in range(iterations):
        sound = inverse(mel, magnitudes * angles, samples)
        projected = torch.stft(
            sound, s.fft, s.hop, s.window, mel.window, center=True, pad_mode="constant", return_complex=True
        )  # fmt: skip
        angles = projected + momentum * (projected - previous)
        angles = angles / angles.abs().clamp_min(1e-16)
        previous = projected
    return inverse(mel, magnitudes * angles, samples)


def inverse(mel: Mel, transform: Tensor, samples: int) -> Tensor:
    """[..., bins, frames] complex to sounds [..., samples], by overlapping and adding frames."""
    s = mel.settings
    sound: Tensor = torch.istft(transform, s.fft, s.hop, s.window, mel.window, center=True, length=samples)
    return sound


def spectrum(mel: Mel, bands: Tensor, steps: int = 50) -> Tensor:
    """[bands, frames] magnitudes to [bins, frames]: those, none below 0, whose bands are nearest.

    Multiplicative updates (Lee and Seung 2001, theorem 1) from the pseudo-inverse.
    """
    filters = mel.filters
    start = torch.linalg.pinv(filters) @ bands
    found: Tensor = start.clamp_min(float(bands.mean()) * 1e-3 + 1e-9)
    wanted, gram = filters.T @ bands, filters.T @ filters
    for _ in range(steps):
        found = found * wanted / (gram @ found).clamp_min(1e-12)
    return found
