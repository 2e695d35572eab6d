"""Our VAEs beside pythae's, given the same time on the same machine in the same run.

    python benchmarks/beside_pythae.py --peer pythae_vae.py --peer-python PYTHON --mnist DIR --judge DIR
        [--budget 10m] [--model vae/conv] [--model ...] [--pairs 3]

`--peer` is a script that trains pythae's VAE (`--data DIR --images N --epochs E [--out NPZ]`) and prints a line of JSON with
`train_images_per_s`; `--mnist` holds the IDX files, `--judge` judge.py and its classifiers. First the speeds: ours and
the peer's in turn, each in a process of its own, the figure is the median of the ratios. Then each model is trained for
the budget by `aigc train --budget`, and the peer on as many images as it takes in that time at the speed that was
measured; what all of them draw is judged. Fails if a bound is missed. Takes the budget once for each model and once for
the peer, and a few minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import judged

import aigc_core
from aigc_core.training.settings import seconds

FASTER, NEARER = 5.0, 4.0
"""Bounds: the ratio of the images a second of `vae/conv`, and how many times nearer the best sampler of all must be."""
SET = 60_000
"""Images of the training split."""
WARM = 10
"""Steps that are not counted: the first ones allocate, and choose their kernels."""


def output(command: list[str], **environment: str) -> dict[str, Any]:
    """The last line that a command prints, as JSON."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def peer(arguments: argparse.Namespace, images: int, epochs: int, *more: str) -> dict[str, Any]:
    script = arguments.peer.resolve()
    data = ["--data", str(arguments.mnist), "--images", str(images), "--epochs", str(epochs)]
    return output([arguments.peer_python, str(script), *data, *more])


def speed(model: str, data: str, steps: int) -> dict[str, float]:
    """Images a second of one training by `train`, in this process, once it runs evenly."""
    from training import Clock  # beside this file; it imports torch

    from aigc_core.training.job import train

    clock = Clock()
    done = train(model, data, steps=steps, name="timed", progress=clock, sheet_every=0)
    batch = done.record["training"]["options"]["batch_size"]
    return {
        "images": batch * (steps - WARM) / (clock.ends[-1] - clock.ends[WARM - 1]),
        "batch": batch,
        "parameters": done.record["parameters"],
    }


def pairs(arguments: argparse.Namespace) -> tuple[float, float]:
    """The median of the ratios, and of the peer's images a second."""
    ratios, theirs = [], []
    print("| pair | `vae/conv`, images/s | pythae, images/s | ratio |\n| --- | --- | --- | --- |")
    for number in range(arguments.pairs):
        with tempfile.TemporaryDirectory() as home:
            ask = json.dumps(["vae/conv", str(arguments.mnist), arguments.steps])
            ours = output([sys.executable, __file__, "--child", ask], AIGC_HOME=home)
        other = peer(arguments, arguments.images, 1)["train_images_per_s"]
        ratios.append(ours["images"] / other)
        theirs.append(other)
        print(f"| {number + 1} | {ours['images']:,.0f} | {other:,.0f} | {ratios[-1]:.2f} |", flush=True)
    ratio = statistics.median(ratios)
    print(f"| median | | | **{ratio:.2f}**, at least {FASTER:g} |\n")
    return ratio, statistics.median(theirs)


def ours(arguments: argparse.Namespace, model: str) -> float:
    """Trains a model for the budget and judges each of its samplers; the least distance."""
    name = f"beside-{model.replace('/', '-')}"
    command = [
        sys.executable,
        "-m",
        "aigc_core",
        "train",
        model,
        "--data",
        str(arguments.mnist),
        "--name",
        name,
    ]
    began = time.perf_counter()
    subprocess.run([*command, "--budget", arguments.budget, "--quiet"], check=True, stdout=sys.stderr)
    taken = time.perf_counter() - began
    weights = aigc_core.load(name)
    training, parameters = weights.record["training"], weights.record["parameters"]
    epochs = training["steps"] * training["options"]["batch_size"] / SET
    found = []
    for sampler in judged.drawable(weights):
        said = judged.judged(arguments, weights, sampler)
        judged.row(said, f"`{model}`", sampler, f"{taken:.0f}", f"{epochs:.1f}", f"{parameters:,}")
        found.append(said["fid"])
    return min(found)


def theirs(arguments: argparse.Namespace, rate: float) -> float:
    """The same of the peer, which is told how many images to take."""
    total = rate * seconds(arguments.budget)
    epochs = max(1, math.ceil(total / SET))
    with tempfile.TemporaryDirectory() as folder:
        fakes = Path(folder) / "fakes.npz"
        done = peer(arguments, max(1, int(total / epochs)), epochs, "--out", str(fakes))
        said = judged.score(arguments.judge, arguments.set, arguments.real, fakes)
    cells = [f"{done['seconds']:.0f}", f"{total / SET:.1f}", f"{done['parameters']:,}"]
    judged.row(said, "pythae", "normal", *cells)
    return said["fid"]


def main() -> None:
    if "--child" in sys.argv:
        print(json.dumps(speed(*json.loads(sys.argv[sys.argv.index("--child") + 1]))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--mnist", type=Path, required=True, help="a folder of IDX files")
    parser.add_argument("--judge", type=Path, required=True, help="the folder of judge.py")
    parser.add_argument("--set", default="mnist", help="which of its classifiers")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--model", action="append", help="may be given many times; vae/conv by default")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of ours in a pair")
    parser.add_argument("--images", type=int, default=8000, help="of the peer's in a pair")
    arguments = parser.parse_args()
    arguments.real = arguments.mnist / "t10k-images-idx3-ubyte.gz"
    ratio, rate = pairs(arguments)
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIGC_HOME"] = home
        judged.head("model", "sampler", "seconds", "epochs", "parameters")
        best = min(ours(arguments, model) for model in arguments.model or ["vae/conv"])
        other = theirs(arguments, rate)
    print(f"\nFréchet distance: pythae's is **{other / best:.1f}** times ours, at least {NEARER:g}")
    if ratio < FASTER or other < NEARER * best:
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
