"""The network, built from its config and the description of the data alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output
from aigc_template.config import TemplateConfig

FFT, HOP = 256, 64
BINS = FFT // 2 + 1
FLOOR = 1e-2  # is added to magnitudes before their logarithm: what is softer counts as silence
SPAN = -math.log(FLOOR)  # divides log magnitudes: -1 is silence, and the loudest are about 1


class TemplateGenerator(Generator[TemplateConfig]):
    """A VAE: convolutions along the frames of a log-magnitude spectrogram, three times halved, and back."""

    def __init__(self, config: TemplateConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        width = config.width
        self.frames = 1 + data.shape[1] // HOP
        self.coarse = math.ceil(self.frames / 8)
        self.encoder = nn.Sequential(
            nn.Conv1d(BINS, width, 4, 2, 1), nn.SiLU(), nn.Conv1d(width, width, 4, 2, 1), nn.SiLU(),
            nn.Conv1d(width, width, 4, 2, 1), nn.SiLU(),
            nn.Flatten(), nn.Linear(width * self.coarse, 2 * config.latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, width * self.coarse), nn.Unflatten(1, (width, self.coarse)), nn.SiLU(),
            nn.ConvTranspose1d(width, width, 4, 2, 1), nn.SiLU(),
            nn.ConvTranspose1d(width, width, 4, 2, 1), nn.SiLU(), nn.ConvTranspose1d(width, BINS, 4, 2, 1),
        )  # fmt: skip

    @property
    def output(self) -> Output:
        return Output("audio", self.data.shape, -1.0, 1.0, self.data.details)

    def analyse(self, x: Tensor) -> Tensor:
        """Sounds [N, 1, T] to log magnitudes [N, BINS, frames], -1 for silence."""
        with torch.autocast(x.device.type, enabled=False):  # the FFT takes no half precision
            return (stft(x[:, 0].float()).abs() + FLOOR).log() / SPAN

    def decode(self, z: Tensor) -> Tensor:
        """Latents [N, latent] to log magnitudes [N, BINS, frames]."""
        spectrum: Tensor = self.decoder(z)[:, :, : self.frames]
        return spectrum

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Sounds [N, 1, T] and normal values [N, latent] to -log p(x|z) and KL, in nats a sound.

        The likelihood has the variance that is best for this batch (Rybkin et al. 2021, arXiv:2006.13202).
        """
        spectrum = self.analyse(x)
        padded = F.pad(spectrum, (0, 8 * self.coarse - self.frames), value=-1.0)
        mean, log_variance = self.encoder(padded).float().chunk(2, dim=1)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        decoded = self.decode(mean + noise * (0.5 * log_variance).exp())
        variance = F.mse_loss(decoded.float(), spectrum).clamp_min(1e-6)
        return 0.5 * spectrum[0].numel() * torch.log(2 * math.pi * math.e * variance), kl


def stft(x: Tensor) -> Tensor:
    """[N, T] to complex [N, BINS, frames]."""
    return torch.stft(x, FFT, HOP, window=torch.hann_window(FFT, device=x.device), return_complex=True)
