"""Ways from noise to a picture, for any denoiser.

Everywhere x = picture + sigma * noise. That the noise may be thought of as mixed in otherwise (a picture that fades while
noise comes in, or a straight line between the two) is a matter of scale: what follows from D(x; sigma) for an interval in
which D is constant is the same, x' = D + sigma' / sigma (x - D). So the solvers differ in the noise levels they go through,
in the order of their steps, and in the noise they add.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""D(x; sigma): what the pictures [N, C, H, W] are that x may come from."""
Noise = Callable[[], Tensor]
"""Fresh standard normal values like x."""
Solver = Callable[[Denoise, Tensor, Sequence[float], Noise], Tensor]

SIGMA_MIN: Final = 0.004
SIGMA_MAX: Final = 160.0
"""Of EDM, whose data have deviation 0.5: in units of the data."""
LEVELS: Final = 1000
"""Moments of DDPM's schedule."""
STRETCH: Final = 5
"""Steps that are taken again together."""


def karras(steps: int, rho: float) -> list[float]:
    """Noise levels, and a 0 (Karras et al. 2022, eq. 5)."""
    first, last = SIGMA_MAX ** (1 / rho), SIGMA_MIN ** (1 / rho)
    places = [i / max(1, steps - 1) for i in range(steps)]
    return [*((first + p * (last - first)) ** rho for p in places), 0.0]


def linear_beta(steps: int) -> list[float]:
    """Noise levels of DDPM's schedule, at moments spread evenly over its 1000, and a 0 (Ho et al. 2020, section 4)."""
    kept = torch.linspace(1e-4, 0.02, LEVELS, dtype=torch.float64).neg().add(1).cumprod(0)
    sigmas = ((1 - kept) / kept).sqrt().tolist()
    return [*(sigmas[round((LEVELS - 1) * (1 - i / steps))] for i in range(steps)), 0.0]


def straight(steps: int) -> list[float]:
    """Noise levels at even moments of the straight line from noise to picture, sigma = t / (1 - t), and a 0. It begins just
    short of noise alone, where sigma would be infinite."""
    latest = SIGMA_MAX / (1 + SIGMA_MAX)
    moments = [latest * (1 - i / steps) for i in range(steps)]
    return [*(t / (1 - t) for t in moments), 0.0]


def ddim(eta: float) -> Solver:
    """Steps of first order; eta: fresh noise, none by 0 (Song et al. 2021, arXiv:2010.02502, eq. 12), as much as DDPM adds
    by 1 (eq. 16; Ho et al. 2020)."""

    def solve(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Tensor:
        for now, then in itertools.pairwise(sigmas):
            clean = denoise(x, now)
            # Of the variance that is to be left, how much is fresh: the posterior's of x' given x and the picture.
            fresh = eta * then * math.sqrt(max(0.0, 1 - (then / now) ** 2))
            kept = math.sqrt(max(0.0, then**2 - fresh**2))
            x = clean + (kept / now) * (x - clean)
            if fresh:
                x = x + fresh * noise()
        return x

    return solve


def repeated(eta: float, rounds: int) -> Solver:
    """`ddim`, each STRETCH steps of which are taken some times, between which noise is added again, for denoisers that are told
    part of the picture: so what they make comes to fit that (Lugmayr et al. 2022, arXiv:2201.09865, section 4.2)."""
    step = ddim(eta)

    def solve(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Tensor:
        for first in range(0, len(sigmas) - 1, STRETCH):
            part = sigmas[first : first + STRETCH + 1]
            for number in range(rounds):
                if number:
                    x = x + math.sqrt(part[0] ** 2 - part[-1] ** 2) * noise()
                x = step(denoise, x, part, noise)
        return x

    return solve


def heun(churn: float) -> Solver:
    """Heun's steps of second order, the last one of first (Karras et al. 2022, algorithms 1 and 2)."""

    def solve(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Tensor:
        added = min(churn / (len(sigmas) - 1), math.sqrt(2) - 1)
        for now, then in itertools.pairwise(sigmas):
            if added:
                more = now * (1 + added)
                x, now = x + math.sqrt(more**2 - now**2) * noise(), more
            slope = (x - denoise(x, now)) / now
            ahead = x + (then - now) * slope
            if then:
                ahead = x + (then - now) * 0.5 * (slope + (ahead - denoise(ahead, then)) / then)
            x = ahead
        return x

    return solve


def midpoint(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Tensor:
    """Steps of second order along the straight line from noise to picture: the velocity is taken half-way in t, where
    sigma = t / (1 - t)."""
    for now, then in itertools.pairwise(sigmas):
        t, later = now / (1 + now), then / (1 + then)
        half = (t + later) / 2
        between = half / (1 - half)
        clean = denoise(x, now)
        # On the line y = (1 - t) picture + t noise lies x / (1 + sigma), and its velocity is (y - picture) / t.
        y = x / (1 + now)
        y_half = y + (half - t) * (y - clean) / t
        clean = denoise(y_half * (1 + between), between)
        y = y + (later - t) * (y_half - clean) / half
        x = y * (1 + then)
    return x


def multistep(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, algorithm 2): second order from the step before, so one look at
    the network a step; the last step is of first order."""
    before: Tensor | None = None
    stride = 0.0
    for now, then in itertools.pairwise(sigmas):
        clean = denoise(x, now)
        length = math.log(now / then) if then else math.inf
        best = clean
        if before is not None and then:
            ratio = length / (2 * stride)
            best = (1 + ratio) * clean - ratio * before
        x = best + (then / now) * (x - best)
        before, stride = clean, length
    return x
