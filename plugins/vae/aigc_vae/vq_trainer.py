"""How a VQ-VAE and the prior of its codes are fitted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from aigc_core.interfaces import Batch, Engine, Metrics, Trainer
from aigc_vae.config import VQTraining
from aigc_vae.vq import VQVAE
from aigc_vae.vq_codebook import CodebookAverage

BETWEEN = 10
"""While the autoencoder is fitted, the prior is at every so many steps: that it is under way when its turn comes."""


class VQTrainer(Trainer[VQVAE, VQTraining]):
    """First the autoencoder, then the prior of its codes, which stay as they are from then on."""

    def __init__(self, generator: VQVAE, options: VQTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        coder = [*generator.encoder.parameters(), *generator.decoder.parameters()]
        self.follower = CodebookAverage(
            generator.codebook, options.batch_size, options.decay, options.restart
        ).to(engine.device)
        adam = torch.optim.Adam(coder, options.lr, fused=True)
        # Called when a batch is complete, be it of many parts.
        adam.register_step_post_hook(self._follow)
        self._errors: list[Tensor] = []
        self.optimizer = engine.optimizer(adam)
        prior = list(generator.prior.parameters())
        groups = [
            {"params": [p for p in prior if p.dim() > 1], "weight_decay": 0.05},
            {"params": [p for p in prior if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.prior_optimizer = engine.optimizer(
            torch.optim.AdamW(groups, options.prior_lr, (0.9, 0.95), fused=True)
        )

    def step(self, batch: Batch) -> Metrics:
        step, total = self.engine.step, self.engine.total_steps
        first = max(1, round(self.options.autoencoder * total))
        coder, prior = step < first, step >= first or step % BETWEEN == 0
        with self.engine.autocast():
            made = self.network(batch.x, coder, prior)
        loss = made.nats
        if coder:
            # The likelihood of a normal whose variance is the best for this batch (Rybkin et al. 2021, eq. 9).
            likelihood = 0.5 * torch.log(self.engine.mean(made.squared_error).clamp_min(1e-6))
            loss = loss + likelihood + self.options.commitment * made.commitment
            self.follower.add(made.vectors, made.codes, self.engine.randn(len(batch), 2))
            self._errors.append(made.squared_error.detach())
        if self.engine.unwrap(self.network) is not self.network:
            # All processes expect a gradient of each parameter.
            loss = loss + sum(p.sum() * 0 for p in self.generator.parameters())
        if coder:
            self._set_rate(self.optimizer, self.options.lr * self.schedule(step, first))
            self.optimizer.zero_grad()
        if prior:
            rate = self.schedule(step - first, total - first) if step >= first else 0.3
            self._set_rate(self.prior_optimizer, self.options.prior_lr * rate)
            self.prior_optimizer.zero_grad()
        self.engine.backward(loss)
        if coder:
            self.optimizer.step()
        if prior:
            self.prior_optimizer.step()
        if coder:
            return {"loss": loss.detach(), "squared_error": made.squared_error.detach()}
        return {"loss": loss.detach()}

    @torch.no_grad()
    def _follow(self, *_: Any) -> None:
        """Moves what is no parameter: the codebook, and the variance of the pixels."""
        self.follower.update(self.engine.mean)
        error, self._errors = self.engine.mean(torch.stack(self._errors).mean()), []
        variance = self.generator.variance
        variance.lerp_(error.to(variance.dtype).clamp_min(1e-6), 1 - self.options.decay)

    def _set_rate(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate

    def schedule(self, step: int, steps: int) -> float:
        """The share of a peak learning rate at a step of so many: from 0 to 1 and back to 0."""
        rising = max(1, round(self.options.warmup * steps))
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
