"""Figures of held-out text: what they count, and that memory does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from aigc_text import metrics
from aigc_text.config import GPTConfig, LanguageConfig, LSTMConfig
from aigc_text.gpt import GPT
from aigc_text.lstm import LSTM
from aigc_text.metrics import BitsPerByte, WindowLoss
from aigc_text.vocabulary import TextTokenizer
from torch import Tensor

from aigc_core.data.sources import open_data
from aigc_core.data.tokens import Tokens, for_model
from aigc_core.errors import DataError, UsageError
from aigc_core.registry import default

TEXT = "夏天 the sea, the sand, the sea again; " * 40


def held_out(folder: Path, config: LanguageConfig) -> Tokens:
    file = folder / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return for_model(
        open_data(file, default(), split="validation", reading={"validation": 0.5}),
        TextTokenizer, config, {}, None,
    )  # fmt: skip


def uniform(config: GPTConfig, data: Tokens) -> GPT:
    model = GPT(config, data.info).eval()
    with torch.no_grad():
        model.wte.weight.zero_()
    return model


def quietly(items: Iterable[Any], count: int, label: str) -> Iterator[Any]:
    """Shows nothing; checks that there are as many as was said."""
    seen = 0
    for item in items:
        seen += 1
        yield item
    assert seen == count


def figures(metric: Any, model: Any, data: Any) -> dict[str, float]:
    with torch.inference_mode():
        return dict(metric().measure(model, data, seed=0, track=quietly))


def small(**config: Any) -> GPTConfig:
    return GPTConfig(**{"layers": 1, "heads": 2, "width": 16, "context": 7, **config})


@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
def test_a_model_that_knows_nothing_needs_log2_v_bits_a_token(tmp_path: Path, tokenizer: str) -> None:
    config = small(tokenizer=tokenizer)
    data = held_out(tmp_path, config)
    found = figures(BitsPerByte, uniform(config, data), data)
    size = len(TextTokenizer.load(data.info.assets).decode(data.row))
    assert found["bytes"] == size
    assert found["tokens"] == len(data.row)
    values = TextTokenizer.load(data.info.assets).size
    assert found["bits-per-byte"] == pytest.approx(math.log2(values) * len(data.row) / size, rel=1e-5)
    assert found["loss"] == pytest.approx(math.log(values), rel=1e-5)
    assert found["perplexity"] == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("at_once", [1, 1 << 9, 1 << 25])
@pytest.mark.parametrize("context", [2, 7, 64])
def test_every_token_is_predicted_once_from_what_its_window_holds(
    tmp_path: Path, context: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many windows are computed at once, the figure is that of the tokens one by one."""
    monkeypatch.setattr(metrics, "VALUES", at_once)
    torch.manual_seed(0)
    config = small(context=context)
    data = held_out(tmp_path, config)
    model = GPT(config, data.info).eval()
    row = torch.tensor([model.tokenizer.end, *data.row.tolist()])
    nats = 0.0
    with torch.inference_mode():
        for place in range(1, len(row)):
            begin = (place - 1) // context * context
            log_p = model(row[None, begin:place])[0, -1].double().log_softmax(0)
            nats -= float(log_p[row[place]])
    assert figures(BitsPerByte, model, data)["loss"] * len(data.row) == pytest.approx(nats, rel=1e-5)


def test_the_logits_at_once_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "VALUES", 4096)
    config = small()
    data = held_out(tmp_path, config)
    model, seen = uniform(config, data), []

    def watch(_: Any, given: Any, out: Tensor) -> None:
        seen.append(out.numel())

    model.register_forward_hook(watch)
    figures(BitsPerByte, model, data)
    figures(WindowLoss, model, data)
    assert max(seen) <= 4096
    assert len(seen) > 20


def test_the_random_windows_come_near_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LSTMConfig(layers=1, width=16, context=32)
    data = held_out(tmp_path, config)
    model = LSTM(config, data.info).eval()
    whole, some = figures(BitsPerByte, model, data), figures(WindowLoss, model, data)
    assert some["windows"] == 2400
    assert abs(some["window-loss"] - whole["loss"]) < max(0.02, 5 * some["error"])
    assert figures(WindowLoss, model, data) == some, "drawn by the seed alone"


def test_other_data_and_other_models_are_refused(tmp_path: Path) -> None:
    config = small()
    data = held_out(tmp_path, config)
    model = uniform(config, data)
    with pytest.raises(DataError, match="'digits' holds no tokens"):
        figures(BitsPerByte, model, open_data("digits", default()))
    with pytest.raises(UsageError, match="Linear is no language model"):
        figures(WindowLoss, torch.nn.Linear(2, 2), data)
