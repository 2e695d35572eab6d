"""Adapters: what they change, what they leave, and what is kept of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aigc_text.coders import Characters
from aigc_text.config import GPTConfig, LanguageTraining, LSTMConfig
from aigc_text.gpt import GPT
from aigc_text.lora import Adapted
from aigc_text.lstm import LSTM
from aigc_text.trainer import LanguageTrainer
from aigc_text.vocabulary import TextTokenizer

from aigc_core.errors import UsageError
from aigc_core.interfaces import Batch
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine

INFO = DataInfo("text", (9,), assets=TextTokenizer(Characters("abcdefgh")).assets)
TOKENS = torch.randint(9, (16, 9), generator=torch.Generator().manual_seed(0))


def gpt() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(layers=2, heads=2, width=16, context=8), INFO)


def fitted(steps: int = 5, **options: Any) -> tuple[LanguageTrainer, dict[str, torch.Tensor]]:
    """A trainer after some steps, and the tensors that it began with."""
    generator = gpt()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    engine = AccelerateEngine(0, 16, steps, cpu=True)
    trainer = LanguageTrainer(
        generator, LanguageTraining(**{"batch_size": 16, "lora": 4, "lr": 1e-2, **options}), engine
    )
    for step in range(steps):
        engine.begin(step)
        trainer.step(Batch(TOKENS, torch.arange(16)))
    return trainer, before


def test_the_merged_generator_is_the_one_with_adapters() -> None:
    trainer, before = fitted()
    merged = trainer.result()
    assert type(merged) is GPT
    with torch.no_grad():
        adapted, plain = trainer.network(TOKENS[:, :8]), merged(TOKENS[:, :8])
        began = GPT(merged.config, INFO)
        began.load_state_dict(before)
        assert torch.allclose(adapted, plain, atol=1e-5)
        assert (plain - began(TOKENS[:, :8])).abs().max() > 1e-2, "it has learnt nothing"


def test_the_result_is_what_it_began_with_and_the_adapters() -> None:
    trainer, before = fitted()
    adapters, after = trainer.adapters(), trainer.result().state_dict()
    assert adapters is not None
    assert set(adapters) == set(trainer.generator.stacks())
    for name, tensor in after.items():
        if name in adapters:
            down, up = adapters[name]
            outs, ins = tensor.shape
            assert (down.shape, up.shape) == ((4, ins), (outs, 4))
            assert torch.equal(tensor, before[name] + up @ down)
            assert not torch.equal(tensor, before[name])
        else:
            assert torch.equal(tensor, before[name])


def test_only_adapters_have_moments_and_are_checkpointed() -> None:
    trainer, _ = fitted(2)
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    adapted = trainer.network
    assert isinstance(adapted, Adapted)
    assert held == {id(p) for p in adapted.adapters.parameters()}
    assert trainer.muon is None
    state = trainer.state_dict()
    assert set(state) == {"adapters", "drop", "optimizer"}


def test_nothing_is_added_at_first() -> None:
    trainer, before = fitted(0)
    for name, tensor in trainer.result().state_dict().items():
        assert torch.equal(tensor, before[name])


def test_alpha_over_rank_scales_what_is_added() -> None:
    """The same factors with twice the alpha add twice as much."""
    small, large = Adapted(gpt(), 4, 16.0), Adapted(gpt(), 4, 32.0)
    with torch.no_grad():
        for one in (small, large):
            torch.manual_seed(1)
            for parameter in one.adapters.parameters():
                parameter.normal_()
    name = "blocks.0.mlp.up.weight"
    base = gpt().state_dict()[name]
    assert torch.allclose(
        2 * (small.merged().state_dict()[name] - base), large.merged().state_dict()[name] - base, atol=1e-4
    )


def test_a_rank_that_saves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rank 16 is no smaller than blocks.0.attn.qkv, 48x16; .* below 16"):
        fitted(0, lora=16)


def test_an_lstm_has_no_adapters() -> None:
    model = LSTM(LSTMConfig(layers=1, width=8, context=8), INFO)
    with pytest.raises(UsageError, match="lora is for text/gpt alone"):
        LanguageTrainer(model, LanguageTraining(lora=2), AccelerateEngine(0, 16, 10, cpu=True))


def test_without_lora_there_are_no_adapters() -> None:
    trainer, _ = fitted(1, lora=0)
    assert trainer.adapters() is None
    assert trainer.result() is trainer.generator
