"""How a vocoder is fitted."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

from aigc_audio.config import VocoderTraining
from aigc_audio.mel import SPREAD, Mel
from aigc_audio.spectral import SpectralDistance, distance
from aigc_audio.vocoder import Vocoder
from aigc_audio.vocoder_critics import Critics, Judgement
from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer

EARLY: Final = 8
"""Sounds are made in one of so many steps while magnitudes are learned: they take most of the time."""


class VocoderTrainer(Trainer[Vocoder, VocoderTraining]):
    """First the magnitudes that are asked for are learned, then what becomes of them too, by distances of spectra, and
    at last against critics, with least squares (Kong et al. 2020). Keeps the moving average."""

    def __init__(self, generator: Vocoder, options: VocoderTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        settings = generator.mel_settings
        self.critics = Critics(settings.rate, options.critic_width)
        self.network, self.shared_critics = engine.prepare(generator), engine.prepare(self.critics)
        self.mel = Mel(settings).to(engine.device)
        self.spectral = SpectralDistance(settings.rate).to(engine.device)
        self.optimizer = self._adam(self.network, options.lr)
        self.critic_optimizer = self._adam(self.shared_critics, options.critic_lr)
        self.average = engine.average(generator, options.ema_half_life)
        self.made: Tensor | None = None

    def _adam(self, network: torch.nn.Module, lr: float) -> torch.optim.Optimizer:
        return self.engine.optimizer(torch.optim.Adam(network.parameters(), lr, (0.8, 0.99), fused=True))

    def step(self, batch: Batch) -> Metrics:
        progress = self.engine.step / self.engine.total_steps
        rates = ((self.optimizer, self.options.lr), (self.critic_optimizer, self.options.critic_lr))
        for optimizer, lr in rates:
            for group in optimizer.param_groups:
                group["lr"] = lr * schedule(progress)
        real = self.pieces(batch)
        mel, magnitudes = self.mel(real), self.mel.magnitudes(real)
        sounds = progress >= min(self.options.sounds_from, self.options.adversarial_from)
        sounds = sounds or self.engine.step % EARLY == EARLY - 1
        with self.engine.autocast():
            made, asked = self.network(mel, sounds)
        loss = self.options.magnitude_weight * distance(asked, magnitudes).mean()
        metrics = {"magnitudes": loss.detach() / max(self.options.magnitude_weight, 1e-9)}
        if sounds:
            # The gradient of what was made alone: the critics' own would be computed for nothing.
            fakes = made.detach().requires_grad_()
            if progress >= self.options.adversarial_from:
                metrics["critic_loss"] = self._teach_critics(real, fakes.detach())
            sound_loss = self._sound_loss(real, mel, fakes, metrics)
            (gradient,) = torch.autograd.grad(sound_loss, fakes)
            self.made = fakes.detach()
            metrics["loss"] = (loss + sound_loss).detach()
            loss = loss + (made * gradient).sum()
        else:
            metrics["loss"] = loss.detach()
            loss = loss + made.sum()
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        self.average.update()
        return metrics

    def _sound_loss(self, real: Tensor, mel: Tensor, fakes: Tensor, metrics: dict[str, Tensor]) -> Tensor:
        mel_loss: Tensor = (self.mel(fakes) - mel).abs().mean() * SPREAD
        spectral_loss: Tensor = self.spectral(fakes, real).mean()
        metrics |= {"mel": mel_loss.detach(), "spectra": spectral_loss.detach()}
        loss = self.options.mel_weight * mel_loss + self.options.stft_weight * spectral_loss
        if "critic_loss" in metrics:
            loss = loss + self._against_critics(real, fakes)
        return loss

    def pieces(self, batch: Batch) -> Tensor:
        """[N, T]: of each sound a piece from anywhere, the whole where it is shorter; then silence."""
        s = self.generator.mel_settings
        frames = max(2, round(self.options.segment * s.rate / s.hop))
        wanted = min(frames, -(-batch.x.shape[2] // s.hop)) * s.hop
        sounds = batch.x[:, 0]
        if sounds.shape[1] < wanted:
            sounds = torch.nn.functional.pad(sounds, (0, wanted - sounds.shape[1]))
        lengths = batch.extras.get("length")
        ends = sounds.new_full((len(sounds),), batch.x.shape[2]) if lengths is None else lengths
        # A normal value is as good as an even one, once it has gone through its distribution.
        even = torch.special.ndtr(self.engine.randn(len(batch)))
        room = (ends - wanted).clamp_min(0).to(even.dtype)
        starts = (even * (room + 1)).floor().minimum(room).long()
        places = starts[:, None] + torch.arange(wanted, device=sounds.device)
        return sounds.gather(1, places.clamp_max(sounds.shape[1] - 1))

    def _teach_critics(self, real: Tensor, fakes: Tensor) -> Tensor:
        with self.engine.autocast():
            judgements = self.shared_critics(torch.cat([real, fakes]))
        loss = real.new_zeros(())
        for scores, _ in judgements:
            of_real, of_fakes = scores.to(real.dtype).chunk(2)
            loss = loss + (of_real - 1).square().mean() + of_fakes.square().mean()
        self.critic_optimizer.zero_grad()
        self.engine.backward(loss)
        self.critic_optimizer.step()
        return loss.detach() / len(judgements)

    def _against_critics(self, real: Tensor, fakes: Tensor) -> Tensor:
        """0-d: how little the critics, as they are now, take the fakes for real, and how unlike their features are."""
        # The critics themselves, not the prepared ones: those may be called once between two backwards.
        with self.engine.autocast():
            with torch.no_grad():
                of_real: list[Judgement] = self.critics(real)
            of_fakes: list[Judgement] = self.critics(fakes)
        loss = real.new_zeros(())
        for (_, right), (scores, features) in zip(of_real, of_fakes, strict=True):
            loss = loss + (scores.to(real.dtype) - 1).square().mean()
            for a, b in zip(features, right, strict=True):
                loss = loss + self.options.matching_weight * (a.to(real.dtype) - b).abs().mean()
        return loss

    def samples(self) -> Tensor | None:
        return None if self.made is None else self.made[:, None]

    def result(self) -> Generator[Any]:
        return self.average.generator


def schedule(progress: float) -> float:
    """The share of the peak learning rate at a share of the steps: a short rise, then a cosine to a twentieth."""
    return min(1.0, (progress + 1e-3) / 0.02) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))
