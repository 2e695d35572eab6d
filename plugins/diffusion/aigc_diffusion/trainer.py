"""How a diffusion model is fitted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from aigc_core.interfaces import Batch, Engine, Metrics, Trainer
from aigc_diffusion.config import DiffusionTraining
from aigc_diffusion.denoiser import Condition, Denoiser
from aigc_diffusion.text import encode

NOISE = {"edm": (-0.5, 1.2), "flow": (0.0, 1.0)}
"""Mean and deviation of the logarithm of the noise level: those of EDM, -1.2 and 1.2 for data of deviation 0.5; for flow the
logit-normal moments of Esser et al. 2024, arXiv:2403.03206."""


class DiffusionTrainer(Trainer[Denoiser[Any], DiffusionTraining]):
    """Every picture with noise of a level drawn by chance, and the squared error of what the network says of it; Adam, whose
    rate rises, then falls along a cosine; keeps the moving average."""

    def __init__(self, generator: Denoiser[Any], options: DiffusionTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(
            torch.optim.Adam(self.network.parameters(), options.lr, (0.9, 0.99), fused=True)
        )
        self.average = engine.average(generator, options.ema_half_life, ramp=0.05)
        self.names = encode(generator.data.classes).to(engine.device) if generator.data.classes else None
        mean, deviation = NOISE[generator.config.parametrisation]
        self.noise_mean = mean if options.noise_mean is None else options.noise_mean
        self.noise_deviation = deviation if options.noise_deviation is None else options.noise_deviation

    def step(self, batch: Batch) -> Metrics:
        count, generator = len(batch), self.generator
        clean = generator.encode(batch.x)
        chance = self.engine.randn(count, 4).to(clean.dtype)
        sigma = (self.noise_mean + self.noise_deviation * chance[:, 0]).exp()
        x = clean + sigma.view(-1, 1, 1, 1) * self.engine.randn(*clean.shape).to(clean.dtype)
        with self.engine.autocast():
            said = self.network(x, sigma, self.condition(batch, chance[:, 1:]))
        loss = (said.to(clean.dtype) - generator.target(clean, x, sigma)).square().mean()
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * self.schedule(self.engine.step / self.engine.total_steps)
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        self.average.update()
        return {"loss": loss.detach()}

    def condition(self, batch: Batch, chance: Tensor) -> Condition:
        """What the network is told of each picture: now and then nothing, else its label, its text, or both.

        chance: [N, 3] standard normal.
        """
        generator = self.generator
        forget, kind, which = torch.special.ndtr(chance).unbind(1)
        heard = forget >= self.options.forget
        labels, tokens = generator.nothing(len(batch), batch.x.device)
        if generator.classes:
            assert batch.labels is not None
            by_label = heard & (kind < 2 / 3) if generator.texts else heard
            labels = torch.where(by_label, batch.labels, generator.classes)
        if generator.texts:
            by_text = heard & (kind > 1 / 3) if generator.classes else heard
            tokens = self.tokens(batch, which) * by_text[:, None]
        return Condition(labels, tokens)

    def tokens(self, batch: Batch, which: Tensor) -> Tensor:
        """[N, L] of each picture one of its captions, or the name of its class; which: [N] in 0 .. 1."""
        captions = batch.extras.get("captions")
        if captions is None:
            assert batch.labels is not None
            assert self.names is not None
            return self.names[batch.labels]
        chosen = (which * captions.shape[1]).long().clamp_max(captions.shape[1] - 1)
        return captions[torch.arange(len(captions), device=captions.device), chosen]

    def schedule(self, progress: float) -> float:
        """The share of the peak learning rate at a share of the steps, from 0 to 1 and back to 0."""
        warmup = self.options.warmup
        if progress < warmup:
            return (progress + 1 / self.engine.total_steps) / (warmup + 1 / self.engine.total_steps)
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def result(self) -> Denoiser[Any]:
        average: Any = self.average.generator
        assert isinstance(average, Denoiser)
        return average
