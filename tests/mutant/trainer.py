"""One trainer for all GANs; a model adds its critic."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from aigc_mutant.config import GANTraining
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer
from aigc_core.options import Options


class LatentGenerator(Generator[Any]):
    """A generator that maps latents [N, latent] to pictures [N, C, H, W] in [-1, 1]."""

    latent: int


G = TypeVar("G", bound=LatentGenerator)
T = TypeVar("T", bound=GANTraining)


class GANTrainer(Trainer[G, T]):
    """Two adversaries, one step each a batch, on the same fakes; keeps the generator's moving average."""

    def __init__(self, generator: G, options: T, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.critic = self.make_critic().train()
        self.network, self.shared_critic = engine.prepare(generator), engine.prepare(self.critic)
        self.generator_optimizer = self.make_optimizer(self.network, options.lr)
        self.critic_optimizer = self.make_optimizer(self.shared_critic, options.critic_lr or options.lr)
        self.average = engine.average(generator, options.ema_half_life)
        self.fakes: Tensor | None = None

    @abstractmethod
    def make_critic(self) -> nn.Module:
        """A network from pictures [N, C, H, W] to scores [N], higher for what it holds to be real."""

    def make_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        betas = (self.options.beta1, self.options.beta2)
        return self.engine.optimizer(torch.optim.Adam(network.parameters(), lr, betas, fused=True))

    def step(self, batch: Batch) -> Metrics:
        """One step of the critic, then one of the generator against the critic so improved."""
        count = len(batch)
        with self.engine.autocast():
            made = self.network(self.engine.randn(count, self.generator.latent))
            self.fakes = fakes = made.detach()
            # One pass over both halves: the critic has no batch statistics that would mix them.
            scores = self.shared_critic(torch.cat([batch.x, fakes])).to(batch.x.dtype)
            critic_loss = self.critic_loss(scores[:count], scores[count:])
        self.critic_optimizer.zero_grad()
        self.engine.backward(critic_loss)
        self.critic_optimizer.step()

        # The critic itself, not the prepared one: that may be called once between two backwards. And the
        # gradient of the fakes alone: the critic's own would be computed for nothing.
        fakes = fakes.detach().requires_grad_()
        with self.engine.autocast():
            generator_loss = self.generator_loss(self.critic(fakes).to(batch.x.dtype))
        (gradient,) = torch.autograd.grad(generator_loss, fakes)
        self.generator_optimizer.zero_grad()
        self.engine.backward((made * gradient).sum())
        self.generator_optimizer.step()
        self.average.update()
        return {"critic_loss": critic_loss.detach(), "generator_loss": generator_loss.detach()}

    def samples(self) -> Tensor | None:
        return self.fakes

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss of scores [N] and [N]."""
        if self.options.objective == "hinge":  # Lim and Ye 2017, eq. 5
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The generator's loss of scores [N] of what it made."""
        return -fake.mean() if self.options.objective == "hinge" else F.softplus(-fake).mean()

    def result(self) -> Generator[Options]:
        return self.average.generator
