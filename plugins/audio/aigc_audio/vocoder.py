"""From a mel spectrogram to a sound, by a network."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from aigc_audio.blocks import Block
from aigc_audio.config import VocoderConfig
from aigc_audio.mel import FLOOR, MIDDLE, SPREAD, Mel, MelSettings, expand, full, settings_of
from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output

LOUDEST: Final = 6.0
"""The natural logarithm that magnitudes are kept below."""
MOMENTUM: Final = 0.99
"""Of fast Griffin-Lim."""


class Vocoder(Generator[VocoderConfig]):
    """Two networks at the rate of the frames, as Vocos (Siuzdak 2023), with Griffin-Lim between them.

    The first one says what magnitudes the short-time Fourier transform has. Some rounds of fast Griffin-Lim, through
    which no gradient goes, find phases that nearly agree with them. The second one sees where they do not, and changes
    magnitudes and phases (as the layers of Masuyama et al. 2019 do); the inverse transform of that is the sound.
    """

    config: VocoderConfig

    def __init__(self, config: VocoderConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.mel = Mel(settings_of(int(data.details["sample_rate"])))
        s, width = self.mel_settings, config.width
        self.enter = nn.Conv1d(s.bands, width, 7, padding=3)
        self.first = Trunk(width, config.layers, s.bins)
        self.look = nn.Linear(6 * s.bins, width)
        self.second = Trunk(width, config.layers, 2 * s.bins)

    @property
    def mel_settings(self) -> MelSettings:
        """Of the spectrograms that it takes."""
        return self.mel.settings

    @property
    def output(self) -> Output:
        return Output("audio", (1, -1), -1.0, 1.0, {"sample_rate": self.mel_settings.rate})

    def forward(self, mel: Tensor, sounds: bool = True, rounds: int | None = None) -> tuple[Tensor, Tensor]:
        """[N, bands, frames], as `Mel` makes them, to sounds [N, (frames - 1) * hop]; and the logarithms of magnitudes
        [N, bins, frames] that the first network asked for.

        sounds: whether they are made; else they come out silent, in no time. rounds: of Griffin-Lim, if not those that
        its config names.
        """
        entered = self.enter(mel).transpose(1, 2)
        change, features = self.first(entered)
        asked = (self.coarse(mel) + full(change).transpose(1, 2)).clamp_max(LOUDEST)
        if not sounds or mel.shape[2] < 2:
            # Nothing times what makes them, so that all parameters have gradients in every step of a training.
            nothing = 0.0 * sum(p.sum() for p in [*self.look.parameters(), *self.second.parameters()])
            return mel.new_zeros(len(mel), self.mel_settings.samples(mel.shape[2])) + nothing, asked
        found = self.settled(asked.detach().exp(), self.config.rounds if rounds is None else rounds)
        changes, _ = self.second(features + self.look(looks(asked.detach(), found).transpose(1, 2)))
        louder, turned = full(changes).transpose(1, 2).chunk(2, dim=1)
        factor = torch.polar(louder.clamp(-LOUDEST, LOUDEST).exp(), turned)
        return self.inverse(found * factor), asked

    def coarse(self, mel: Tensor) -> Tensor:
        """[N, bands, frames] to [N, bins, frames]: logarithms of magnitudes that change little between bands."""
        filters = self.mel.filters
        weights = filters / filters.sum(0, keepdim=True).clamp_min(1e-9)
        weights = weights / filters.sum(1, keepdim=True).clamp_min(1e-9)
        with torch.autocast(mel.device.type, enabled=False):
            return (weights.T @ expand(full(mel))).clamp_min(FLOOR).log()

    @torch.no_grad()
    def settled(self, magnitudes: Tensor, rounds: int) -> Tensor:
        """[N, bins, frames] to a transform of a sound that is near to them, [N, bins, frames], complex."""
        even = torch.arange(magnitudes.shape[1], device=magnitudes.device) % 2 == 0
        start = torch.where(even, 1.0, -1.0)[:, None].expand_as(
            magnitudes
        )  # all is loudest in the middle of a frame
        direction = torch.complex(start, torch.zeros_like(start))
        previous = torch.zeros_like(direction)
        for _ in range(rounds):
            projected = self.transform(self.inverse(magnitudes * direction))
            direction = projected + MOMENTUM * (projected - previous)
            direction = direction / direction.abs().clamp_min(1e-16)
            previous = projected
        return self.transform(self.inverse(magnitudes * direction))

    def transform(self, sound: Tensor) -> Tensor:
        """[N, T] to [N, bins, frames], complex."""
        s = self.mel_settings
        return torch.stft(
            sound, s.fft, s.hop, s.window, self.mel.window, center=True, pad_mode="constant", return_complex=True
        )  # fmt: skip

    def inverse(self, transform: Tensor) -> Tensor:
        """[N, bins, frames] to [N, (frames - 1) * hop]."""
        s = self.mel_settings
        length = s.samples(transform.shape[2])
        return torch.istft(transform, s.fft, s.hop, s.window, self.mel.window, center=True, length=length)

    def vocode(self, mel: Tensor, rounds: int = 64) -> Tensor:
        """Mel spectrograms to sounds, as `forward`, row by row: no row's bits depend on how many are beside it. rounds:
        more than it was trained with, which it bears, as they cost little here."""
        return torch.cat([self(row[None], rounds=rounds)[0] for row in mel])


class Trunk(nn.Module):
    """ConvNeXt blocks and a head that begins with nothing, for [N, frames, width]."""

    def __init__(self, width: int, layers: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, 1 / layers) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the head says [N, frames, channels], and what it is said from [N, frames, width]."""
        features = self.norm(self.blocks(self.enter(x)))
        return self.head(features), features


def looks(asked: Tensor, found: Tensor) -> Tensor:
    """[N, 6 * bins, frames]: what was asked for [N, bins, frames], what was found, complex, as logarithms; and how its
    phases turn from frame to frame and from bin to bin, which is the same wherever a sound begins."""
    magnitude = found.abs().clamp_min(FLOOR)
    direction = found / magnitude
    later = direction[..., 1:] * direction[..., :-1].conj()
    higher = direction[:, 1:] * direction[:, :-1].conj()
    later = torch.nn.functional.pad(torch.view_as_real(later), (0, 0, 1, 0))
    higher = torch.nn.functional.pad(torch.view_as_real(higher), (0, 0, 0, 0, 1, 0))
    levels = [(x - MIDDLE) / SPREAD for x in (asked, magnitude.log())]
    return torch.cat([*levels, *later.unbind(-1), *higher.unbind(-1)], dim=1)
