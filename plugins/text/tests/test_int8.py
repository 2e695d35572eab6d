"""Weights of 8 bits."""

from __future__ import annotations

import copy

import pytest
import torch
from aigc_text.gpt import GPT
from aigc_text.int8 import FEW, Int8Embedding, Int8Linear, convert, product, quantised
from aigc_text.options import GreedyOptions
from aigc_text.samplers import Greedy
from tiny_text import block, gpt, texts
from torch.nn import functional as F

from aigc_core.errors import UsageError


def test_a_quantised_row_is_off_by_half_a_step_at_most() -> None:
    matrix = torch.randn(7, 33) * torch.logspace(-3, 3, 7)[:, None]
    weight, scale = quantised(matrix)
    assert weight.dtype == torch.int8
    assert torch.equal(scale, scale.bfloat16().float())
    assert ((weight * scale[:, None] - matrix).abs() <= scale[:, None] * 0.501).all()


@pytest.mark.parametrize(
    ("outs", "ins"), [(48, 16), (64, 64), (65, 384), (3, 5), (1, 1), (130, 96), (3, 64), (33, 128)]
)
@pytest.mark.parametrize("rows", [1, 3, 4, 32, FEW + 1])
def test_the_product_is_that_of_the_matrix_as_floats(outs: int, ins: int, rows: int) -> None:
    torch.manual_seed(0)
    weight, scale = quantised(torch.randn(outs, ins))
    x = torch.randn(rows, ins)
    exact = F.linear(x, weight * scale[:, None])
    assert product(x, weight, scale).shape == (rows, outs)
    assert (product(x, weight, scale) - exact).abs().max() <= 0.02 * max(1.0, float(exact.abs().max()))


def test_few_rows_and_many_are_the_same_but_for_rounding() -> None:
    torch.manual_seed(0)
    layer = Int8Linear(64, 96)
    layer.fill(torch.randn(96, 64), torch.randn(96))
    x = torch.randn(FEW + 1, 64)
    assert torch.allclose(layer(x)[:4], layer(x[:4]), atol=0.15)
    assert layer(x.view(1, FEW + 1, 64)).shape == (1, FEW + 1, 96)


def test_what_rows_of_a_head_have_in_common_costs_no_precision() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(40, 32) + 50 * torch.randn(32)
    head = Int8Embedding(40, 32)
    head.fill(matrix)
    x = torch.randn(2, 32)
    assert (head(x) - x @ matrix.t()).abs().max() < 0.3
    assert (head(x) - x @ matrix.t()).log_softmax(1).exp().shape == (2, 40)
    assert (head(torch.tensor([[3, 39]])) - matrix[[3, 39]]).abs().max() < 0.03


@pytest.mark.parametrize("tied", [True, False])
def test_a_converted_network_says_nearly_the_same(tied: bool) -> None:
    model = gpt(tied=tied, loud=4.0, width=64)
    small = convert(model)
    assert small.config.weights == "int8"
    tokens = torch.arange(20)[None] % model.tokenizer.size
    with torch.no_grad():
        before, after = model(tokens).log_softmax(-1), small(tokens).log_softmax(-1)
    divergence = (before.exp() * (before - after)).sum(-1).mean()
    assert 0 < divergence < 0.01
    assert sum(t.numel() * t.element_size() for t in small.state_dict().values()) < 0.5 * sum(
        t.numel() * t.element_size() for t in model.state_dict().values()
    )


def test_its_state_builds_it_again() -> None:
    small = convert(gpt())
    again = GPT(small.config, small.data).eval()
    again.load_state_dict(small.state_dict())
    options = GreedyOptions(max_tokens=30)
    assert texts(Greedy, options, again, block(4)) == texts(Greedy, options, small, block(4))
    assert {str(t.dtype) for t in small.state_dict().values()} == {"torch.int8", "torch.float32"}


def test_it_can_be_copied_after_it_was_sampled_from() -> None:
    model = gpt()
    texts(Greedy, GreedyOptions(max_tokens=5), model, block(4))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.wte.weight.mul_(-1)  # type: ignore[operator]
    assert texts(Greedy, GreedyOptions(max_tokens=20), other, block(4)) != texts(
        Greedy, GreedyOptions(max_tokens=20), model, block(4)
    )


def test_what_is_int8_is_not_made_so_again() -> None:
    with pytest.raises(UsageError, match="int8 already"):
        convert(convert(gpt()))


def test_rows_are_the_same_alone() -> None:
    small, prompts = convert(gpt(width=64)), ["abc", "", "hello you", "夏", "abc", "q", "rr", "x"]
    together = texts(Greedy, GreedyOptions(max_tokens=30), small, block(8, prompts))
    for row in (0, 2, 5):
        alone = block(8, prompts, wanted=range(row, row + 1))
        assert texts(Greedy, GreedyOptions(max_tokens=30), small, alone)[row] == together[row]
