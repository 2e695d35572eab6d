"""`aigc eval`: figures with all that they depend on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import Run, Site, weights_bytes

import aigc_core
from aigc_core.errors import DataError
from aigc_core.training.job import train
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Store

REGISTRATION = """
from aigc_core import DatasetSpec, MetricSpec, hookimpl

@hookimpl
def aigc_register_metrics(registry):
    for name, part in {"mean-error": "MeanError", "weird": "Weird", "fails": "Fails", "nothing": "Nothing"}.items():
        registry.add(MetricSpec(name=name, summary="a metric", modality="image", metric=f"judge_parts_backend:{part}"))
    registry.add(MetricSpec(name="length", summary="a metric", modality="text", metric="judge_parts_backend:Length"))
    registry.add(MetricSpec(name="loudness", summary="a metric", modality="audio", metric="judge_parts_backend:MeanError"))

@hookimpl
def aigc_register_datasets(registry):
    for name, splits in {"three": ("train", "validation", "test"), "two": ("train", "test"), "one": ("train",)}.items():
        registry.add(DatasetSpec(
            name=name, summary="a set", modality="image", license="MIT", shape=(1, 8, 8), splits=splits,
            source=f"judge_parts_backend:{name}",
        ))
"""
PARTS = """
import math
import numpy as np
import torch
from aigc_core.data.dataset import ArrayImages
from aigc_core.interfaces import Metric

class MeanError(Metric):
    '''How far drawn latents' pictures are from the data's mean.'''
    def measure(self, generator, data, *, seed, track):
        assert not generator.training and not torch.is_grad_enabled()
        total = torch.zeros(data.info.shape)
        for i in track(range(len(data)), len(data), "items"):
            total += data.fetch(torch.tensor([i]))[0][0] / 255
        noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((16, generator.config.latent)))
        drawn = generator(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), noise[:1].float())[0]
        return {"mean-error": float((drawn.sigmoid() - total / len(data)).abs().mean()), "items": len(data)}

class Length(Metric):
    def measure(self, generator, data, *, seed, track):
        tokens = data.fetch(torch.arange(len(data)))[0]
        return {"windows": len(data), "largest": int(tokens.max()), "width": tokens.shape[1]}

class Weird(Metric):
    def measure(self, generator, data, *, seed, track):
        return {"endless": math.inf}

class Fails(Metric):
    def measure(self, generator, data, *, seed, track):
        return 1 / 0

class Nothing(Metric):
    def measure(self, generator, data, *, seed, track):
        return {"a": "b"}

def _set(name, split):
    rng = np.random.default_rng(["train", "validation", "test"].index(split))
    return ArrayImages(rng.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), name=name, split=split)

def three(split): return _set("three", split)
def two(split): return _set("two", split)
def one(split): return _set("one", split)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a training, made once."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGC_HOME", str(home))
        train("vae/mlp", "digits", steps=20, options={"hidden": (8,), "latent": 3}, name="tiny")
    return home


@pytest.fixture
def judge(site: Site, trained: Path, home: Path) -> Site:
    """Weights `tiny`, and a backend with metrics and data."""
    shutil.copytree(trained, home)
    (site.path / "judge_parts_backend.py").write_text(PARTS)
    site.add("judge", REGISTRATION)
    return site


def test_the_figures_are_shown_and_kept_with_what_they_depend_on(judge: Site, aigc: Run) -> None:
    shown = aigc("eval", "tiny", "--data", "three", "-m", "mean-error", "--seed", 5)
    assert shown.code == 0, shown.err
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[0] == ["METRIC", "FIGURE", "VALUE"]
    assert [row[:2] for row in rows[1:]] == [["mean-error", "mean-error"], ["mean-error", "items"]]
    assert rows[2][2] == "40"
    assert "by three (validation, 40 items), seed 5" in shown.err

    (card,) = json.loads(
        aigc("eval", "tiny@1", "--data", "three", "-m", "mean-error", "--seed", 5, "--json").out
    )
    assert f"{card['figures']['mean-error']:.6g}" == rows[1][2]
    version = Store().version("tiny")
    assert card["name"] == "mean-error"
    assert card["weights"] == {
        "name": "tiny@1", "manifest": version.manifest.digest, "model": "vae/mlp",
        "tensors_digest": version.manifest.tensors_digest,
    }  # fmt: skip
    assert card["data"]["digest"].startswith("sha256:")
    assert {k: card["data"][k] for k in ("name", "split", "count")} == {
        "name": "three", "split": "validation", "count": 40,
    }  # fmt: skip
    assert card["seed"] == 5
    assert card["versions"] == {
        "aigc-core": aigc_core.__version__, "aigc-judge": "1.0", "aigc-vae": card["versions"]["aigc-vae"],
    }  # fmt: skip
    assert {"torch", "python", "device", "threads"} <= set(card["environment"])
    assert card["seconds"] >= 0


def test_the_same_seed_gives_the_same_figures_and_another_others(judge: Site) -> None:
    def figures(seed: int) -> object:
        (card,) = aigc_core.evaluate("tiny", "two", metrics=["mean-error"], seed=seed)
        return card.figures

    assert figures(1) == figures(1) != figures(2)


def test_every_metric_that_fits_is_measured_where_none_is_named(judge: Site, aigc: Run) -> None:
    parts = (judge.path / "judge_parts_backend.py").read_text()
    fixed = parts.replace("return 1 / 0", 'return {"fine": 1.0}').replace('{"a": "b"}', '{"a": 2}')
    (judge.path / "judge_parts_backend.py").write_text(fixed)
    cards = json.loads(aigc("eval", "tiny", "--data", "two", "--json").out)
    assert [card["name"] for card in cards] == ["mean-error", "weird", "fails", "nothing"]
    assert cards[1]["figures"] == {"endless": None}, "JSON has no infinity"
    twice = json.loads(aigc("eval", "tiny", "--data", "two", "-m", "weird", "-m", "weird", "--json").out)
    assert len(twice) == 1


def test_the_split_is_the_validation_part_or_else_the_test_part(judge: Site, aigc: Run) -> None:
    def split(data: str, *more: str) -> str:
        result = aigc("eval", "tiny", "--data", data, "-m", "weird", "--json", *more)
        assert result.code == 0, result.err
        return str(json.loads(result.out)[0]["data"]["split"])

    assert split("three") == "validation"
    assert split("two") == "test"
    assert split("three", "--split", "test") == "test"
    refused = aigc("eval", "tiny", "--data", "one")
    assert refused.code == 6
    assert (
        "one: has no split to judge by (validation or test), only: train; name one by --split"
        in refused.error
    )
    assert split("one", "--split", "train") == "train"


def test_what_flatters_the_figures_is_remarked(judge: Site, aigc: Run) -> None:
    other = aigc("eval", "tiny", "--data", "one", "--split", "train", "-m", "weird")
    assert "the split 'train' is what models are fitted on" in other.err
    same = aigc("eval", "tiny", "--data", "digits", "--split", "train", "-m", "weird")
    assert "the weights were fitted on these very data (digits, train)" in same.err
    assert "aigc: " not in aigc("eval", "tiny", "--data", "two", "-m", "weird", "--json").err


def test_a_path_without_a_part_that_was_held_out_is_refused(judge: Site, tmp_path: Path, aigc: Run) -> None:
    np.savez(tmp_path / "some.npz", images=np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"some.npz: has no split to judge by"):
        aigc_core.evaluate("tiny", tmp_path / "some.npz", metrics=["weird"])
    (tmp_path / "broken.npz").write_bytes(b"PK")
    broken = aigc("eval", "tiny", "--data", tmp_path / "broken.npz")
    assert broken.code in (5, 6)
    assert "has no split" not in broken.error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["tiny", "--data", "two", "-m", "mean-eror"],
            3,
            "no metric 'mean-eror'; did you mean 'mean-error'?",
        ),
        (
            ["tiny", "--data", "two", "-m", "loudness"],
            2,
            "metric 'loudness' judges audio, these weights make image",
        ),
        (
            ["tiny", "--data", "two", "-m", "fails"],
            4,
            "backend 'judge' (aigc-judge 1.0) failed to measure 'fails'",
        ),
        (
            ["tiny", "--data", "two", "-m", "nothing"],
            4,
            "metric 'nothing' gave no figures, names with numbers, but",
        ),
        (["tiny", "--data", "tow", "-m", "weird"], 3, "did you mean 'two'?"),
        (["tine", "--data", "two", "-m", "weird"], 3, "no weights 'tine'; did you mean 'tiny'?"),
        (["tiny", "--data", "two", "-m", "weird", "--seed", "-1"], 2, "--seed must lie in 0 .."),
        (["tiny", "--data", "two", "--split", "dev"], 6, "has no split 'dev'"),
        (["tiny"], 2, "--data"),
    ],
)
def test_a_mistake_is_one_line(judge: Site, aigc: Run, arguments: list[str], code: int, said: str) -> None:
    refused = aigc("eval", *arguments)
    assert refused.code == code
    assert said in refused.error
    assert refused.out == ""


def test_items_of_another_size_or_kind_are_refused(judge: Site, aigc: Run, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "texts" / split).mkdir(parents=True)
        (tmp_path / "texts" / split / "a.txt").write_text("some text " * 50)
    refused = aigc("eval", "tiny", "--data", tmp_path / "texts", "-m", "weird", "--split", "test")
    assert refused.code == 6
    assert "is text, vae/mlp makes image" in refused.error
    np.savez(tmp_path / "wide.npz", images=np.zeros((4, 8, 9), np.uint8))
    refused = aigc("eval", "tiny", "--data", tmp_path / "wide.npz", "-m", "weird", "--split", "train")
    assert refused.code == 6
    assert "'wide' has items of 1x8x9, these weights are of 1x8x8" in refused.error


def test_without_a_metric_for_the_modality_it_is_said(aigc: Run, home: Path, trained: Path) -> None:
    shutil.copytree(trained, home)
    refused = aigc("eval", "tiny", "--data", "digits")
    assert refused.code == 3
    assert "no backend that is installed has a metric for image" in refused.error


def test_weights_of_a_backend_that_is_not_there_are_refused(judge: Site, aigc: Run) -> None:
    Store().publish("lost", {WEIGHTS_FILE: weights_bytes(1)})
    refused = aigc("eval", "lost", "--data", "two")
    assert refused.code == 4
    assert "'tiny'" in refused.error


def texts(tmp_path: Path, **record: object) -> Path:
    """Weights of a model of bytes, whose record says what they were trained on."""
    from aigc_text.config import GPTConfig
    from aigc_text.vocabulary import TextTokenizer

    from aigc_core.registry import default
    from aigc_core.specs import DataInfo
    from aigc_core.weights.file import encode

    model = default().load("text/gpt")
    config = GPTConfig(layers=1, heads=1, width=4, context=16, tokenizer="bytes")
    tokens = TextTokenizer.fit(config, lambda: ["a"], {})
    generator = model.generator(config, DataInfo("text", (17,), (), {}, tokens.assets))
    data = {"name": "book", "split": "train", "digest": "sha256:0", "count": 9, **record}
    content, _ = encode(generator, model, data, {"steps": 1, "seed": 0, "options": {}})
    (tmp_path / "w.safetensors").write_bytes(content)
    return tmp_path / "w.safetensors"


def test_a_model_of_tokens_is_judged_by_those_of_its_own_tokenizer(
    judge: Site, tmp_path: Path, aigc: Run
) -> None:
    (tmp_path / "book.txt").write_text(
        "".join(f"line {n} of a book about 夏\n" for n in range(400)), encoding="utf-8"
    )
    weights = texts(tmp_path)
    (card,) = json.loads(aigc("eval", weights, "--data", tmp_path / "book.txt", "-m", "length", "--json").out)
    assert card["name"] == "length"
    assert card["data"]["split"] == "validation"
    assert card["figures"] == {"windows": card["data"]["count"], "largest": 0xE5, "width": 17}
    whole = (tmp_path / "book.txt").stat().st_size / 16
    assert 0.05 * whole < card["data"]["count"] < 0.15 * whole


def test_a_text_is_read_as_it_was_in_training_unless_it_is_said_how(
    judge: Site, tmp_path: Path, aigc: Run
) -> None:
    lines = "".join(f"line {n} of a book\n" for n in range(400))
    for name in ("book", "other"):
        (tmp_path / f"{name}.txt").write_text(lines)
    weights = texts(tmp_path, reading={"documents": "line", "validation": 0.4})

    def count(data: str, *more: str) -> int:
        result = aigc("eval", weights, "--data", tmp_path / data, "-m", "length", "--json", *more)
        assert result.code == 0, result.err
        return int(json.loads(result.out)[0]["data"]["count"])

    as_trained = count("book.txt", "-d", "documents=line", "-d", "validation=0.4")
    assert count("book.txt") == as_trained
    assert count("other.txt") < as_trained / 2
    assert count("book.txt", "-d", "validation=0.05") < as_trained / 2
    refused = aigc("eval", weights, "--data", tmp_path / "book.txt", "-d", "validatoin=0.1")
    assert refused.code == 2
    assert "did you mean 'validation'?" in refused.error
