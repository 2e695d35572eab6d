"""What DiffAugment is worth on few pictures.

    python benchmarks/few.py --judge DIR --real IDX [--set mnist] [--data mnist] [--count 200] [--steps 3000] [--seed S]...

The first pictures of the training split, so many, are all that `gan/dcgan` is given, with every default but the augmentation;
both trainings of a seed take the same steps. 10,000 pictures of each are judged. Fails if augmentation does not take a fifth
off the Fréchet distance, in the mean over the seeds. About three minutes a training by one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import judged
import numpy as np
import torch

import aigc_core
from aigc_core.data.sources import open_data
from aigc_core.registry import default

LESS = 0.2
"""The share of the distance that augmentation must take off."""


def few(data: str, count: int, out: Path) -> None:
    """The first `count` pictures of a training split, as `.npz`."""
    pictures, _ = open_data(data, default(), split="train").fetch(torch.arange(count))
    np.savez(out, images=pictures.permute(0, 2, 3, 1).numpy())


def main() -> None:
    parser = argparse.ArgumentParser()
    judged.add_arguments(parser)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, action="append", help="may be given many times; 0 by default")
    parser.add_argument("--policy", default="colour,translation,cutout")
    arguments = parser.parse_args()
    options: dict[str, dict[str, str]] = {"none": {}, arguments.policy: {"augment": arguments.policy}}
    found: dict[str, list[float]] = {name: [] for name in options}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGC_HOME"] = folder
        pictures = Path(folder) / "few.npz"
        few(arguments.data, arguments.count, pictures)
        judged.head("seed", "augmentation", "seconds")
        for seed in arguments.seed or [0]:
            for name, given in options.items():
                began = time.perf_counter()
                trained = aigc_core.train(
                    "gan/dcgan",
                    pictures,
                    steps=arguments.steps,
                    seed=seed,
                    options=given,
                    name="few",
                    again=True,
                )
                taken = time.perf_counter() - began
                said = judged.judged(arguments, aigc_core.load(trained.path), "prior")
                judged.row(said, str(seed), name, f"{taken:.0f}")
                found[name].append(said["fid"])
    without, with_ = (statistics.mean(distances) for distances in found.values())
    print(f"\nFréchet distance: {without:.1f} without, {with_:.1f} with, {1 - with_ / without:.0%} less")
    if with_ > (1 - LESS) * without:
        sys.exit(f"a bound is missed: at least {LESS:.0%} less")


if __name__ == "__main__":
    main()
