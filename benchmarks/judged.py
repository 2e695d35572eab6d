"""Weights judged by a frozen classifier outside the project, such as those that `aigc bench` keeps.

    python benchmarks/judged.py --judge DIR --real IDX [--set mnist] [--sampler S]... [--option key=value]... NAME...

`--judge` holds judge.py and its classifiers, `--real` is the file of the real test pictures. Draws 10,000 pictures of each
of the weights by each of their samplers that need nothing but a seed; of models that are told of classes picture i is of
class i mod K, and the judge says how many it takes for what was asked. Prints a table in Markdown, a row as it comes.
About a minute a row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import aigc_core
from aigc_core.benchmark.ask import labels, samplers
from aigc_core.weights.file import Weights

FIGURES = {
    "fid": "Fréchet distance", "coverage": "coverage", "class_kl": "class KL", "confidence": "confidence",
    "precision": "precision", "recall": "recall", "accuracy": "accuracy",
}  # fmt: skip
"""What the judge says, and what the table calls it."""
COUNT = 10_000


def score(judge: Path, name: str, real: Path, fakes: Path) -> dict[str, float]:
    """What the judge says of an `.npz` of pictures."""
    command = [
        sys.executable, str(judge / "judge.py"), "score", "--weights", str(judge / f"{name}.safetensors"), "--real", str(real),
        "--fake", str(fakes),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def draw(
    weights: Weights, sampler: str, out: Path, count: int = COUNT, options: Mapping[str, str] | None = None
) -> None:
    """An `.npz` of `images` uint8 [N, H, W, C], and of `labels` [N] where the model is told of classes."""
    classes = labels(weights.model.spec, sampler, weights.generator.data.classes)
    drawn = aigc_core.sample(weights, count=count, sampler=sampler, labels=classes, options=options)
    assert drawn is not None
    asked = {"labels": np.arange(count) % len(classes)} if classes else {}
    np.savez(out, images=drawn.array, **asked)


def judged(
    arguments: argparse.Namespace, weights: Weights, sampler: str, options: Mapping[str, str] | None = None
) -> dict[str, float]:
    """What the judge says of what a sampler draws."""
    with tempfile.TemporaryDirectory() as folder:
        fakes = Path(folder) / "fakes.npz"
        draw(weights, sampler, fakes, options=options)
        return score(arguments.judge, arguments.set, arguments.real, fakes)


def head(*first: str) -> None:
    columns = [*first, *FIGURES.values()]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def row(found: dict[str, float], *first: str) -> None:
    cells = [f"{found[name]:.3g}" if name in found else "" for name in FIGURES]
    print(f"| {' | '.join([*first, *cells])} |", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the judge."""
    parser.add_argument("--judge", type=Path, required=True, help="the folder of judge.py")
    parser.add_argument("--real", type=Path, required=True, help="real test pictures, an IDX file")
    parser.add_argument("--set", default="mnist", help="which of its classifiers: mnist or fashion-mnist")


def drawable(weights: Weights, only: list[str] | None = None) -> list[str]:
    """The samplers that are judged."""
    spec: Any = weights.model.spec
    names = [name for name in samplers(spec, bool(weights.generator.data.classes)) if name]
    return [name for name in names if not only or name in only]


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--sampler", action="append", help="this one alone; may be given many times")
    parser.add_argument(
        "--option", action="append", default=[], help="of the sampler: key=value; may be given many times"
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="weights: a name in the store, or a file")
    arguments = parser.parse_args()
    head("weights", "model", "sampler")
    for name in arguments.names:
        weights = aigc_core.load(name)
        for sampler in drawable(weights, arguments.sampler):
            options = dict(option.split("=", 1) for option in arguments.option)
            said = judged(arguments, weights, sampler, options)
            row(said, name, f"`{weights.model.spec.id}`", " ".join([sampler, *arguments.option]))


if __name__ == "__main__":
    main()
