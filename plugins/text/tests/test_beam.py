"""Beam search, and greedy texts, against transformers'."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from aigc_text.beam import Beam
from aigc_text.gpt import GPT
from aigc_text.options import BeamOptions, GreedyOptions
from aigc_text.samplers import Greedy
from tiny_text import block, gpt, of_bytes, texts
from torch import nn


def peer(model: GPT) -> Any:
    """The same network, as transformers has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from transformers import GPT2Config, GPT2LMHeadModel

    config = model.config
    other = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=model.tokenizer.size, n_positions=config.context, n_embd=config.width, n_layer=config.layers,
            n_head=config.heads, bos_token_id=model.tokenizer.end, eos_token_id=model.tokenizer.end,
        )
    ).eval()  # fmt: skip
    names = {
        "attn.qkv": "attn.c_attn",
        "attn.proj": "attn.c_proj",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    state = {}
    for name, value in model.state_dict().items():
        renamed = name.replace("blocks.", "h.")
        for ours, theirs in names.items():
            if f".{ours}.weight" in name:
                value = value.t()
            renamed = renamed.replace(ours, theirs)
        state[f"transformer.{renamed}"] = value
    state["lm_head.weight"] = state["transformer.wte.weight"]
    other.load_state_dict(state)
    return other


def generated(model: GPT, prompt: str, tokens: int, **options: Any) -> bytes:
    ids = torch.tensor(model.tokenizer.encode(prompt))[None]
    with torch.no_grad():
        out = peer(model).generate(
            ids, max_new_tokens=tokens, do_sample=False, pad_token_id=model.tokenizer.end,
            attention_mask=torch.ones_like(ids), **options,
        )  # fmt: skip
    return model.tokenizer.decode(out[0].tolist())


@pytest.mark.parametrize("seed", [0, 1])
def test_greedy_texts_are_those_of_transformers(seed: int) -> None:
    model = gpt(seed, loud=6.0, context=256)
    ours = texts(Greedy, GreedyOptions(max_tokens=200), model, block(1, ["hello"]))
    assert ours == [generated(model, "hello", 200)]


@pytest.mark.parametrize(
    ("seed", "penalty", "least"), [(0, 1.0, 0), (1, 1.0, 0), (2, 0.0, 0), (3, 2.0, 0), (1, 1.0, 200)]
)
def test_beams_are_those_of_transformers(seed: int, penalty: float, least: int) -> None:
    model = gpt(seed, loud=6.0, context=256)
    ours = texts(
        Beam,
        BeamOptions(max_tokens=200, length_penalty=penalty, min_tokens=least),
        model,
        block(1, ["hello"]),
    )
    theirs = generated(
        model,
        "hello",
        200,
        num_beams=4,
        length_penalty=penalty,
        **({"min_new_tokens": least} if least else {}),
    )
    assert ours == [theirs]


def test_more_beams_find_a_likelier_text() -> None:
    model = gpt(5, loud=6.0)
    means = []
    for beams in (1, 8):
        here = block(1, ["ab"])
        texts(Beam, BeamOptions(max_tokens=20, min_tokens=20, beams=beams), model, here)
        assert here.notes is not None
        means.append(here.notes[0]["log_probability"])
        assert here.notes[0]["tokens"] == 20
    assert means[1] > means[0]


def test_one_beam_is_the_greedy_text() -> None:
    model = gpt(6)
    prompts = ["abc", "夏天", "", "x"]
    beams = texts(Beam, BeamOptions(max_tokens=30, min_tokens=30, beams=1), model, block(4, prompts))
    greedy = texts(Greedy, GreedyOptions(max_tokens=30, min_tokens=30), model, block(4, prompts))
    assert beams == greedy


def test_a_row_does_not_depend_on_the_others() -> None:
    model = gpt(7)
    prompts = ["abc", "hello there", "", "夏"]
    together = texts(Beam, BeamOptions(max_tokens=25), model, block(4, prompts))
    for row in range(4):
        alone = texts(Beam, BeamOptions(max_tokens=25), model, block(4, prompts, wanted=range(row, row + 1)))
        assert alone[row] == together[row]


def test_a_stop_string_ends_a_text_before_it() -> None:
    model = of_bytes(loud=6.0)
    plain = texts(Beam, BeamOptions(max_tokens=30, min_tokens=30, echo=False), model, block(1))[0]
    stop = plain[10:12].decode("latin-1")
    if not stop.isascii():
        stop = next(chr(byte) for byte in plain if byte < 128)
    cut = texts(Beam, BeamOptions(max_tokens=30, stop=(stop,), echo=False), model, block(1))[0]
    assert stop.encode() not in cut


def test_the_context_ends_a_text() -> None:
    model, here = gpt(8, context=16), block(1, ["abcdef"])
    texts(Beam, BeamOptions(max_tokens=100, min_tokens=100), model, here)
    assert here.notes is not None
    assert (here.notes[0]["tokens"], here.notes[0]["stopped"]) == (11, "context")
    assert isinstance(model.blocks, nn.ModuleList)
