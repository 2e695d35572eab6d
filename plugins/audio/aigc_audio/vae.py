"""Variational autoencoders of short sounds: over mel spectrograms, and over the samples themselves."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_audio.coder import Decoder, Encoder
from aigc_audio.config import MelVAEConfig, RawVAEConfig, VAEConfig
from aigc_audio.mel import SILENCE, Mel, settings_of
from aigc_audio.spectral import WINDOWS, magnitudes
from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Block, Generator
from aigc_core.specs import DataInfo, Output

QUIET: Final = 0.02
"""Is added to magnitudes, so that the faintest matter little."""
PEAK: Final = 0.5
"""The loudness that sounds are brought to before they are encoded, and that they are made with."""


class SoundVAE(Generator[Any]):
    """An encoder q(z|x) and a decoder p(x|z) over what `hear` makes of a sound (Kingma and Welling 2014).

    With classes both are told the label, and the prior of the latent is a normal distribution a class, learned.
    """

    def __init__(self, config: VAEConfig, data: DataInfo) -> None:
        """Raises DataError for a conditional one where there are no classes."""
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise DataError(
                "conditional=true needs data with classes, and these have none; put each class into a folder of its own, "
                "say where they stand in the names of files (-d names=...), or leave it out"
            )
        self.rate = int(data.details["sample_rate"])
        self.samples = max(1, round(config.seconds * self.rate))
        self.classes = len(data.classes) if config.conditional else 0
        self.prior_mean = nn.Parameter(torch.zeros(max(1, self.classes), config.latent))
        self.prior_log_variance = nn.Parameter(torch.zeros(max(1, self.classes), config.latent))
        self.latent: int = config.latent

    def _build(self, channels: int, length: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        """length: of what `hear` makes; is rounded up to what the strides divide."""
        self.channels, self.length = channels, length
        padded = -(-length // math.prod(strides)) * math.prod(strides)
        self.padding = padded - length
        self.encoder = Encoder(channels, padded, widths, strides, self.latent, self.classes)
        self.decoder = Decoder(channels, padded, widths, strides, self.latent, self.classes)

    @property
    def output(self) -> Output:
        return Output("audio", (1, -1), -1.0, 1.0, {"sample_rate": self.rate})

    @abstractmethod
    def hear(self, sound: Tensor) -> Tensor:
        """Sounds [N, samples] to what is encoded, [N, channels, length]."""

    @property
    @abstractmethod
    def silence(self) -> float:
        """What silence is in that."""

    def prepared(self, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Sounds [N, 1, T], NaN or silence after their ends, cut or filled up to [N, samples] of one peak; and by what
        they were multiplied, [N, 1]: by 1 where there is nothing to hear."""
        sound = sounds[:, 0].nan_to_num(0.0)[:, : self.samples]
        sound = F.pad(sound, (0, self.samples - sound.shape[1]))
        peak = sound.abs().amax(dim=1, keepdim=True)
        gain = torch.where(peak > 1e-3, PEAK / peak.clamp_min(1e-3), torch.ones_like(peak))
        return sound * gain, gain

    def encode(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each [N, latent], for [N, channels, length]."""
        mean, log_variance = self.encoder(F.pad(x, (0, self.padding), value=self.silence), labels)
        return mean, log_variance.clamp(-20, 10)

    def prior(self, labels: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """Mean and log variance of p(z) for each of some labels, each [N, latent]."""
        row = (
            torch.zeros(count, dtype=torch.int64, device=self.prior_mean.device) if labels is None else labels
        )
        return self.prior_mean[row], self.prior_log_variance[row]

    def decode(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """[N, latent] to the mean of p(x|z), [N, channels, length]."""
        made: Tensor = self.decoder(z, labels)
        return made[:, :, : self.length]

    def forward(self, x: Tensor, labels: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """[N, channels, length] through the latent and back: the mean of p(x|z), and the KL term [N] in nats.

        noise [N, latent] is standard normal, for the reparametrised draw from q(z|x).
        """
        mean, log_variance = (part.to(x.dtype) for part in self.encode(x, labels))
        z = mean + noise * (0.5 * log_variance).exp()
        prior_mean, prior_log_variance = self.prior(labels, len(x))
        ratio = log_variance - prior_log_variance
        squares = (mean - prior_mean).square() / prior_log_variance.exp()
        kl = 0.5 * (squares + ratio.exp() - 1 - ratio).sum(1)
        return self.decode(z, labels), kl

    def reconstruction(self, made: Tensor, x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """-log p(x|z) in nats a sound, for the variance that is optimal for this batch (Rybkin et al. 2021, eq. 9);
        `mean` takes it over all processes."""
        variance = mean(F.mse_loss(made.to(x.dtype), x)).clamp_min(1e-6)
        return 0.5 * x[0].numel() * (torch.log(2 * math.pi * variance) + 1)

    def labels_of(self, block: Block) -> Tensor | None:
        """[size], the labels of a block. Raises UsageError for labels that this one was not made for."""
        if self.classes:
            return block.labels_of(self.classes)
        if block.labels is not None:
            raise UsageError(
                "these weights were trained without labels; train with -o conditional=true for --label"
            )
        return None


class MelVAE(SoundVAE):
    """Over mel spectrograms: the bands are the channels, and time is halved three times."""

    config: MelVAEConfig

    def __init__(self, config: MelVAEConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.mel = Mel(settings_of(self.rate))
        s = self.mel.settings
        frames = 1 + -(-self.samples // s.hop)
        self._build(s.bands, frames, [config.width] * 3, (2, 2, 2))

    def hear(self, sound: Tensor) -> Tensor:
        s = self.mel.settings
        mel: Tensor = self.mel(F.pad(sound, (0, -sound.shape[1] % s.hop)))
        return mel

    @property
    def silence(self) -> float:
        return SILENCE


class RawVAE(SoundVAE):
    """Over samples, one channel: each layer sees four times less of them, twice as wide.

    Its likelihood is of spectra at several resolutions, since a latent can't hold the phases of all partials, and
    without them the likeliest samples are all but silent.
    """

    config: RawVAEConfig

    def __init__(self, config: RawVAEConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        depth = max(0, min(4, round(math.log(self.samples / 256, 4))))
        widths = [config.width << min(level, 3) for level in range(depth + 1)]
        self._build(1, self.samples, widths, (16,) + (4,) * depth)
        self.sizes = [max(16, round(seconds * self.rate)) for seconds in WINDOWS]

    def hear(self, sound: Tensor) -> Tensor:
        return sound[:, None]

    @property
    def silence(self) -> float:
        return 0.0

    def reconstruction(self, made: Tensor, x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """-log p(x|z) in nats a sound, the mean over three resolutions: of the logarithms of magnitudes, for the
        variance that is optimal for this batch."""
        nats = made.new_zeros((), dtype=x.dtype)
        for size in self.sizes:
            a, b = ((magnitudes(sound[:, 0].to(x.dtype), size) + QUIET).log() for sound in (made, x))
            nats = nats + super().reconstruction(a, b, mean)
        return nats / len(self.sizes)
