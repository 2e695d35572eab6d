"""What a vocoder is trained against: networks that tell real sounds from made ones. Thrown away afterwards."""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_audio.mel import full

PERIODS: Final = (2, 3, 5, 7, 11)
"""Prime, so that they overlap as little as can be (Kong et al. 2020, section 2.3)."""
WINDOWS: Final = (0.016, 0.032, 0.064)
"""Seconds: what the critics of spectra look through."""
SLOPE: Final = 0.1

Judgement = tuple[Tensor, list[Tensor]]
"""Scores [N, ...], higher for what is held to be real, and the features [N, ...] that led to them."""


class Critics(nn.Module):
    """Critics of periods and critics of spectra."""

    def __init__(self, rate: int, width: int) -> None:
        super().__init__()
        periods = [PeriodCritic(period, width) for period in PERIODS]
        windows = [SpectrumCritic(max(16, round(seconds * rate)), -(-width // 2)) for seconds in WINDOWS]
        self.critics = nn.ModuleList([*periods, *windows])

    def forward(self, sound: Tensor) -> list[Judgement]:
        """[N, T] to one judgement a critic."""
        return [critic(sound) for critic in self.critics]


class PeriodCritic(nn.Module):
    """Sees every p-th sample side by side: what has a period (Kong et al. 2020)."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in itertools.pairwise(widths)
        )
        self.score = nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, sound: Tensor) -> Judgement:
        missing = -sound.shape[1] % self.period
        folded = F.pad(sound, (0, missing)).view(len(sound), 1, -1, self.period)
        return _judge(folded, self.layers, self.score)


class SpectrumCritic(nn.Module):
    """Sees logarithms of magnitudes at one resolution (Jang et al. 2021, UnivNet)."""

    window: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.size = 1 << (window - 1).bit_length()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList([
            nn.Conv2d(1, width, (9, 3), (2, 1), (4, 1)),
            nn.Conv2d(width, width, (9, 3), (2, 1), (4, 1)),
            nn.Conv2d(width, width, (9, 3), (2, 1), (4, 1)),
            nn.Conv2d(width, width, (3, 3), (1, 1), (1, 1)),
        ])  # fmt: skip
        self.score = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, sound: Tensor) -> Judgement:
        window = len(self.window)
        spectrum = torch.stft(
            full(sound), self.size, max(1, window // 2), window, self.window,
            center=True, pad_mode="constant", return_complex=True,
        ).abs()  # fmt: skip
        return _judge(spectrum.clamp_min(1e-4).log()[:, None], self.layers, self.score)


def _judge(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return score(x), features
