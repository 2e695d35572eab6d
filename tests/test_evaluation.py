"""`aigc eval`: figures with all that they depend on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import Run, Site, weights_bytes

import aigc_core
from aigc_core.errors import DataError
from aigc_core.evaluation.features import train_features
from aigc_core.plugins.discovery import discover
from aigc_core.training.job import train
from aigc_core.weights.header import read_header
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Store

REGISTRATION = """
from aigc_core import DatasetSpec, MetricSpec, hookimpl

@hookimpl
def aigc_register_metrics(registry):
    for name, part in {"mean-error": "MeanError", "weird": "Weird", "fails": "Fails", "nothing": "Nothing"}.items():
        registry.add(MetricSpec(name=name, summary="a metric", modality="image", metric=f"judge_parts_backend:{part}"))
    registry.add(MetricSpec(
        name="apart", summary="a metric", modality="image", metric="judge_parts_backend:Apart", default=False,
    ))
    for name, models in {"of-vae": ("vae/mlp",), "of-gan": ("gan/mlp", "gan/dcgan")}.items():
        registry.add(MetricSpec(
            name=name, summary="a metric", modality="image", metric="judge_parts_backend:Weird", models=models, default=False,
        ))
    registry.add(MetricSpec(name="length", summary="a metric", modality="text", metric="judge_parts_backend:Length"))
    registry.add(MetricSpec(name="loudness", summary="a metric", modality="audio", metric="judge_parts_backend:MeanError"))

@hookimpl
def aigc_register_datasets(registry):
    registry.add(DatasetSpec(
        name="some-digits", summary="a set", modality="image", license="MIT", shape=(1, 8, 8), splits=("train", "test"),
        source="judge_parts_backend:some_digits",
    ))
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
from aigc_core.interfaces import FeatureMetric, Figure, Metric

class Apart(FeatureMetric):
    def compare(self, real, fake, *, seed):
        return {"apart": Figure(float(np.abs(real.values.mean(0) - fake.values.mean(0)).max())), "of": len(fake.values)}

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

def some_digits(split):
    from aigc_core.data.known import digits
    pixels, labels = digits("train").fetch(torch.arange(300) + 300 * (split == "test"))
    names = [str(n) for n in range(10)]
    return ArrayImages(pixels.numpy(), labels.numpy(), names, name="some-digits", split=split)

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


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of `some-digits`, made once: a folder to be put into a home."""
    home = tmp_path_factory.mktemp("features")
    site = Site(tmp_path_factory.mktemp("site"))
    (site.path / "judge_parts_backend.py").write_text(PARTS)
    site.add("judge", REGISTRATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGC_HOME", str(home))
        patch.syspath_prepend(str(site.path))
        train_features("some-digits", registry=discover())
    del sys.modules["judge_parts_backend"], sys.modules["aigc_judge_backend"]
    return home / "features"


@pytest.fixture
def seeing(judge: Site, features: Path, home: Path) -> Site:
    """The same, with features of `some-digits`."""
    shutil.copytree(features, home / "features")
    return judge


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


def test_every_metric_that_fits_is_measured_where_none_is_named(seeing: Site, aigc: Run) -> None:
    parts = (seeing.path / "judge_parts_backend.py").read_text()
    fixed = parts.replace("return 1 / 0", 'return {"fine": 1.0}').replace('{"a": "b"}', '{"a": 2}')
    (seeing.path / "judge_parts_backend.py").write_text(fixed)
    cards = json.loads(aigc("eval", "tiny", "--data", "some-digits", "--json").out)
    core = ["fid", "kid", "precision-recall", "density-coverage", "classes"]
    others = ["mean-error", "weird", "fails", "nothing", "elbo", "iwae", "reconstruction"]
    assert [card["name"] for card in cards] == core + others
    assert cards[6]["figures"] == {"endless": None}, "JSON has no infinity"
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
        (["--data", "two"], 2, "Missing argument 'WEIGHTS'"),
        (
            ["tiny", "--data", "two", "-m", "of-gan"],
            2,
            "metric 'of-gan' is for gan/mlp, gan/dcgan, these weights are of vae/mlp",
        ),
        (["tiny", "--data", "two", "-n", "1"], 2, "-n must be 2 or more, not 1"),
        (["tiny", "--data", "two", "--features", "owm"], 2, "no features 'owm'; did you mean 'own'?"),
        (["tiny", "--data", "two", "--features", "no.safetensors"], 3, "no file no.safetensors"),
        (["tiny", "--data", "two", "-m", "weird", "-n", "9"], 2, "-n concerns samples, and weird draws none"),
        (
            ["tiny", "--data", "two", "-m", "fid", "--features", "own"],
            3,
            "no features were trained for these data (two, test), and they have no labels to train them by",
        ),
        (
            ["tiny", "--data", "some-digits", "-m", "fid", "--features", "own"],
            3,
            "train them: aigc eval --train-features --data some-digits",
        ),
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


def test_without_a_metric_for_the_modality_it_is_said(aigc: Run, tmp_path: Path) -> None:
    weights = weights_bytes(
        1, output={"modality": "audio", "shape": [1, -1], "low": -1.0, "high": 1.0, "details": {}}
    )
    (tmp_path / "w.safetensors").write_bytes(weights)
    refused = aigc("eval", tmp_path / "w.safetensors", "--data", "digits")
    assert refused.code == 3
    assert "no backend that is installed has a metric for audio" in refused.error


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


def test_a_card_of_samples_says_all_that_its_figures_depend_on(
    seeing: Site, aigc: Run, tmp_path: Path, home: Path
) -> None:
    shown = aigc(
        "eval", "tiny", "--data", "some-digits", "-m", "fid", "-m", "classes", "-n", 120, "--seed", 7, "--out",
        tmp_path / "card.json",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[0] == ["METRIC", "FIGURE", "VALUE", "95", "%"]
    assert [row[1] for row in rows[1:]] == ["fid", "class-coverage", "class-kl", "confidence"]
    assert "300 items), seed 7; 120 samples of prior, features own sha256:" in shown.err
    assert "120 pictures are fewer than own has features (128)" in shown.err
    fid, classes = json.loads((tmp_path / "card.json").read_text())
    (path,) = (home / "features").glob("*.safetensors")
    record = read_header(path).record
    assert fid["format"] == 2
    assert {k: fid["data"][k] for k in ("name", "split", "count", "compared")} == {
        "name": "some-digits", "split": "test", "count": 300, "compared": 300,
    }  # fmt: skip
    assert fid["data"]["digest"] == record["data"]["judges"][1]
    assert fid["samples"] == {
        "count": 120, "sampler": "prior", "options": {}, "labels": False, "block": 64, "threads": 1,
    }  # fmt: skip
    assert fid["extractor"] == {
        "name": "own", "digest": record["tensors_digest"], "resize": "none", "features": 128,
        "accuracy": record["accuracy"],
        "trained_on": {"name": "some-digits", "split": "train", "digest": record["data"]["digest"]},
    }  # fmt: skip
    assert fid["seed"] == 7
    low, high = fid["intervals"]["fid"]
    assert 0 <= low < fid["figures"]["fid"] < high
    assert (
        set(classes["intervals"]) == set(classes["figures"]) == {"class-coverage", "class-kl", "confidence"}
    )
    assert fid["versions"] == {"aigc-core": aigc_core.__version__, "aigc-vae": fid["versions"]["aigc-vae"]}


def test_samples_are_those_of_the_seed_and_figures_are_the_same_again(seeing: Site, home: Path) -> None:
    def figures(**more: object) -> object:
        cards = aigc_core.evaluate("tiny", "some-digits", metrics=["fid", "apart"], **more)  # type: ignore[arg-type]
        return [dict(card.figures) for card in cards]

    first = figures()
    assert list((home / "cache" / "features").glob("*.npy")), "features of data are kept"
    assert figures() == first
    for path in (home / "cache" / "features").glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-3])
    assert figures() == first, "a damaged cache is made anew"
    assert figures(seed=1) != first
    assert figures(count=100) != first
    assert [p.suffix for p in (home / "cache" / "features").iterdir()] == [".npy"], (
        "nothing of samples is left"
    )


def test_a_backends_metric_of_features_is_handed_both(seeing: Site) -> None:
    (card,) = aigc_core.evaluate("tiny", "some-digits", metrics=["apart"], count=50)
    assert card.figures["of"] == 50
    assert card.intervals == {"apart": None, "of": None}
    assert card.extractor is not None
    assert "aigc-judge" in card.versions


def test_a_metric_of_some_models_judges_those(judge: Site) -> None:
    (card,) = aigc_core.evaluate("tiny", "two", metrics=["of-vae"])
    assert card.name == "of-vae"
    assert card.samples is None


def test_a_sampler_that_works_on_a_picture_can_not_be_judged(seeing: Site, aigc: Run) -> None:
    refused = aigc("eval", "tiny", "--data", "some-digits", "--sampler", "reconstruct")
    assert refused.code == 2
    assert "sampler 'reconstruct' works on a given image" in refused.error
    assert "prior" in refused.error


def test_a_metric_that_can_not_tell_says_so_where_it_is_named(seeing: Site, aigc: Run) -> None:
    refused = aigc("eval", "tiny", "--data", "some-digits", "-m", "precision-recall", "-n", 3)
    assert refused.code == 2
    assert "metric 'precision-recall' can't tell by these features (own, 3 samples)" in refused.err


def test_features_of_other_pictures_and_damaged_ones_are_one_line(
    seeing: Site, aigc: Run, tmp_path: Path, home: Path
) -> None:
    (path,) = (home / "features").glob("*.safetensors")
    np.savez(tmp_path / "wide.npz", images=np.zeros((4, 8, 9), np.uint8))
    refused = aigc("eval", "tiny", "--data", tmp_path / "wide.npz", "--split", "train", "--features", path)
    assert refused.code == 6
    shutil.copy(Store().resolve("tiny").path, tmp_path / "weights.safetensors")
    refused = aigc(
        "eval", "tiny", "--data", "two", "--features", tmp_path / "weights.safetensors", "-m", "fid"
    )
    assert refused.code == 5
    assert "no extractor of features" in refused.error
    path.write_bytes(path.read_bytes()[:5000])
    refused = aigc("eval", "tiny", "--data", "some-digits", "-m", "fid")
    assert refused.code == 5
    assert str(path) in refused.error


def test_cards_are_put_side_by_side_and_refused_where_they_do_not_compare(
    seeing: Site, aigc: Run, tmp_path: Path
) -> None:
    def made(name: str, *more: object) -> Path:
        out = tmp_path / name
        result = aigc(
            "eval", "tiny", "--data", "some-digits", "-m", "fid", "-m", "mean-error", "--out", out, *more
        )
        assert result.code == 0, result.err
        return out

    one, two, few = made("a.json"), made("b.json", "--seed", 3), made("c.json", "-n", 100)
    shown = aigc("eval", "compare", one, two)
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[0].split() == ["METRIC", "FIGURE", str(one), str(two)]
    assert len(shown.out.splitlines()) == 4
    rows = json.loads(aigc("eval", "compare", one, two, "--json").out)
    assert rows[0]["metric"] == rows[0]["figure"] == "fid"
    assert rows[0]["files"][str(two)]["value"] == json.loads(two.read_text())[0]["figures"]["fid"]
    refused = aigc("eval", "compare", one, few)
    assert refused.code == 2
    assert f"fid: other numbers of samples ({one}: 300, {few}: 100)" in refused.error
    assert refused.out == ""
    for part, key, said in (
        ("data", "digest", "other data"), ("data", "split", "another split"), ("data", "compared", "of real items"),
        ("extractor", "digest", "other features"), ("extractor", "resize", "resized otherwise"),
    ):  # fmt: skip
        cards = json.loads(one.read_text())
        cards[0][part][key] = "sha256:" + "0" * 64
        (tmp_path / "other.json").write_text(json.dumps(cards[:1]))
        refused = aigc("eval", "compare", one, tmp_path / "other.json")
        assert refused.code == 2
        assert said in refused.error


def test_files_that_are_no_cards_are_refused(aigc: Run, tmp_path: Path) -> None:
    good = {
        "format": 2, "name": "x", "figures": {"x": 1.0}, "intervals": {"x": None}, "weights": {}, "data": {}, "seed": 0,
    }  # fmt: skip
    (tmp_path / "good.json").write_text(json.dumps([good]))
    (tmp_path / "bad.json").write_text("[{")
    for text, said in (
        ("[{", "no cards of metrics"), ("[]", "holds no card"), ("[3]", "no cards of metrics"),
        (json.dumps({**good, "format": 1}), "a card of format 1, this aigc reads 2; measure anew"),
        (json.dumps([good, good]), "two cards of one metric"),
        (json.dumps({**good, "figures": {"x": "1"}}), "a card is incomplete"),
        (json.dumps({**good, "intervals": {"x": [1]}}), "a card is incomplete"),
    ):  # fmt: skip
        (tmp_path / "bad.json").write_text(text)
        refused = aigc("eval", "compare", tmp_path / "good.json", tmp_path / "bad.json")
        assert refused.code == 5
        assert said in refused.error
    assert aigc("eval", "compare", tmp_path / "good.json", tmp_path / "none.json").code == 3
    assert aigc("eval", "compare", tmp_path / "good.json").code == 2


def test_texts_are_judged_without_samples(judge: Site, tmp_path: Path, aigc: Run) -> None:
    (tmp_path / "book.txt").write_text("".join(f"line {n} of a book\n" for n in range(400)))
    weights = texts(tmp_path)
    refused = aigc("eval", weights, "--data", tmp_path / "book.txt", "-m", "length", "-n", 5)
    assert refused.code == 2
    assert "-n concerns samples, and length draws none; leave it out" in refused.error
    refused = aigc("eval", weights, "--data", tmp_path / "book.txt", "-m", "fid")
    assert refused.code == 2
    assert "metric 'fid' judges image, these weights make text" in refused.error


def test_a_bug_in_the_core_is_not_blamed_on_a_backend(seeing: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, real: object, fake: object, *, seed: int) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("aigc_core.evaluation.metrics.frechet.Frechet.compare", broken)
    with pytest.raises(ZeroDivisionError):
        aigc_core.evaluate("tiny", "some-digits", metrics=["fid"])


def test_models_that_are_told_of_classes_are_asked_for_those_of_the_items(seeing: Site) -> None:
    """As often as items are of each; and the share of samples of the asked one is told."""
    train("gan/conditional", "some-digits", steps=2, options={"batch_size": 8}, name="told")
    fid, classes = aigc_core.evaluate("told", "some-digits", metrics=["fid", "classes"], count=150)
    assert fid.samples is not None
    assert fid.samples["labels"] is True
    assert 0 <= classes.figures["accuracy"] <= 1
    low, high = classes.intervals["accuracy"] or (2, 2)
    assert low <= classes.figures["accuracy"] <= high
