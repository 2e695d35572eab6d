"""What holds for every registered model, ours or a stranger's: a new one is tested by being installed.

First the conformance kit, which is all that a backend is asked; then the same promises as a user meets them,
through files and the Python API.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    data_of,
    lengthy,
    quick_options,
    small_options,
    write_masks,
    write_pictures,
    write_sounds,
)

from aigc_core import registry as registry_module
from aigc_core.modality import default_ending
from aigc_core.provenance.replay import replay
from aigc_core.registry import Model
from aigc_core.sampling.draw import request, sample
from aigc_core.testing import Case, cases
from aigc_core.training.job import train
from aigc_core.weights.file import load

FOLDER = Path(tempfile.mkdtemp(prefix="aigc-check-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
CASES = [case for name in sorted(registry_module.default().backends) for case in cases(name, FOLDER / name)]
MODELS = sorted(registry_module.default().models)


SIBLINGS = (
    "audio/vae-raw",
    "diffusion/dit",
    "gan/mlp",
    "gan/resnet",
    "vae/conditional",
    "vae/mlp",
    "vae/rae",
)
"""Models that differ from another one in little but their networks; what holds for that one is looked at in them in the
longer run alone."""
SAMPLERS = [
    pytest.param(m, s, marks=pytest.mark.long) if m in SIBLINGS else (m, s)
    for m in MODELS
    for s in registry_module.default().models[m].samplers
]
LEARN_LONG = (
    "audio/tacotron",
    "audio/vae",
    "audio/vocoder",
    "gan/conditional",
    "text/gpt",
    "vae/vq",
)
WHEEL_LONG = ("audio", "text")
"""Backends whose wheels are built in the longer run alone."""


def long(case: Case) -> bool:
    if case.name == "wheel":
        return case.bench.backend.name in WHEEL_LONG
    learns = case.name.startswith("learns ")
    return any(model in SIBLINGS or (learns and model in LEARN_LONG) for model in case.name.split())


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.long) if long(case) else case for case in CASES],
    ids=lambda case: f"{case.bench.backend.name}: {case.name}",
)
def test_it_conforms(case: Case) -> None:
    case.run()


@pytest.fixture(params=lengthy(MODELS, *SIBLINGS))
def model(request: pytest.FixtureRequest) -> Model:
    return registry_module.default().load(request.param)


@pytest.fixture(scope="session")
def home_of_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="session")
def trained(home_of_trained: Path) -> Callable[[str], Path]:
    """A weights file of each model, trained briefly on the tiny set of its modality; made once."""
    home = home_of_trained
    files: dict[str, Path] = {}

    def get(model_id: str) -> Path:
        if model_id not in files:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AIGC_HOME", str(home))
                options = {"batch_size": 64, **small_options(model_id)}
                files[model_id] = train(
                    model_id, data_of(model_id), steps=30, options=options, name="trained"
                ).path
        return files[model_id]

    return get


def test_the_same_seed_gives_the_same_digest_and_another_seed_another(model: Model) -> None:
    digests = [
        train(
            model.spec.id,
            data_of(model.spec.id),
            steps=3,
            seed=seed,
            again=True,
            options=small_options(model.spec.id),
        ).record["tensors_digest"]
        for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


Given = dict[str, Any]


def given_to(model_id: str, sampler: str, folder: Path, trained: Callable[[str], Path]) -> Given:
    """What the sampler needs, as arguments of `sample`; and options that make it quick."""
    spec = registry_module.default().models[model_id].samplers[sampler]
    given: Given = {"options": quick_options(model_id, sampler)}
    given["options"] |= {option: str(trained(part)) for option, part in spec.parts.items()}
    if "image" in spec.needs:
        given["images"] = write_pictures(folder / "given", 3, (8, 8), "L")
    if "mask" in (*spec.needs, *spec.takes):
        given["masks"] = write_masks(folder / "masks", 2, (8, 8))
    if "sound" in spec.needs:
        given["sounds"] = write_sounds(folder / "given", 3)
    return given


def kept(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A sample without what follows the end of a sound."""
    return samples[~np.isnan(samples)] if samples.dtype.kind == "f" else samples


@pytest.mark.parametrize(("model_id", "sampler"), SAMPLERS)
def test_a_sample_is_the_same_alone_in_a_batch_and_from_any_start(
    model_id: str, sampler: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    weights = load(trained(model_id), registry_module.default())
    given = given_to(model_id, sampler, tmp_path, trained)

    def draw(count: int, start: int, noise: int, seed: int = 3) -> list[np.ndarray[Any, Any]]:
        torch.manual_seed(noise)  # a sampler that used the global stream would be caught
        drawn = sample(weights, count=count, start=start, seed=seed, sampler=sampler, **given)
        assert drawn is not None
        return [kept(row) for row in drawn.array]

    def same(some: list[np.ndarray[Any, Any]], others: list[np.ndarray[Any, Any]]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))

    many = draw(150, 0, 1)
    assert len(many) == 150
    if weights.generator.output.modality == "image":
        assert {row.shape for row in many} == {(8, 8, 1)}
    assert same(draw(8, 0, 2)[7:], many[7:8])
    assert same(draw(1, 7, 3), many[7:8])
    assert same(draw(64, 5, 4)[2:3], many[7:8])
    assert same(draw(70, 60, 5), many[60:130])
    if given.keys() == {"options"} and registry_module.default().models[model_id].samplers[sampler].random:
        assert not same(draw(8, 0, 6, seed=4), many[:8])


@pytest.mark.parametrize(("model_id", "sampler"), SAMPLERS)
def test_sampling_leaves_global_state_alone_and_names_its_block(
    model_id: str, sampler: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    given = given_to(model_id, sampler, tmp_path, trained)
    state = torch.get_rng_state()
    req = request(trained(model_id), count=2, sampler=sampler, **given)
    drawn = sample(trained(model_id), count=2, sampler=sampler, **given)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert drawn is not None
    block = registry_module.default().models[model_id].samplers[sampler].block
    assert drawn.record["block"] == req.block == block
    assert drawn.record["weights"]["model"] == model_id


@pytest.mark.parametrize(("model_id", "sampler"), SAMPLERS)
def test_what_is_replayed_is_exact(
    model_id: str,
    sampler: str,
    trained: Callable[[str], Path],
    home_of_trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, given = trained(model_id), given_to(model_id, sampler, tmp_path, trained)
    monkeypatch.setenv("AIGC_HOME", str(home_of_trained))  # where the weights of its parts are
    ending = default_ending(registry_module.default().models[model_id].modality)
    for out in ("f/", f"x{ending}"):
        sample(weights, count=3, start=62, seed=5, sampler=sampler, out=tmp_path / out, **given)
    again = {key: value for key, value in given.items() if key != "options"}
    for file in (tmp_path / "f", tmp_path / f"f/000063{ending}", tmp_path / f"x{ending}"):
        done = replay(file, weights=weights, **again)
        assert (done.exact, done.environment) == (True, ()), done
