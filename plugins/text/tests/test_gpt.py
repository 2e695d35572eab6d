"""The networks: what they compute, and of what they are made."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from aigc_text.coders import Bytes, Characters
from aigc_text.config import GPTConfig, LSTMConfig
from aigc_text.gpt import GPT
from aigc_text.language import LanguageModel
from aigc_text.lstm import LSTM
from aigc_text.vocabulary import TextTokenizer

from aigc_core.errors import DataError, UsageError
from aigc_core.specs import DataInfo

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ASSETS = TextTokenizer(Characters(LETTERS)).assets
INFO = DataInfo("text", (9,), assets=ASSETS)
SMALL: dict[str, Any] = {"layers": 2, "heads": 2, "width": 16, "context": 8}


def gpt(**config: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**{**SMALL, **config}), INFO).eval()


def lstm(**config: Any) -> LSTM:
    torch.manual_seed(0)
    return LSTM(LSTMConfig(**{"layers": 2, "width": 16, "context": 8, **config}), INFO).eval()


def some(rows: int = 3, length: int = 8) -> torch.Tensor:
    return torch.randint(27, (rows, length), generator=torch.Generator().manual_seed(1))


MODELS = [
    gpt(),
    gpt(bias=False, tied=False, rows=32),
    gpt(scale_attention=False, scale_by_layer=True),
    lstm(),
]


@pytest.mark.parametrize("model", MODELS)
def test_a_later_token_changes_no_earlier_logit(model: LanguageModel) -> None:
    tokens = some()
    other = tokens.clone()
    other[:, 5] = (tokens[:, 5] + 1) % 27
    a, b = model(tokens), model(other)
    assert a.shape == (3, 8, 27)
    assert torch.equal(a[:, :5], b[:, :5])
    assert (a[:, 5:] - b[:, 5:]).abs().amax((0, 2)).min() > 1e-6, "a token must be seen by all after it"


@pytest.mark.parametrize(
    ("layers", "heads", "width", "count"),
    [(12, 12, 768, 124_439_808), (24, 16, 1024, 354_823_168), (48, 25, 1600, 1_557_611_200)],
)
def test_it_has_the_parameters_of_gpt2(
    layers: int, heads: int, width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenAI's three, counted from their shapes: no memory is taken, and nothing drawn."""
    monkeypatch.setattr(torch.nn.init, "normal_", lambda tensor, **_: tensor)
    config = GPTConfig(layers=layers, heads=heads, width=width, context=1024, rows=50257)
    with torch.device("meta"):
        model = GPT(config, INFO)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_head_is_the_embedding_unless_it_is_untied() -> None:
    model = gpt()
    tokens, x = some(), torch.randn(3, 8, 16)
    assert "head.weight" not in model.state_dict()
    assert torch.allclose(model.logits(x), model.ln_f(x) @ model.wte.weight.T, atol=1e-6)
    untied = gpt(tied=False)
    before = untied(tokens)
    with torch.no_grad():
        untied.head.weight.mul_(2)
    assert torch.allclose(untied(tokens), 2 * before, atol=1e-6)


def test_rows_that_no_token_has_are_no_logits() -> None:
    model = gpt(rows=40)
    assert model.wte.weight.shape == (40, 16)
    assert model(some()).shape == (3, 8, 27)
    with pytest.raises(DataError, match="rows=20 are fewer than the 27 tokens"):
        gpt(rows=20)


def test_it_computes_what_the_paper_says() -> None:
    """One block, written out: pre-norm, scaled causal products, tanh GELU, both residuals."""
    model = gpt(layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    tokens, block = some(1, 5), model.blocks[0]

    def norm(x: torch.Tensor, of: torch.nn.Module) -> torch.Tensor:
        deviation = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        out: torch.Tensor = (x - x.mean(-1, keepdim=True)) / deviation * of.weight + of.bias
        return out

    x = model.wte.weight[tokens[0]] + model.wpe.weight[:5]
    q, k, v = (norm(x, block.ln_1) @ block.attn.qkv.weight.T + block.attn.qkv.bias).split(16, dim=1)
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        products = q[:, part] @ k[:, part].T / math.sqrt(8)
        products = products.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        heads.append(products.softmax(-1) @ v[:, part])
    x = x + torch.cat(heads, 1) @ block.attn.proj.weight.T + block.attn.proj.bias
    up = norm(x, block.ln_2) @ block.mlp.up.weight.T + block.mlp.up.bias
    gelu = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    x = x + gelu @ block.mlp.down.weight.T + block.mlp.down.bias
    expected = norm(x, model.ln_f) @ model.wte.weight.T
    assert torch.allclose(model(tokens)[0], expected, atol=1e-5)


def test_what_is_added_to_the_residual_stream_begins_smaller() -> None:
    model = gpt(layers=8, width=64)
    assert float(model.blocks[0].mlp.up.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    for matrix in (model.blocks[3].mlp.down, model.blocks[7].attn.proj):
        assert float(matrix.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.05)


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(UsageError, match="9 tokens are more than the model's context of 8"):
        gpt()(some(1, 9))
    assert lstm()(some(1, 50)).shape == (1, 50, 27), "an LSTM has no limit"


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide a width of 16"):
        GPTConfig(heads=3, width=16)


def test_the_stacks_are_the_matrices_within_layers() -> None:
    stacks = gpt().stacks()
    assert len(stacks) == 8
    assert stacks["blocks.1.attn.qkv.weight"] == 3
    assert stacks["blocks.0.mlp.up.weight"] == 1
    assert not any(name.startswith(("wte", "wpe")) for name in stacks)
    assert set(lstm().stacks().values()) == {4}
    for model in (gpt(), lstm()):
        named = dict(model.named_parameters())
        assert all(len(named[name]) % parts == 0 for name, parts in model.stacks().items())


def test_an_lstm_read_step_by_step_is_the_lstm_read_at_once() -> None:
    model, tokens = lstm(), some(3, 8)
    whole = model(tokens)
    memory = model.memory(3, 8)
    first = model.advance(tokens[:, :5], memory)
    assert torch.allclose(first, whole[:, 4], atol=1e-6)
    for place in range(5, 8):
        rows = torch.tensor([2, 0])
        logits = model.advance(tokens[rows, place : place + 1], memory, rows)
        assert torch.allclose(logits, whole[rows, place], atol=1e-6)
    assert torch.allclose(model.advance(tokens[1:2, 5:], memory, torch.tensor([1])), whole[1:2, 7], atol=1e-6)


def test_an_lstm_does_not_read_padding() -> None:
    model, tokens = lstm(), some(3, 6)
    padded = tokens.clone()
    padded[0, :4], padded[2, :1] = -1, -1
    together = model.advance(padded, model.memory(3, 6))
    for row, begin in enumerate((4, 0, 1)):
        alone = model.advance(tokens[row : row + 1, begin:], model.memory(1, 6))
        assert torch.allclose(together[row], alone[0], atol=1e-6)


def test_the_tokenizer_comes_from_the_data() -> None:
    info = DataInfo("text", (9,), assets=TextTokenizer(Bytes()).assets)
    assert GPT(GPTConfig(**SMALL), info)(some()).shape == (3, 8, 257)
