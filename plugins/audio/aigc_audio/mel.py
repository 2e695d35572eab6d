"""Mel spectrograms by `torch.stft`; librosa's numbers, in librosa's default form (Slaney's scale and norm)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

FLOOR: Final = 1e-5
"""Magnitudes below it are taken for silence, so that their logarithm is finite."""

MIDDLE: Final = -6.0
SPREAD: Final = 3.0
"""By which the natural logarithm of a magnitude is brought to about -2 .. 2."""

SILENCE: Final = (-11.512925 - MIDDLE) / SPREAD
"""What a mel spectrogram says of silence."""


@dataclass(frozen=True, slots=True)
class MelSettings:
    """How a sound of one sample rate is cut into frames and bands."""

    rate: int
    """Samples a second."""
    fft: int
    window: int
    """Samples of the Hann window, at most `fft`."""
    hop: int
    """Samples from one frame to the next."""
    bands: int
    """Mel bands from 0 Hz to half the rate."""

    @property
    def bins(self) -> int:
        """Frequencies of the transform."""
        return self.fft // 2 + 1

    def frames(self, samples: int) -> int:
        """The frames of a sound."""
        return 1 + samples // self.hop

    def samples(self, frames: int) -> int:
        """The samples of a sound that is made of so many frames."""
        return (frames - 1) * self.hop


def settings_of(rate: int) -> MelSettings:
    """Windows of 50 ms, 12.5 ms apart, in 80 bands (Shen et al. 2018, section 2.1), or as many as the rate has use
    for."""
    window = max(16, round(0.05 * rate))
    fft = 1 << (window - 1).bit_length()
    return MelSettings(rate, fft, window, max(4, round(0.0125 * rate)), min(80, fft // 4))


class Mel(nn.Module):
    """Sounds to mel spectrograms. Has no state to keep: all follows from its settings."""

    window: Tensor
    filters: Tensor

    def __init__(self, settings: MelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("window", torch.hann_window(settings.window), persistent=False)
        self.register_buffer("filters", mel_filters(settings), persistent=False)

    def magnitudes(self, sound: Tensor) -> Tensor:
        """[N, T] to [N, bins, frames], the magnitudes of the short-time Fourier transform; frame k is centred on
        sample k * hop, and silence is taken to lie around the sound."""
        s = self.settings
        spectrum = torch.stft(
            full(sound), s.fft, s.hop, s.window, self.window, center=True, pad_mode="constant", return_complex=True
        )  # fmt: skip
        return spectrum.abs()

    def bands(self, sound: Tensor) -> Tensor:
        """[N, T] to [N, bands, frames], magnitudes."""
        return self.filters @ self.magnitudes(sound)

    def forward(self, sound: Tensor) -> Tensor:
        """[N, T] in -1 .. 1 to [N, bands, frames]: natural logarithms, scaled to about -2 .. 2."""
        return compress(self.bands(sound))


def full(values: Tensor) -> Tensor:
    """The same in 32 bits, where they are of fewer: what autocast made, before spectra and losses."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def compress(bands: Tensor) -> Tensor:
    """Magnitudes to what networks are given."""
    return (bands.clamp_min(FLOOR).log() - MIDDLE) / SPREAD


def expand(mel: Tensor) -> Tensor:
    """The inverse of `compress`."""
    return (mel * SPREAD + MIDDLE).exp()


def mel_filters(settings: MelSettings) -> Tensor:
    """[bands, bins]: triangles of equal area whose feet are the neighbours' tops (Slaney 1998)."""
    edges = _to_hertz(
        torch.linspace(0, float(_to_mel(settings.rate / 2)), settings.bands + 2, dtype=torch.float64)
    )
    bins = torch.linspace(0, settings.rate / 2, settings.bins, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    triangles = torch.minimum(rising, falling).clamp_min(0) * (2 / (high - low))
    return triangles.to(torch.get_default_dtype())


_LINEAR: Final = 200 / 3
"""Hertz a mel, below 1 kHz."""
_STEP: Final = 0.06875177742094912
"""The logarithm of the ratio of frequencies one mel apart, above 1 kHz: 6.4 in 27 mel."""


def _to_mel(hertz: float) -> Tensor:
    value = torch.tensor(hertz, dtype=torch.float64)
    return torch.where(value < 1000, value / _LINEAR, 15 + (value / 1000).clamp_min(1e-9).log() / _STEP)


def _to_hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * _LINEAR, 1000 * ((mel - 15) * _STEP).exp())
