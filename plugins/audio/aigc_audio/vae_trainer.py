"""How a VAE of sounds is fitted."""

from __future__ import annotations

from typing import Any

import torch

from aigc_audio.config import VAETraining
from aigc_audio.schedule import warmed_cosine
from aigc_audio.vae import SoundVAE
from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer


class VAETrainer(Trainer[SoundVAE, VAETraining]):
    """Adam on the negative ELBO; the learning rate rises, then falls along a cosine. Keeps the moving average."""

    def __init__(self, generator: SoundVAE, options: VAETraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(
            torch.optim.Adam(self.network.parameters(), options.lr, (0.9, 0.99), fused=True)
        )
        self.average = engine.average(generator, options.ema_half_life)

    def step(self, batch: Batch) -> Metrics:
        share = warmed_cosine(self.engine.step, self.engine.total_steps, self.options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * share
        model = self.generator
        sounds, _ = model.prepared(batch.x)
        x = model.hear(sounds)
        with self.engine.autocast():
            noise = self.engine.randn(len(batch), model.latent)
            made, kl = self.network(x, batch.labels if model.classes else None, noise)
        reconstruction = model.reconstruction(made, x, self.engine.mean)
        loss = reconstruction + self.options.beta * kl.mean()
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        self.average.update()
        return {
            "loss": loss.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach().mean(),
            "l1": (made.detach() - x).abs().mean(),
        }  # fmt: skip

    def result(self) -> Generator[Any]:
        return self.average.generator
