"""What holds for every registered model, ours or a stranger's: a new one is tested by being installed."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Site, write_pictures

import aigc_core
from aigc_core import registry as registry_module
from aigc_core.data import ArrayImages, Batches
from aigc_core.errors import InterruptedRun, UsageError
from aigc_core.interfaces import Generator, Trainer
from aigc_core.options import TrainingOptions, describe, parse
from aigc_core.registry import Model
from aigc_core.sampling.draw import request, sample
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.job import train
from aigc_core.weights.file import load

MODELS = sorted(registry_module.default().models)
SAMPLERS = [(m, s) for m in MODELS for s in registry_module.default().models[m].samplers]
SHAPES = [(1, 8, 8), (2, 17, 23), (3, 64, 64), (1, 28, 28), (4, 9, 40), (3, 32, 32)]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return registry_module.default().load(request.param)


def random_pictures(shape: tuple[int, ...], count: int = 24) -> ArrayImages:
    rng = np.random.default_rng(1)
    return ArrayImages(rng.integers(0, 256, (count, *shape), dtype=np.uint8), name="random")


def make(
    model: Model, data: DataInfo, batch: int = 8
) -> tuple[Generator[Any], Trainer[Any, Any], AccelerateEngine]:
    """A model and its trainer with default options, initialised from a fixed seed."""
    torch.manual_seed(0)
    parsed = parse({"m": model.config, "t": model.trainer_config}, {"batch_size": batch}, "test")
    options = parsed["t"]
    assert isinstance(options, TrainingOptions)
    engine = AccelerateEngine(0, batch, 100, cpu=True)
    generator = model.generator(parsed["m"], data).train()
    return generator, model.trainer(generator, options, engine), engine


def steps(
    model: Model, data: ArrayImages, count: int, batch: int = 8
) -> tuple[Generator[Any], Trainer[Any, Any]]:
    generator, trainer, engine = make(model, data.info, batch)
    batches = Batches(data, batch, 0, generator.output, engine.device)
    for step, items in enumerate(batches.steps(0, count)):
        engine.begin(step)
        trainer.step(items)
    return generator, trainer


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A weights file of each model, trained for a while on the small digits; made once."""
    home = tmp_path_factory.mktemp("trained")
    files: dict[str, Path] = {}

    def get(model_id: str) -> Path:
        if model_id not in files:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AIGC_HOME", str(home))
                options = {"batch_size": 64}
                files[model_id] = train(model_id, "digits", steps=500, options=options, name="trained").path
        return files[model_id]

    return get


def frechet(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Fréchet distance between Gaussians fitted to the rows of two sets of pictures in 0..1."""
    x, y = (torch.from_numpy(v.reshape(len(v), -1)).double() / 255 for v in (a, b))
    c, d = torch.cov(x.T), torch.cov(y.T)
    root = torch.linalg.eigvals(c @ d).real.clamp_min(0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + c.trace() + d.trace() - 2 * root)


def test_its_options_have_bounds_defaults_and_help(model: Model) -> None:
    for schema in (model.config, model.trainer_config, *map(model.sampler_config, model.spec.samplers)):
        for option in describe(schema):
            assert option.help, f"{schema.__name__}.{option.name} says nothing"
        defaults = schema()
        assert schema.model_validate(defaults.model_dump(mode="json")) == defaults
        assert schema.model_json_schema()["additionalProperties"] is False
    with pytest.raises(UsageError, match="has no option"):
        parse({"model": model.config}, {"no_such_option": 1}, "test")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_it_is_built_and_trained_for_any_shape(model: Model, shape: tuple[int, ...]) -> None:
    generator, trainer = steps(model, random_pictures(shape), 2)
    assert generator.output.shape == shape
    kept = trainer.result().eval()
    assert kept.output == generator.output
    for name, tensor in kept.state_dict().items():
        assert torch.isfinite(tensor).all(), name


def test_every_trainable_tensor_moves(model: Model) -> None:
    before = {
        n: p.detach().clone() for n, p in make(model, random_pictures((1, 8, 8)).info)[0].named_parameters()
    }
    generator, trainer = steps(model, random_pictures((1, 8, 8)), 5)
    assert before
    still = [n for n, p in generator.named_parameters() if torch.equal(p, before[n])]
    assert not still
    result = trainer.result()
    assert not [n for n, p in result.named_parameters() if torch.equal(p, before[n])], (
        "the average stands still"
    )


def test_it_learns_real_digits(model: Model, trained: Callable[[str], Path]) -> None:
    """The distance of its samples to held-back real digits falls to under half of the untrained one's."""
    from aigc_core.data import open_data

    digits = open_data("digits", registry_module.default())
    real = digits.fetch(torch.arange(900, 1797))[0].numpy()
    after = sample(trained(model.spec.id), count=1024)
    untrained = train(model.spec.id, "digits", steps=1, options={"lr": 1e-9}).path
    before = sample(untrained, count=1024)
    assert before is not None
    assert after is not None
    assert frechet(after.array, real) < 0.5 * frechet(before.array, real)
    assert after.array.std(axis=0).mean() > 0.5 * real.std(axis=0).mean(), "all samples look alike"


def test_the_same_seed_gives_the_same_digest_and_another_seed_another(model: Model) -> None:
    digests = [
        train(model.spec.id, "digits", steps=3, seed=seed, again=True).record["tensors_digest"]
        for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_an_interrupted_run_equals_an_uninterrupted_one(model: Model, site: Site) -> None:
    """Ctrl-C at the first log; the same call again goes on, and ends with the same tensors."""
    site.add(
        "stopper",
        "import os, signal\nfrom aigc_core import hookimpl\n@hookimpl\ndef aigc_on_event(event):\n"
        "    if event.kind == 'train.log' and event.data['step'] == 25: os.kill(os.getpid(), signal.SIGINT)\n",
    )
    with pytest.raises(InterruptedRun, match="stopped after step 2[56] of 40"):
        train(model.spec.id, "digits", steps=40, name="halves")
    resumed = train(model.spec.id, "digits", steps=40, name="halves")
    assert resumed.resumed_at in (25, 26)
    registry_module.default.cache_clear()
    (site.path / f"{sys.modules.pop('aigc_stopper_backend').__name__}.py").unlink()
    whole = train(model.spec.id, "digits", steps=40, name="whole")
    assert whole.resumed_at == 0
    assert whole.record["tensors_digest"] == resumed.record["tensors_digest"]
    lines = [line.split(",")[0] for line in (resumed.run / "metrics.jsonl").read_text().splitlines()]
    assert sorted({*lines, '{"step": 26'}) == ['{"step": 25', '{"step": 26', '{"step": 40']


def test_saved_and_loaded_it_gives_the_same_output(model: Model, trained: Callable[[str], Path]) -> None:
    first, second = (load(trained(model.spec.id), registry_module.default()) for _ in range(2))
    a, b = (sample(w, count=5, seed=11) for w in (first, second))
    assert a is not None
    assert b is not None
    assert np.array_equal(a.array, b.array)
    assert not first.generator.training
    assert not [p for p in first.generator.parameters() if p.requires_grad]


def pictures_for(model_id: str, sampler: str, folder: Path) -> list[Path]:
    needs = registry_module.default().models[model_id].samplers[sampler].needs
    return write_pictures(folder / "given", 3, (8, 8), "L") if "image" in needs else []


@pytest.mark.parametrize(("model_id", "sampler"), SAMPLERS)
def test_a_sample_is_the_same_alone_in_a_batch_and_from_any_start(
    model_id: str, sampler: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    weights = load(trained(model_id), registry_module.default())
    images = pictures_for(model_id, sampler, tmp_path)

    def draw(count: int, start: int, noise: int) -> np.ndarray[Any, Any]:
        torch.manual_seed(noise)  # a sampler that used the global stream would be caught
        drawn = sample(weights, count=count, start=start, seed=3, sampler=sampler, images=images)
        assert drawn is not None
        array: np.ndarray[Any, Any] = drawn.array
        return array

    many = draw(150, 0, 1)
    assert many.shape == (150, 8, 8, 1)
    assert np.array_equal(draw(8, 0, 2)[7], many[7])
    assert np.array_equal(draw(1, 7, 3)[0], many[7])
    assert np.array_equal(draw(64, 5, 4)[2], many[7])
    assert np.array_equal(draw(70, 60, 5), many[60:130])
    if not images:
        other = sample(weights, count=8, seed=4, sampler=sampler)
        assert other is not None
        assert not np.array_equal(other.array, many[:8])


@pytest.mark.parametrize(("model_id", "sampler"), SAMPLERS)
def test_sampling_leaves_global_state_alone_and_names_its_block(
    model_id: str, sampler: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    images = pictures_for(model_id, sampler, tmp_path)
    req = request(trained(model_id), count=2, sampler=sampler, images=images)
    drawn = sample(trained(model_id), count=2, sampler=sampler, images=images)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert drawn is not None
    assert (
        drawn.record["block"]
        == req.block
        == registry_module.default().models[model_id].samplers[sampler].block
    )
    assert drawn.record["weights"]["model"] == model_id


def test_training_writes_nothing_to_the_screen_or_the_folder(
    model: Model, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    state = torch.get_rng_state()
    train(model.spec.id, "digits", steps=2)
    assert torch.equal(state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")
    assert not list(work.iterdir())


def test_no_pickle_is_read_or_written(model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pickle

    def poison(*args: object, **kwargs: object) -> None:
        raise AssertionError("pickle is used")

    for name in ("Unpickler", "Pickler", "load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, poison)
    monkeypatch.setattr(torch, "save", poison)
    monkeypatch.setattr(torch, "load", poison)
    done = train(model.spec.id, "digits", steps=3, checkpoint_every=1)
    aigc_core.sample(done.weights, count=2, out=tmp_path / "x.npz")


def test_metrics_are_detached_scalars_and_the_clock_is_the_engines(model: Model) -> None:
    data = random_pictures((1, 8, 8))
    generator, trainer, engine = make(model, data.info)
    batches = Batches(data, 8, 0, generator.output, engine.device)
    engine.begin(0)
    metrics = trainer.step(next(batches.steps(0, 1)))
    assert metrics
    for name, value in metrics.items():
        assert value.ndim == 0, name
        assert not value.requires_grad, name
        assert math.isfinite(value), name
