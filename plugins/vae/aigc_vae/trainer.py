"""How a VAE is fitted."""

from __future__ import annotations

import math

import torch

from aigc_core.interfaces import Batch, Engine, Metrics, Trainer
from aigc_vae.config import VAETraining
from aigc_vae.vae import VAE


class VAETrainer(Trainer[VAE, VAETraining]):
    """Adam on the negative ELBO; the learning rate rises, then falls along a cosine."""

    def __init__(self, generator: VAE, options: VAETraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(torch.optim.Adam(self.network.parameters(), options.lr, fused=True))

    def step(self, batch: Batch) -> Metrics:
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * self.schedule(self.engine.step / self.engine.total_steps)
        with self.engine.autocast():
            noise = self.engine.randn(len(batch), self.generator.latent)
            logits, kl = self.network(batch.x, noise)
        reconstruction = self.generator.reconstruction(logits, batch.x, self.engine.mean)
        loss = reconstruction + kl
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}

    def schedule(self, progress: float) -> float:
        """The share of the peak learning rate at a share of the steps, from 0 to 1 and back to 0."""
        warmup = self.options.warmup
        if progress < warmup:
            return (progress + 1 / self.engine.total_steps) / (warmup + 1 / self.engine.total_steps)
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
