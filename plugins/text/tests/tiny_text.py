"""Small language models of fresh weights, for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from aigc_text.coders import Bytes, Characters
from aigc_text.config import GPTConfig, LSTMConfig
from aigc_text.gpt import GPT
from aigc_text.language import LanguageModel
from aigc_text.lstm import LSTM
from aigc_text.vocabulary import TextTokenizer

from aigc_core.interfaces import Block
from aigc_core.options import Options
from aigc_core.specs import DataInfo

CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz夏天海边秋风"


def info(tokenizer: TextTokenizer) -> DataInfo:
    return DataInfo("text", (64,), (), {}, tokenizer.assets)


def gpt(seed: int = 0, loud: float = 8.0, **config: Any) -> GPT:
    """loud: what the weights are multiplied by, so that the tokens differ in their probabilities."""
    tokenizer = config.pop("coder", None) or TextTokenizer(Characters(CHARACTERS))
    torch.manual_seed(seed)
    settings = {"layers": 2, "heads": 2, "width": 16, "context": 64, **config}
    model = GPT(GPTConfig(tokenizer=tokenizer.name, **settings), info(tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= loud
    return model


def lstm(seed: int = 0) -> LSTM:
    tokenizer = TextTokenizer(Characters(CHARACTERS))
    torch.manual_seed(seed)
    model = LSTM(LSTMConfig(layers=2, width=16, context=32, tokenizer="characters"), info(tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4
    return model


def of_bytes(**config: Any) -> GPT:
    return gpt(coder=TextTokenizer(Bytes()), **config)


def block(
    size: int = 8,
    prompts: Sequence[str] | None = None,
    wanted: range | None = None,
    seed: int = 0,
    start: int = 0,
) -> Block:
    notes: tuple[dict[str, Any], ...] = tuple({} for _ in range(size))
    given = None if prompts is None else tuple(prompts)
    return Block(seed, start, size, torch.device("cpu"), prompts=given, wanted=wanted, notes=notes)


def texts(sampler: type[Any], options: Options, model: LanguageModel, block: Block) -> list[bytes]:
    """The bytes of each row, up to the 0."""
    rows = sampler(options).sample(model, block)
    assert rows.dtype == torch.uint8
    return [bytes(row.tolist()).partition(b"\0")[0] for row in rows]
