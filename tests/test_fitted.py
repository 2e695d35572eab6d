"""What samplers draw with beside the generator travels in the weights file; masks say what is to be filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import data_of, small_options, write_masks, write_pictures
from PIL import Image

from aigc_core import registry as registry_module
from aigc_core import sample
from aigc_core.errors import AigcError, BackendError, DataError, NotFoundError, UsageError
from aigc_core.interfaces import Trainer
from aigc_core.provenance.replay import replay
from aigc_core.sampling.request import request
from aigc_core.training.fitted import fit_samplers
from aigc_core.training.job import Trained, train
from aigc_core.weights.file import load
from aigc_core.weights.header import read_header

SPECS = registry_module.default().models
FITTED = sorted(i for i, spec in SPECS.items() if any(s.fitted for s in spec.samplers.values()))
FILLING = [
    (i, n) for i, spec in SPECS.items() for n, s in spec.samplers.items() if "mask" in (*s.needs, *s.takes)
]


def trained(model: str, name: str = "w") -> Trained:
    return train(model, data_of(model), steps=2, name=name, options=small_options(model))


@pytest.mark.parametrize("model", FITTED)
def test_what_samplers_are_fitted_to_is_in_the_file_and_the_same_each_time(
    model: str, tmp_path: Path
) -> None:
    done = trained(model)
    declared = {name for name, spec in SPECS[model].samplers.items() if spec.fitted}
    kept = {name.split(".")[1] for name in read_header(done.path).tensors if name.startswith("sampler.")}
    assert kept == declared
    again = train(model, data_of(model), steps=2, name="w", again=True, options=small_options(model))
    assert again.record["tensors_digest"] == done.record["tensors_digest"]
    alone = tmp_path / "moved.safetensors"  # a file stands for itself
    alone.write_bytes(done.path.read_bytes())
    for sampler in (name for name in declared if not SPECS[model].samplers[name].needs):
        drawn = sample(alone, count=2, sampler=sampler)
        assert drawn is not None
        assert len(drawn) == 2


def test_weights_that_were_kept_without_are_refused_before_anything_is_drawn() -> None:
    model = FITTED[0]
    sampler = next(name for name, spec in SPECS[model].samplers.items() if spec.fitted)
    weights = replace(load(trained(model).path, registry_module.default()), fitted={})
    with pytest.raises(UsageError, match=f"kept without what sampler '{sampler}' draws with; train again"):
        request(weights, sampler=sampler)


class Answers(Trainer):  # type: ignore[type-arg]
    """Gives what it is told to."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def step(self, batch: object) -> dict[str, torch.Tensor]:
        raise AssertionError

    def fitted(self, *_: object, **__: object) -> object:  # type: ignore[override]
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "returned NoneType, not tensors"),
        ({"no-such": {"a": torch.ones(1)}}, "'no-such', which is no sampler that declares"),
        ({"SAMPLER": {}}, "no tensors by name"),
        ({"SAMPLER": {"a": [1.0]}}, "as 'a', no tensor that can be kept but list"),
        ({"SAMPLER": {"a": torch.tensor([1.0, float("nan")])}}, "'a' that is not finite"),
    ],
)
def test_what_can_not_be_kept_is_the_backends_fault(answer: object, words: str) -> None:
    spec = SPECS[FITTED[0]]
    sampler = next(name for name, s in spec.samplers.items() if s.fitted)
    if isinstance(answer, dict):
        answer = {key.replace("SAMPLER", sampler): value for key, value in answer.items()}
    with pytest.raises(BackendError, match=words):
        fit_samplers(Answers(answer), spec, torch.nn.Linear(1, 1), None, 0, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("model", "sampler"), FILLING)
def test_what_a_mask_keeps_is_kept_and_a_replay_wants_the_same_mask(
    model: str, sampler: str, tmp_path: Path
) -> None:
    weights = trained(model).path
    (picture,) = write_pictures(tmp_path / "given", 1, (8, 8), "L")
    first, second = write_masks(tmp_path / "masks", 2, (8, 8))
    out = tmp_path / "x.npz"
    sample(weights, count=2, sampler=sampler, images=[picture], masks=[first], out=out)
    with np.load(out) as archive:
        drawn = archive["images"]
    kept = np.asarray(Image.open(first)) == 0
    original = np.asarray(Image.open(picture))
    assert (drawn[..., 0][:, kept] == original[kept]).all()
    assert (drawn[..., 0][:, ~kept] != original[~kept]).any()
    assert replay(out, weights=weights, images=[picture], masks=[first]).exact
    with pytest.raises(NotFoundError, match="made from a mask '000.png'.* give it by --mask FILE, unchanged"):
        replay(out, weights=weights, images=[picture], masks=[second])


@pytest.mark.parametrize(
    ("size", "value", "words"),
    [
        ((9, 8), 255, "9x8, but the weights make 8x8"),
        ((8, 8), 0, "a mask without white, so there is nothing to fill"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_line(
    size: tuple[int, int], value: int, words: str, tmp_path: Path
) -> None:
    model, sampler = FILLING[0]
    weights, images = trained(model).path, write_pictures(tmp_path, 1, (8, 8), "L")
    Image.fromarray(np.full(size, value, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=words):
        sample(weights, sampler=sampler, images=images, masks=[tmp_path / "mask.png"])


def test_a_mask_for_a_sampler_that_takes_none_names_one_that_does(tmp_path: Path) -> None:
    model, sampler = FILLING[0]
    masks = write_masks(tmp_path, 1, (8, 8))
    with pytest.raises(AigcError, match=f"takes no --mask; .*--sampler {sampler}"):
        sample(trained(model).path, masks=masks)
