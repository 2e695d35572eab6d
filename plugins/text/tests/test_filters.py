"""Each filter, on distributions small enough to see through."""

from __future__ import annotations

import math

import pytest
import torch
from aigc_text import filters

P = torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]]).double()


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [(row > -torch.inf).nonzero()[:, 0].tolist() for row in logits]


def test_temperature_sharpens_and_flattens() -> None:
    cold, hot = (filters.temperature(P.log(), t).softmax(1) for t in (0.5, 2.0))
    assert cold[0, 0] == pytest.approx(0.25 / (0.25 + 0.0625 + 0.0225 + 0.0049 + 0.0009))
    assert filters.entropy(cold.log()) < filters.entropy(P.log()) < filters.entropy(hot.log())


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [0]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (99, [0, 1, 2, 3, 4])]
)
def test_top_k_leaves_the_likeliest(k: int, expected: list[int]) -> None:
    assert kept(filters.top_k(P.log(), k)) == [expected]


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.01, [0]), (0.49, [0]), (0.51, [0, 1]), (0.74, [0, 1]), (0.9, [0, 1, 2]), (0.98, [0, 1, 2, 3, 4])],
)
def test_top_p_leaves_the_fewest_of_the_mass(p: float, expected: list[int]) -> None:
    assert kept(filters.top_p(P.log(), p)) == [expected]


@pytest.mark.parametrize(
    ("p", "expected"), [(1.0, [0]), (0.5, [0, 1]), (0.1, [0, 1, 2, 3]), (0.05, [0, 1, 2, 3, 4])]
)
def test_min_p_is_relative_to_the_likeliest(p: float, expected: list[int]) -> None:
    assert kept(filters.min_p(P.log(), p)) == [expected]


def test_typical_leaves_out_the_too_likely_first() -> None:
    """Entropy 1.25 nats; surprises 0.69, 1.39, 1.90, 2.66, 3.51: the second token is the most typical."""
    assert filters.entropy(P.log()).item() == pytest.approx(-sum(p * math.log(p) for p in P[0].tolist()))
    assert kept(filters.typical(P.log(), 0.2)) == [[1]]
    assert kept(filters.typical(P.log(), 0.3)) == [[0, 1]]
    assert kept(filters.typical(P.log(), 0.8)) == [[0, 1, 2]]


def test_filters_keep_to_what_others_left() -> None:
    logits = filters.top_k(P.log(), 3)
    assert filters.left(logits).tolist() == [3]
    for after in (filters.top_p(logits, 0.99), filters.typical(logits, 0.99), filters.min_p(logits, 0.01)):
        assert set(kept(after)[0]) <= {0, 1, 2}
    assert kept(filters.typical(filters.top_k(P.log(), 1), 0.5)) == [[0]]


def test_repetition_makes_seen_tokens_less_likely_whatever_their_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0, 0.0]])
    seen = torch.tensor([[True, True, False, True]])
    assert filters.repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [([1, 2, 3, 1, 2], 3, [3]), ([1, 2, 1, 3, 1], 2, [2, 3]), ([1, 2], 3, []), ([], 1, []), ([4, 4, 5], 1, [4, 5]),
     ([1, 1, 1], 2, [1, 1])],
)  # fmt: skip
def test_what_would_repeat_a_sequence(text: list[int], n: int, expected: list[int]) -> None:
    assert filters.repeating(text, n) == expected


def test_forbidden_tokens_are_taken_out_row_by_row() -> None:
    assert kept(filters.forbid(P.log().repeat(3, 1), [[0], [], [3, 4]])) == [
        [1, 2, 3, 4],
        [0, 1, 2, 3, 4],
        [0, 1, 2],
    ]
    assert kept(P.log()) == [[0, 1, 2, 3, 4]]


def test_draws_follow_the_distribution() -> None:
    uniform = (torch.arange(10_000).double() + 0.5) / 10_000
    drawn = filters.draw(P.log().expand(10_000, 5), uniform)
    assert (drawn.bincount() / 10_000).tolist() == pytest.approx(P[0].tolist(), abs=2e-4)


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 0.5, 1 - 2**-53, 1.0])
def test_what_is_filtered_is_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]])
    assert filters.draw(logits, torch.tensor([uniform])).item() in (1, 3)


def test_a_row_does_not_depend_on_the_others() -> None:
    logits = torch.randn(9, 1000, generator=torch.Generator().manual_seed(0)).double() * 3
    uniform = torch.rand(9, generator=torch.Generator().manual_seed(1))
    for each in (
        lambda x: filters.top_k(x, 50), lambda x: filters.top_p(x, 0.9), lambda x: filters.min_p(x, 0.1),
        lambda x: filters.typical(x, 0.9), filters.entropy,
    ):  # fmt: skip
        assert torch.equal(each(logits)[4:5], each(logits[4:5]))
    assert torch.equal(filters.draw(logits, uniform)[4:5], filters.draw(logits[4:5], uniform[4:5]))
