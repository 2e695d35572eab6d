"""`aigc demo`, the first thing that anybody runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Run
from PIL import Image

from aigc_core.cli import demo
from aigc_core.sampling.draw import sample


def legibility(pictures: np.ndarray[Any, Any]) -> tuple[float, int]:
    """How far the 11 nearest real digits agree about each picture, in the mean; and how many digits are seen.

    Real digits score 0.96, averages of two digits 0.72, noise 0.62.
    """
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    digits = load_digits()
    known = KNeighborsClassifier(11).fit(digits.data, digits.target)
    votes = known.predict_proba(pictures.reshape(len(pictures), -1) / 255 * 16)
    return float(votes.max(1).mean()), len(set(votes.argmax(1).tolist()))


@pytest.mark.long
def test_the_demo_trains_keeps_and_draws(aigc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = aigc("demo")
    assert done.code == 0, done.err
    assert "gan/dcgan" in done.out
    assert "aigc-demo.png" in done.out
    after = done.out.partition("Try next")[2]
    commands = [line.split() for line in after.strip().splitlines()]
    assert len(commands) == 3
    for command in commands[:2]:
        assert aigc(*command[1:]).code == 0, command
    with Image.open(tmp_path / "aigc-demo.png") as image:
        assert min(image.size) > 600
        pixels = np.asarray(image)
    assert 20 < pixels.std() < 128
    kept = json.loads(aigc("weights", "--json").out)
    assert {row["model"] for row in kept} == set(demo.RECIPES)
    for row in kept:
        drawn = sample(row["weights"], count=256)
        assert drawn is not None
        agreement, classes = legibility(drawn.array)
        assert agreement > 0.8, "the digits cannot be read"
        assert classes == 10
    again = aigc("demo")
    assert again.out.count("kept before") == 2
