"""Objectives and penalties against their formulas, DiffAugment's properties."""

from __future__ import annotations

import math

import pytest
import torch
from aigc_gan.augment import VALUES, augment, colour, cutout, translation
from aigc_gan.objectives import OBJECTIVES
from aigc_gan.penalties import gradient_penalty, r1
from torch import Tensor

REAL, FAKE = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.5])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_losses_reward_the_right_side(name: str) -> None:
    objective, high, low = OBJECTIVES[name], torch.full((4,), 1.0), torch.full((4,), 0.0)
    assert objective.critic(real=high, fake=low) < objective.critic(real=low, fake=high)
    assert objective.generator(high) < objective.generator(low)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("name", "critic", "generator"),
    [
        ("hinge", (0.5 + 0) / 2 + (0 + 1.5) / 2, 0.75),
        (
            "nonsaturating",
            (softplus(-0.5) + softplus(-2)) / 2 + (softplus(-2) + softplus(0.5)) / 2,
            (softplus(2) + softplus(-0.5)) / 2,
        ),
        ("lsgan", 0.5 * (0.25 + 1) / 2 + 0.5 * (4 + 0.25) / 2, 0.5 * (9 + 0.25) / 2),
        ("wgan", -0.75 - 1.25, 0.75),
    ],
)
def test_the_losses_are_those_of_the_papers(name: str, critic: float, generator: float) -> None:
    assert OBJECTIVES[name].critic(REAL, FAKE) == pytest.approx(critic)
    assert OBJECTIVES[name].generator(FAKE) == pytest.approx(generator)


def score(x: Tensor) -> Tensor:
    """Its gradient is 2x for each pixel."""
    return x.square().flatten(1).sum(1)


def test_r1_is_half_the_mean_squared_slope_at_real_pictures() -> None:
    x = torch.randn(5, 2, 3, 3)
    torch.testing.assert_close(r1(score, x), 0.5 * (2 * x).square().flatten(1).sum(1).mean())


def test_the_gradient_penalty_is_two_sided_between_real_and_made_pictures() -> None:
    real, fake, share = torch.randn(5, 1, 3, 3), torch.randn(5, 1, 3, 3), torch.rand(5)
    between = share.view(5, 1, 1, 1) * real + (1 - share.view(5, 1, 1, 1)) * fake
    slope = (2 * between).flatten(1).norm(dim=1)
    torch.testing.assert_close(gradient_penalty(score, real, fake, share), (slope - 1).square().mean())
    flat = gradient_penalty(lambda x: 0 * x.flatten(1).sum(1), real, fake, share)
    assert float(flat) == pytest.approx(1.0, abs=1e-4), "a slope of 0 is as wrong as one of 2"


@pytest.mark.parametrize("penalty", ["r1", "gradient_penalty"])
def test_a_penaltys_own_gradient_is_right(penalty: str) -> None:
    """Against differences of the penalty itself, in double precision."""
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(3, 1, 2, 2).double(), torch.randn(3, 1, 2, 2).double()

    def of(weight: Tensor) -> Tensor:
        def critic(x: Tensor) -> Tensor:
            return torch.tanh(x.flatten(1) * weight).sum(1) * weight.sum()

        if penalty == "r1":
            return r1(critic, real)
        return gradient_penalty(critic, real, fake, torch.tensor([0.1, 0.5, 0.8]))

    assert torch.autograd.gradcheck(of, (weight,))


def uniform(count: int, **columns: float) -> Tensor:
    values = torch.rand(count, VALUES, generator=torch.Generator().manual_seed(0))
    for name, value in columns.items():
        values[:, int(name[1:])] = value
    return values


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("policy", [("colour",), ("translation",), ("cutout",), ("colour", "cutout")])
def test_a_picture_is_changed_by_its_own_values_alone(channels: int, policy: tuple[str, ...]) -> None:
    x, values = torch.rand(6, channels, 9, 12) * 2 - 1, uniform(6)
    whole = augment(x, policy, values)
    assert whole.shape == x.shape
    assert not torch.equal(whole, x)
    assert torch.equal(augment(x[2:3], policy, values[2:3]), whole[2:3])
    assert torch.equal(augment(x, policy, values), whole)
    assert torch.equal(augment(x, (), values), x)


def test_the_gradient_goes_through_the_change() -> None:
    x = (torch.rand(2, 3, 8, 8).double() * 2 - 1).requires_grad_()
    values = uniform(2).double()
    policy = ("colour", "translation", "cutout")
    assert torch.autograd.gradcheck(lambda x: augment(x, policy, values), (x,))


def test_translation_moves_by_up_to_an_eighth_and_zeros_come_in() -> None:
    x = torch.rand(3, 1, 16, 16) + 1
    values = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.999, 0.999]])
    moved = translation(x, values)
    assert torch.equal(moved[0, 0, 2:, 2:], x[0, 0, :-2, :-2])
    assert not moved[0, 0, :2].any()
    assert torch.equal(moved[1], x[1])
    assert torch.equal(moved[2, 0, :-2, :-2], x[2, 0, 2:, 2:])
    assert not moved[2, 0, :, -2:].any()


def test_cutout_blanks_a_box_of_half_the_size_wherever_its_middle_lies() -> None:
    x = torch.ones(200, 1, 16, 16)
    blank = cutout(x, torch.rand(200, 2, generator=torch.Generator().manual_seed(0))) == 0
    counts = blank.sum((1, 2, 3))
    assert counts.max() == 64
    assert counts.min() >= 16, "at a corner a quarter of it is left"
    middle = cutout(x[:1], torch.tensor([[0.5, 0.5]]))[0, 0] == 0
    assert middle[4:12, 4:12].all()
    assert middle.sum() == 64


def test_colours_keep_the_grey_of_a_picture_when_saturation_alone_changes() -> None:
    x = torch.rand(4, 3, 5, 5) * 2 - 1
    still = torch.tensor([[0.5, 0.0, 0.5]]).expand(4, 3)
    grey = colour(x, still)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x), rtol=1e-4, atol=1e-6)
    brighter = colour(x[:, :1], torch.tensor([[1.0, 0.3, 0.5]]).expand(4, 3))
    torch.testing.assert_close(brighter, x[:, :1] + 0.5)
