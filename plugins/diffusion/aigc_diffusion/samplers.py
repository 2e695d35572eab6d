"""How pictures are drawn from a diffusion model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.errors import UsageError
from aigc_core.interfaces import Block, Sampler
from aigc_diffusion import solvers
from aigc_diffusion.config import (
    DDIMOptions,
    DDPMOptions,
    EulerOptions,
    GuidedOptions,
    HeunOptions,
    MidpointOptions,
    MultistepOptions,
)
from aigc_diffusion.denoiser import Condition, Denoiser
from aigc_diffusion.solvers import Denoise, Solver

O = TypeVar("O", bound=GuidedOptions)  # noqa: E741


class Guided(Sampler[Denoiser[Any], O]):
    """From noise alone along the noise levels of `sigmas`, by the steps of `solver`."""

    @property
    @abstractmethod
    def sigmas(self) -> Sequence[float]:
        """Noise levels, falling, the last one 0."""

    @property
    @abstractmethod
    def solver(self) -> Solver: ...

    def sample(self, generator: Denoiser[Any], block: Block) -> Tensor:
        shape, sigmas = generator.data.shape, self.sigmas
        x = sigmas[0] * block.randn(*shape)
        denoise = guided(generator, generator.asked(block), self.options.guidance)
        return generator.decode(self.solver(denoise, x, sigmas, lambda: block.randn(*shape)))


class DDPM(Guided[DDPMOptions]):
    """Ancestral sampling."""

    @property
    def sigmas(self) -> Sequence[float]:
        return solvers.linear_beta(self.options.steps)

    @property
    def solver(self) -> Solver:
        return solvers.ddim(1.0)


class DDIM(Guided[DDIMOptions]):
    """The same levels without fresh noise, or with less of it."""

    @property
    def sigmas(self) -> Sequence[float]:
        return solvers.linear_beta(self.options.steps)

    @property
    def solver(self) -> Solver:
        return solvers.ddim(self.options.eta)


class Heun(Guided[HeunOptions]):
    """EDM's."""

    @property
    def sigmas(self) -> Sequence[float]:
        return solvers.karras(self.options.steps, self.options.rho)

    @property
    def solver(self) -> Solver:
        return solvers.heun(self.options.churn)


class Multistep(Guided[MultistepOptions]):
    """DPM-Solver++ 2M."""

    @property
    def sigmas(self) -> Sequence[float]:
        return solvers.karras(self.options.steps, self.options.rho)

    @property
    def solver(self) -> Solver:
        return solvers.multistep


class Euler(Guided[EulerOptions]):
    """Even steps along the straight line from noise to picture."""

    @property
    def sigmas(self) -> Sequence[float]:
        return solvers.straight(self.options.steps)

    @property
    def solver(self) -> Solver:
        return solvers.ddim(0.0)


class Midpoint(Guided[MidpointOptions]):
    """The same of second order."""

    @property
    def sigmas(self) -> Sequence[float]:
        return solvers.straight(self.options.steps)

    @property
    def solver(self) -> Solver:
        return solvers.midpoint


def guided(generator: Denoiser[Any], told: Condition, guidance: float) -> Denoise:
    """The denoiser that is told something, from which it goes on as far away from what it says when it is told nothing as
    `guidance` asks (Ho and Salimans 2022, arXiv:2207.12598); by 1 it is not asked so. Raises UsageError for guidance of a
    model that can't be told anything."""
    if guidance != 1 and not (generator.classes or generator.texts):
        raise UsageError(
            "guidance weighs a condition, and these weights were trained without one; leave it out"
        )

    def denoise(x: Tensor, sigma: float) -> Tensor:
        level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        if guidance == 1:
            return generator.denoise(x, level, told)
        both = joined(told, generator.nothing(len(x), x.device))
        clean, untold = generator.denoise(torch.cat([x, x]), torch.cat([level, level]), both).chunk(2)
        return untold + guidance * (clean - untold)

    return denoise


def joined(a: Condition, b: Condition) -> Condition:
    """What is told of pictures one after the other."""
    labels = None if a.labels is None or b.labels is None else torch.cat([a.labels, b.labels])
    if a.tokens is None or b.tokens is None:
        return Condition(labels, None)
    longest = max(a.tokens.shape[1], b.tokens.shape[1])
    return Condition(
        labels, torch.cat([F.pad(tokens, (0, longest - tokens.shape[1])) for tokens in (a.tokens, b.tokens)])
    )
