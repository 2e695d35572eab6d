"""The engine: the same numbers with and without what it remembers, alone and among others."""

from __future__ import annotations

import pytest
import torch
from aigc_text.captured import static_step
from aigc_text.decoding import Decoder, agree
from aigc_text.gpt import GPT
from aigc_text.kernels import packs
from tiny_text import gpt, lstm

from aigc_core.errors import UsageError

CONFIGS = [
    {},
    {"activation": "gelu", "bias": False},
    {"activation": "silu", "scale_by_layer": True, "tied": False},
    {"activation": "relu", "scale_attention": False, "inner": 24, "rows": 50},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_logits_with_a_memory_are_those_without(config: dict[str, object]) -> None:
    model = gpt(**config)  # type: ignore[arg-type]
    tokens = torch.randint(0, model.tokenizer.size, (5, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(tokens)
    memory = model.memory(5, 64)
    assert (model.advance(tokens[:, :7], memory) - whole[:, 6]).abs().max() < 1e-4
    assert (model.advance(tokens[:, 7:11], memory) - whole[:, 10]).abs().max() < 1e-4
    for place in range(11, 40):
        assert (model.advance(tokens[:, place : place + 1], memory) - whole[:, place]).abs().max() < 1e-4


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_step_of_fixed_shapes_gives_what_the_usual_one_does(config: dict[str, object]) -> None:
    """What is captured on a GPU, here as it is."""
    model = gpt(**config)  # type: ignore[arg-type]
    tokens = torch.randint(0, model.tokenizer.size, (3, 12), generator=torch.Generator().manual_seed(0))
    usual, fixed = model.memory(4, 16), model.memory(4, 16)
    for memory in (usual, fixed):
        for layer in memory.layers:
            layer.zero_()
        for row, length in enumerate((3, 9, 5)):
            model.advance(tokens[row : row + 1, :length], memory, torch.tensor([row]))
    for place in range(3):
        lengths = torch.tensor(fixed.lengths[:3])
        with torch.inference_mode():
            found = static_step(model, tokens[:, place], lengths, torch.arange(3), fixed)
        wanted = model.advance(tokens[:, place : place + 1], usual, torch.arange(3))
        assert (found - wanted).abs().max() < 1e-5
        fixed.lengths[:3] = [length + 1 for length in fixed.lengths[:3]]


def test_texts_of_different_lengths_are_read_from_their_first_token_on() -> None:
    model = gpt()
    tokens = torch.randint(0, model.tokenizer.size, (3, 9), generator=torch.Generator().manual_seed(0))
    padded = tokens.clone()
    padded[0, :4], padded[2, :1] = -1, -1
    memory = model.memory(3, 16)
    read = model.advance(padded, memory)
    with torch.no_grad():
        for row, pads in enumerate((4, 0, 1)):
            assert (model(tokens[row : row + 1, pads:])[0, -1] - read[row]).abs().max() < 1e-4
    assert memory.lengths == [5, 9, 8]


def test_a_memory_grows_and_keeps_what_it_holds() -> None:
    model = gpt()
    tokens = torch.randint(0, model.tokenizer.size, (2, 30), generator=torch.Generator().manual_seed(0))
    small, large = model.memory(2, 1), model.memory(2, 64)
    for place in range(30):
        a = model.advance(tokens[:, place : place + 1], small)
        assert torch.equal(a, model.advance(tokens[:, place : place + 1], large))
    assert 30 <= small.room < 64


def test_reading_beyond_the_context_is_refused() -> None:
    model = gpt(context=8)
    memory = model.memory(1, 100)
    model.advance(torch.zeros(1, 8, dtype=torch.long), memory)
    with pytest.raises(UsageError, match="9 tokens are more than the model's context of 8"):
        model.advance(torch.zeros(1, 1, dtype=torch.long), memory)


def test_weights_that_change_are_noticed() -> None:
    model, tokens = gpt(), torch.tensor([[1, 2, 3]])
    model.advance(tokens, model.memory(1, 8))
    with torch.no_grad():
        model.blocks[0].mlp.up.weight.mul_(0.5)  # type: ignore[union-attr, operator]
        assert (model(tokens)[:, -1] - model.advance(tokens, model.memory(1, 8))).abs().max() < 1e-4


@pytest.mark.parametrize("make", [gpt, lstm], ids=["gpt", "lstm"])
@pytest.mark.parametrize("few", [True, False], ids=["few rows", "whole blocks"])
def test_a_row_has_the_same_bits_alone_and_among_others_that_leave(make: type[GPT], few: bool) -> None:
    model, size = make(), 12
    generator = torch.Generator().manual_seed(0)
    lengths = [1, 5, 3, 5, 9, 3, 1, 2, 5, 5, 3, 7]
    texts = torch.randint(0, model.tokenizer.size, (size, 30), generator=generator).tolist()

    def logits_of(rows: list[int], ends: dict[int, int]) -> dict[tuple[int, int], torch.Tensor]:
        decoder, found = Decoder(model, size, 30), {}
        decoder.few = few
        logits = decoder.start({row: texts[row][: lengths[row]] for row in rows})
        for step in range(15):
            found |= {(row, step): logits[i].clone() for i, row in enumerate(decoder.rows)}
            decoder.leave([row for row in decoder.rows if ends.get(row) == step])
            if not decoder.rows:
                break
            logits = decoder.step({row: texts[row][lengths[row] + step] for row in decoder.rows})
        return found

    together = logits_of(list(range(size)), {row: (row * 5) % 14 for row in range(size)})
    for row in range(size):
        alone = logits_of([row], {row: (row * 5) % 14})
        assert alone
        for key, value in alone.items():
            assert torch.equal(value, together[key]), key


def test_a_whole_block_agrees_with_itself_and_a_trial_is_made_once() -> None:
    model = gpt()
    assert agree(model, 8, 8)
    assert (
        agree(model, 8, 4)
        is model.__dict__["_agreements"][(8, 4, torch.get_num_threads(), torch.float32, torch.device("cpu"))]
    )


def test_half_precision_is_decoded() -> None:
    model = gpt(loud=2.0)
    tokens = torch.randint(0, model.tokenizer.size, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = model(tokens)
    half = model.to(torch.bfloat16)
    memory = half.memory(2, 16)
    for place in range(12):
        read = half.advance(tokens[:, place : place + 1], memory)
        assert read.dtype == torch.bfloat16
        assert (read.float() - exact[:, place]).abs().max() < 0.1 * exact.abs().max()
    assert not packs(torch.zeros(2, 2, dtype=torch.float64))
