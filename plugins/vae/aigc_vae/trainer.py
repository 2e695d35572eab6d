"""How a VAE is fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer
from aigc_vae.config import LatentTraining, VAETraining
from aigc_vae.latents import Track, class_means, latents_of
from aigc_vae.vae import VAE

if TYPE_CHECKING:
    from aigc_core.data import Dataset

V = TypeVar("V", bound=VAE)
L = TypeVar("L", bound=LatentTraining)


class LatentTrainer(Trainer[V, L]):
    """Adam, whose learning rate rises, then falls along a cosine; and what samplers are fitted with at the end."""

    def __init__(self, generator: V, options: L, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        groups = self.groups(generator)
        self.optimizer = engine.optimizer(torch.optim.Adam(groups, options.lr, fused=True))

    def groups(self, generator: V) -> list[dict[str, Any]]:
        """The parameters, as the optimizer takes them."""
        return [{"params": list(generator.parameters())}]

    def update(self, loss: Tensor) -> None:
        """One step of the optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * self.schedule(self.engine.step / self.engine.total_steps)
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()

    def schedule(self, progress: float) -> float:
        """The share of the peak learning rate at a share of the steps, from 0 to 1 and back to 0."""
        warmup = self.options.warmup
        if progress < warmup:
            return (progress + 1 / self.engine.total_steps) / (warmup + 1 / self.engine.total_steps)
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def remember(self, kept: Tensor, value: Tensor) -> None:
        """Moves a buffer towards a statistic of the batch, which is taken over all processes: a hundredth of the way, but
        at first so that the buffer is the mean of all steps."""
        kept.lerp_(self.engine.mean(value.detach()).to(kept.dtype), max(0.01, 1 / (self.engine.step + 1)))

    @torch.no_grad()
    def fitted(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, Mapping[str, Tensor]]:
        """A mixture for `gmm`, a second VAE for `two-stage`, means of classes for `attribute`. Takes seconds, however many
        pictures there are; after a training of a few steps less."""
        from aigc_vae.mixture import fit_mixture
        from aigc_vae.two_stage import fit_second_stage

        assert isinstance(generator, VAE)
        latents = latents_of(generator, data, seed=seed, track=track)
        z, classes = latents.draws, generator.classes
        labels = latents.labels if classes else None
        steps = min(self.options.two_stage_steps, self.engine.total_steps, max(20, len(z) // 4))
        return {
            "gmm": fit_mixture(z, labels, classes, self.options.gmm_components, seed),
            "two-stage": fit_second_stage(z, labels, classes, steps, seed, track),
            "attribute": class_means(latents, len(data.info.classes)),
        }


class VAETrainer(LatentTrainer[VAE, VAETraining]):
    """On the negative ELBO, the KL term weighted by `beta`."""

    def step(self, batch: Batch) -> Metrics:
        labels = batch.labels if self.generator.classes else None
        with self.engine.autocast():
            noise = self.engine.randn(len(batch), self.generator.latent)
            logits, kl = self.network(batch.x, noise, labels)
        reconstruction = self.generator.reconstruction(logits, batch.x, self.engine.mean)
        loss = reconstruction + self.options.beta * kl
        self.update(loss)
        if self.generator.likelihood == "gaussian":
            squares = F.mse_loss(logits.detach().to(batch.x.dtype).sigmoid(), batch.x)
            self.remember(self.generator.variance, squares.clamp_min(1e-6))
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}
