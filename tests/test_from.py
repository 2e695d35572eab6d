"""Training that begins with weights: all of them, or adapters that are kept alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Run

import aigc_core
from aigc_core.errors import NotFoundError, UsageError
from aigc_core.registry import default
from aigc_core.testing.material import SETS
from aigc_core.training.job import Trained, train
from aigc_core.weights.convert import convert

SMALL = {"layers": 1, "heads": 2, "width": 16, "context": 16, "batch_size": 8}
TEXT = SETS["text"]


@pytest.fixture
def first() -> Trained:
    return train("text/gpt", TEXT, name="first", steps=10, options=SMALL)


def state(weights: str | Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = aigc_core.load(weights).generator.state_dict()
    return found


def more(**given: Any) -> Trained:
    base = given.pop("base", "first")
    return train("text/gpt", TEXT, name="second", steps=2, base=base, **given)


def test_it_begins_with_the_tensors_and_options_of_the_weights(first: Trained) -> None:
    still = more(options={"lr": 1e-9, "weight_decay": 0, "batch_size": 8})
    assert still.record["config"] == first.record["config"]
    assert still.record["training"]["parents"] == [first.record["tensors_digest"]]
    before, after = state("first"), state("second")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert still.record["training"]["metrics"]["loss"] < first.record["training"]["metrics"]["loss"] + 0.3


def test_it_resumes_and_is_trained_again_exactly(first: Trained, aigc: Run) -> None:
    command = ["train", "text/gpt", "--data", TEXT, "--from", "first@1", "--name", "second", "--steps", 4]
    assert aigc(*command, "--batch-size", 8).code == 0
    assert aigc("train", *command[1:], "--batch-size", 8).code == 0, "it says that it has finished"
    assert len([v for v in aigc_core.list_weights() if v.name == "second"]) == 1
    again = aigc("weights", "retrain", "second")
    assert (again.code, "exact" in again.out) == (0, True), again.err


def test_new_text_is_read_with_the_tokenizer_of_the_weights(first: Trained, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("king and queen and king " * 100)
    done = train(
        "text/gpt", tmp_path / "new.txt", name="second", steps=2, base="first", options={"batch_size": 8}
    )
    assert state(done.weights)["wte.weight"].shape == state("first")["wte.weight"].shape
    (tmp_path / "new.txt").write_text("夏天 " * 100)
    with pytest.raises(UsageError, match="夏"):
        train("text/gpt", tmp_path / "new.txt", name="third", steps=2, base="first")


def test_what_does_not_fit_is_refused_before_a_run_begins(first: Trained, home: Path) -> None:
    with pytest.raises(UsageError, match="are weights of text/gpt, not of text/lstm"):
        train("text/lstm", TEXT, base="first", steps=1)
    with pytest.raises(
        UsageError, match="don't fit this model and data: .* is 16 and 32; leave out the options"
    ):
        more(options={"width": 32})
    with pytest.raises(NotFoundError):
        more(base="nobody")
    convert("first", "int8", None, default(), [])
    with pytest.raises(UsageError, match="weights of 8 bits, for sampling alone"):
        more(base="first-int8")
    assert [path.name.partition("-")[0] for path in (home / "runs").iterdir()] == ["first"]


def test_adapters_alone_are_small_and_give_what_the_merged_weights_give(first: Trained) -> None:
    options = {"lora": 2, "lr": 0.05, "batch_size": 8}
    alone = more(options=options, adapters=True)
    merged = train("text/gpt", TEXT, name="merged", steps=2, base="first", options=options)
    assert alone.path.stat().st_size < 0.7 * merged.path.stat().st_size
    assert alone.record["base"] == first.record["tensors_digest"]
    one, two, before = state(alone.weights), state(merged.weights), state("first")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert any(not torch.equal(one[name], before[name]) for name in one)
    drawn = [aigc_core.sample(w, count=2, options={"max_tokens": 8}) for w in (alone.weights, merged.weights)]
    assert all(part is not None for part in drawn)


def test_adapters_need_their_base_and_a_training_of_adapters(first: Trained, aigc: Run) -> None:
    done = more(options={"lora": 2, "batch_size": 8}, adapters=True)
    with pytest.raises(UsageError, match="--adapters keeps what is added to weights"):
        train("text/gpt", TEXT, name="x", steps=1, options=SMALL, adapters=True)
    with pytest.raises(UsageError, match="the option that trains adapters"):
        train("text/gpt", TEXT, name="x", steps=1, base="first", options={"batch_size": 8}, adapters=True)
    needed = aigc("weights", "rm", "first@1")
    assert (needed.code, "second@1 is adapters that are added to first@1" in needed.error) == (2, True)
    assert "added to sha256:" in aigc("weights", "show", "second").out
    aigc_core.list_weights()[0].store.remove("first@1")
    with pytest.raises(UsageError, match="give those by --from"):
        train("text/gpt", TEXT, name="x", steps=1, options={**SMALL, "lora": 2})
    lost = aigc("sample", done.weights)
    assert (lost.code, first.record["tensors_digest"] in lost.error) == (3, True)
    assert "pull or import those" in lost.error
