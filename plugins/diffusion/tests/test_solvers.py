"""The solvers, where the whole way is known: data that are normal, and data that are two points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from aigc_diffusion import solvers
from aigc_diffusion.solvers import Solver
from torch import Tensor

SPREAD = 0.7
DETERMINISTIC = {
    "ddim": (solvers.ddim(0.0), 1),
    "heun": (solvers.heun(0.0), 2),
    "midpoint": (solvers.midpoint, 2),
    "dpmpp-2m": (solvers.multistep, 2),
}


def denoise(x: Tensor, sigma: float) -> Tensor:
    """Of data that are normal about 0 with deviation SPREAD."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def exact(x: Tensor, now: float, then: float) -> Tensor:
    """Where x gets to without fresh noise (Karras et al. 2022, eq. 1, solved)."""
    return x * math.sqrt((SPREAD**2 + then**2) / (SPREAD**2 + now**2))


def noise() -> Tensor:
    raise AssertionError("a deterministic way draws nothing")


def error(solver: Solver, sigmas: Sequence[float]) -> float:
    x = sigmas[0] * torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    found = solver(denoise, x, sigmas, noise)
    return float((found - exact(x, sigmas[0], sigmas[-1])).norm() / x.norm() * sigmas[0])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_solver_is_of_the_order_that_it_says(name: str) -> None:
    solver, order = DETERMINISTIC[name]
    errors = []
    for steps in (64, 128, 256):
        # Down to a level above 0, so that the last step is like the others.
        ratio = (0.05 / 20) ** (1 / steps)
        errors.append(error(solver, [20 * ratio**i for i in range(steps + 1)]))
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) > order - 0.25


@pytest.mark.parametrize(
    "levels",
    [solvers.karras(40, 7), solvers.linear_beta(40), solvers.straight(40)],
    ids=["karras", "linear", "straight"],
)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_solver_goes_along_every_levels(name: str, levels: list[float]) -> None:
    assert all(now > then >= 0 for now, then in itertools.pairwise(levels))
    assert levels[-1] == 0
    assert len(levels) == 41
    assert error(DETERMINISTIC[name][0], levels) < 0.2


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_fresh_noise_leaves_the_distribution_as_it_is(eta: float) -> None:
    stream = torch.Generator().manual_seed(1)
    sigmas = solvers.linear_beta(500)
    x = sigmas[0] * torch.randn(20_000, 1, 1, 1, generator=stream).double()
    made = solvers.ddim(eta)(
        denoise, x, sigmas, lambda: torch.randn(x.shape, generator=stream, dtype=x.dtype)
    )
    assert made.std().item() == pytest.approx(SPREAD, rel=0.03)
    assert abs(made.mean().item()) < 0.03


def test_churn_leaves_the_distribution_as_it_is() -> None:
    stream = torch.Generator().manual_seed(1)
    sigmas = solvers.karras(60, 7)
    x = sigmas[0] * torch.randn(20_000, 1, 1, 1, generator=stream).double()
    made = solvers.heun(20)(denoise, x, sigmas, lambda: torch.randn(x.shape, generator=stream, dtype=x.dtype))
    assert made.std().item() == pytest.approx(SPREAD, rel=0.03)


def test_ddim_is_that_of_the_paper() -> None:
    """Song et al. 2021, eq. 12 and 16, in the paper's own terms: x = sqrt(a) picture + sqrt(1 - a) noise."""
    now, then, eta = 3.0, 1.2, 0.6
    a, b = 1 / (1 + now**2), 1 / (1 + then**2)
    stream = torch.Generator().manual_seed(2)
    x, fresh = (torch.randn(5, 1, 2, 2, generator=stream).double() for _ in range(2))
    clean = denoise(x, now)
    scaled = math.sqrt(a) * x
    noise_of = (scaled - math.sqrt(a) * clean) / math.sqrt(1 - a)
    deviation = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
    expected = math.sqrt(b) * clean + math.sqrt(1 - b - deviation**2) * noise_of + deviation * fresh
    found = solvers.ddim(eta)(denoise, x, [now, then], lambda: fresh)
    assert torch.allclose(found * math.sqrt(b), expected)


def test_what_is_repeated_fits_what_is_known() -> None:
    """Two pictures, (1, 1) and (-1, -1), of which the first number is known: the second must come to be like it. A single
    pass is late to learn of it."""
    points = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double()
    known = torch.tensor([1.0, -1.0]).double().repeat(250)

    def either(x: Tensor, sigma: float) -> Tensor:
        flat = x.flatten(1)
        weights = (-(flat[:, None] - points).square().sum(2) / (2 * sigma**2)).softmax(1)
        clean = weights @ points
        clean[:, 0] = known
        return clean.view(x.shape)

    def right(rounds: int) -> float:
        stream = torch.Generator().manual_seed(3)
        sigmas = solvers.karras(12, 7)
        x = sigmas[0] * torch.randn(500, 1, 1, 2, generator=stream).double()
        made = solvers.repeated(0.85, rounds)(
            either, x, sigmas, lambda: torch.randn(x.shape, generator=stream, dtype=x.dtype)
        )
        return float((made.flatten(1)[:, 1].sign() == known).double().mean())

    assert right(6) > max(0.97, right(1))
