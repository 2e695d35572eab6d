"""One trainer for all GANs: objective and regularisers are its options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from aigc_core.data import Dataset
from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer
from aigc_gan.augment import VALUES, augment
from aigc_gan.config import GANTraining, MLPTraining
from aigc_gan.networks import CriticLayers, LatentGenerator, normal_to_uniform
from aigc_gan.objectives import OBJECTIVES
from aigc_gan.penalties import gradient_penalty, r1


class GANTrainer(Trainer[LatentGenerator, GANTraining]):
    """Two adversaries, one step each a batch, on the same fakes; keeps the generator's moving average."""

    def __init__(self, generator: LatentGenerator, options: GANTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        dropout: Callable[[], nn.Module] = nn.Identity
        if isinstance(options, MLPTraining):
            dropout = partial(engine.dropout, options.dropout)
        self.critic = generator.critic(CriticLayers(options.spectral_norm, dropout)).train()
        self.network, self.shared_critic = engine.prepare(generator), engine.prepare(self.critic)
        self.generator_optimizer = self.make_optimizer(self.network, options.lr)
        self.critic_optimizer = self.make_optimizer(self.shared_critic, options.critic_lr or options.lr)
        self.average = engine.average(generator, options.ema_half_life)
        self.objective = OBJECTIVES[options.objective]
        self.fakes: Tensor | None = None

    def make_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        betas = (self.options.beta1, self.options.beta2)
        return self.engine.optimizer(torch.optim.Adam(network.parameters(), lr, betas, fused=True))

    def step(self, batch: Batch) -> Metrics:
        """One step of the critic, then one of the generator against the critic so improved."""
        self.set_learning_rates()
        count, labels = len(batch), self.labels(batch)
        twice = None if labels is None else torch.cat([labels, labels])
        with self.engine.autocast():
            made = self.network(self.engine.randn(count, self.generator.latent), labels)
            self.fakes = fakes = made.detach()
            # One pass over both halves: the critic has no batch statistics that would mix them.
            seen = self.seen(torch.cat([batch.x, fakes]))
            scores = self.shared_critic(seen, twice).to(batch.x.dtype)
            critic_loss = self.objective.critic(scores[:count], scores[count:])
        metrics = {"critic_loss": critic_loss.detach()}
        penalty = self.penalty(seen[:count].to(batch.x.dtype), seen[count:].to(batch.x.dtype), labels)
        self.critic_optimizer.zero_grad()
        self.engine.backward(critic_loss if penalty is None else critic_loss + penalty)
        self.critic_optimizer.step()

        # The critic itself, not the prepared one: that may be called once between two backwards. And the
        # gradient of the fakes alone: the critic's own would be computed for nothing.
        fakes = fakes.detach().requires_grad_()
        with self.engine.autocast():
            scores = self.critic(self.seen(fakes), labels).to(batch.x.dtype)
            generator_loss = self.objective.generator(scores)
        (gradient,) = torch.autograd.grad(generator_loss, fakes)
        self.generator_optimizer.zero_grad()
        self.engine.backward((made * gradient).sum())
        self.generator_optimizer.step()
        self.average.update()
        return {**metrics, "generator_loss": generator_loss.detach()}

    def labels(self, batch: Batch) -> Tensor | None:
        """[N] what a conditional generator is told, and its critic: fakes are of the classes of the real pictures.
        None for a model without classes."""
        if not self.generator.classes:
            return None
        if batch.labels is None:
            raise DataError("a conditional GAN needs pictures with labels; give --data with a folder a class")
        return batch.labels

    def set_learning_rates(self) -> None:
        """Both are constant at first, and fall to 0 along a line in the last share of the steps."""
        options, left = self.options, 1 - self.engine.step / self.engine.total_steps
        share = min(1.0, left / options.decay) if options.decay else 1.0
        for optimizer, lr in (
            (self.generator_optimizer, options.lr),
            (self.critic_optimizer, options.critic_lr or options.lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = lr * share

    def seen(self, x: Tensor) -> Tensor:
        """Pictures [k * N, C, H, W] as the critic is shown them."""
        if not self.options.augment:
            return x
        uniform = normal_to_uniform(self.engine.randn(len(x), VALUES))
        return augment(x, self.options.augment, uniform)

    def penalty(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor | None:
        """What is added to the critic's loss, every few steps and as much more (Karras et al. 2020, arXiv:1912.04958,
        appendix B); None in the steps between. In full precision: gradients of gradients lose too much of it.

        The critic itself again: a backward of this and of the prepared one's loss together is one, and gives
        each parameter one gradient, which is exchanged.
        """
        options = self.options
        weight = options.gradient_penalty
        if weight is None:
            weight = 10.0 if options.objective == "wgan" else 0.0
        if self.engine.step % options.lazy or not (options.r1 or weight):
            return None
        critic = partial(self.differentiable(), labels=labels)
        terms = []
        if options.r1:
            terms.append(options.r1 * r1(critic, real))
        if weight:
            share = normal_to_uniform(self.engine.randn(len(real), 1))
            terms.append(weight * gradient_penalty(critic, real, fake, share))
        return options.lazy * torch.stack(terms).sum()

    def differentiable(self) -> Callable[..., Tensor]:
        """The critic, as gradients of gradients can go through it. Raises UsageError."""
        tensors = self.engine.gathered(self.critic)
        if tensors is None:
            return self.critic
        if self.options.spectral_norm or bool(getattr(self.options, "dropout", 0.0)):
            raise UsageError(
                "with --shard a penalty on gradients goes with neither spectral norm nor dropout; leave one of them out: "
                "-o r1=0 -o gradient_penalty=0, or -o spectral_norm=false -o dropout=0"
            )
        with torch.device("meta"):
            plain = self.generator.critic(CriticLayers())
        return lambda x, labels: functional_call(plain, tensors, (x, labels))

    def samples(self) -> Tensor | None:
        return self.fakes

    def fitted(
        self,
        generator: Generator[Any],
        data: Dataset,
        *,
        seed: int,
        track: Callable[[Iterable[Any], int, str], Iterable[Any]],
    ) -> Mapping[str, Mapping[str, Tensor]]:
        """The critic as it was last, for `top-by-critic`; spectral norm is worked into its weights."""
        if not self.options.keep_critic:
            return {}
        plain = self.generator.critic(CriticLayers()).to(self.engine.device)
        return {"top-by-critic": plain_state(self.critic, plain)}

    def result(self) -> LatentGenerator:
        average: Any = self.average.generator
        assert isinstance(average, LatentGenerator)
        return average


def plain_state(critic: nn.Module, plain: nn.Module) -> dict[str, Tensor]:
    """The tensors of a critic under the names of a plain one of the same kind."""
    was_training = critic.training
    critic.eval()  # else a look at a weight of spectral norm 1 would change what the next step computes
    modules = dict(critic.named_modules())
    state = {}
    for name in plain.state_dict():
        path, _, attribute = name.rpartition(".")
        state[name] = getattr(modules[path], attribute).detach().clone()
    critic.train(was_training)
    return state
