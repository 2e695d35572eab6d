"""Training speed beside the scripts that a user would run instead, and what the loop costs.

    python benchmarks/training.py --peers DIR --mnist DIR [--peers-python PYTHON] [--pairs 5]

`--peers` holds the scripts, `--mnist` the IDX files. Each pair is a run of ours, by `train`, and a run of the
peer, one after the other, each in a process of its own; the figure is the median of the ratios. Prints two
tables; fails if a bound is missed. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aigc_core.data import open_data
from aigc_core.interfaces import Batch, Metrics, Trainer
from aigc_core.progress import Bar, Progress
from aigc_core.registry import default
from aigc_core.training import session
from aigc_core.training.job import train
from aigc_core.training.measure import Flops

WARM = 10
"""Steps before the clock counts: the first ones allocate, and choose their kernels."""


@dataclass(frozen=True)
class Race:
    model: str
    options: Mapping[str, Any]
    peer: str
    """A script that prints `train_images_per_s`."""
    steps: int
    at_least: float


RACES = [
    Race("gan/mlp", {"batch_size": 128}, "seed_gan.py", 250, 3.0),
    Race(
        "gan/dcgan",
        {"batch_size": 128, "width": 32, "grid": 4, "plain": True, "latent": 100},
        "dcgan.py",
        60,
        2.0,
    ),
    Race(
        "vae/mlp",
        {"batch_size": 128, "hidden": (512, 256, 64), "latent": 2, "likelihood": "bernoulli"},
        "seed_vae.py",
        600,
        3.0,
    ),
]
LOOP_AT_MOST, CHECKPOINTS_AT_MOST = 0.05, 0.03


class Clock(Progress):
    """Notes when each step ended, in the place of a progress bar."""

    def __init__(self) -> None:
        super().__init__(False)
        self.ends: list[float] = []

    @contextmanager
    def bar(self, total: int, text: str, unit: str, initial: int = 0) -> Iterator[Bar]:
        yield self

    def update(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        self.ends += [time.perf_counter()] * amount


# What a child process does: one training, from the files to the weights.


def speed(model: str, data: str, options: dict[str, Any], steps: int, every: int | None) -> dict[str, float]:
    """Seconds a step, and those of them that the trainer's own `step` takes."""
    clock, inside = Clock(), list[float]()
    trainer = default().load(model).trainer
    step = trainer.step

    def timed(self: Trainer[Any, Any], batch: Batch) -> Metrics:
        start = time.perf_counter()
        metrics = step(self, batch)
        inside.append(time.perf_counter() - start)
        return metrics

    trainer.step = timed  # type: ignore[method-assign]
    if every is None:  # else there is one each 100 steps of so short a run, to go back to
        session.guard_every = lambda steps: steps + 1
    train(
        model, data, steps=steps, options=options, name="timed", progress=clock, checkpoint_every=every,
        sheet_every=0,
    )  # fmt: skip
    counted = steps - WARM
    return {
        "step": (clock.ends[-1] - clock.ends[WARM - 1]) / counted,
        "inside": sum(inside[WARM:]) / counted,
    }


def work(model: str, data: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a step must do: FLOPs of its matrix products and convolutions, bytes of optimizers and average."""
    told: dict[str, Any] = {}
    trainer = default().load(model).trainer
    step = trainer.step

    def counted(self: Trainer[Any, Any], batch: Batch) -> Metrics:
        with self.engine.autocast():
            told["half"] = torch.is_autocast_enabled(batch.x.device.type)
        with Flops() as counter:  # type: ignore[no-untyped-call]
            metrics = step(self, batch)
        told["flops"] = counter.total
        optimizers = [part for part in vars(self).values() if hasattr(part, "param_groups")]
        fitted = sum(p.numel() for o in optimizers for group in o.param_groups for p in group["params"])
        average = getattr(self, "average", None)
        kept = sum(p.numel() for p in average.generator.parameters()) if average else 0
        # Adam reads weight, gradient and two moments, and writes all but the gradient.
        told["bytes"] = 4 * (7 * fitted + 3 * kept)
        return metrics

    trainer.step = counted  # type: ignore[method-assign]
    train(model, data, steps=1, options=options, name="counted")
    return told


def child(what: str, model: str, data: Path, options: Mapping[str, Any], *rest: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        arguments = json.dumps([what, model, str(data), dict(options), *rest])
        command = [sys.executable, __file__, "--child", arguments]
        return dict(json.loads(_output(command, {**os.environ, "AIGC_HOME": home})))


def _output(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


# The machine.


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """FLOPs a second of square matrix products: the best of ten."""
    a, b = torch.randn(2, size, size).to(dtype)
    return 2 * size**3 / min(_seconds(lambda: a @ b) for _ in range(10))


def bandwidth(size: int = 1 << 26) -> float:
    """Bytes a second, read and written, of copies: the best of ten."""
    a, b = torch.ones(2, size)
    return 8 * size / min(_seconds(lambda: a.copy_(b)) for _ in range(10))


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# The tables.


def races(arguments: argparse.Namespace, data: Mapping[str, Path]) -> bool:
    rates = {half: matmul_rate(torch.bfloat16 if half else torch.float32) for half in (False, True)}
    copies = bandwidth()
    print(f"Measured: matrix products {rates[False] / 1e9:.0f} GFLOP/s in float32, ", end="")
    print(f"{rates[True] / 1e9:.0f} in bfloat16; copies {copies / 1e9:.0f} GB/s.\n")
    print("| model / peer | ours, img/s | peer, img/s | ratio | at least | floor, ms a step | of the floor |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    missed = False
    for race in RACES:
        if race.model not in arguments.models:
            continue
        batch = race.options["batch_size"]
        must = child("work", race.model, data[race.model], race.options)
        products, moved = must["flops"] / rates[must["half"]], must["bytes"] / copies
        pairs = []
        for _ in range(arguments.pairs):
            ours = child("speed", race.model, data[race.model], race.options, race.steps, None)
            peer = [arguments.peers_python, str(arguments.peers / race.peer), "--data", str(arguments.mnist)]
            pairs.append((batch / ours["step"], float(json.loads(_output(peer))["train_images_per_s"])))
        ours_, peer_ = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        missed |= ratio < race.at_least
        floor = (
            f"{1e3 * (products + moved):.1f} = {must['flops'] / 1e9:.2f} GFLOP {'bf16' if must['half'] else 'fp32'} "
            f"{1e3 * products:.1f} + {must['bytes'] / 1e6:.0f} MB {1e3 * moved:.1f}"
        )
        share = (products + moved) * ours_ / batch
        print(f"| `{race.model}` / {race.peer} | {ours_:,.0f} | {peer_:,.0f} | {ratio:.2f} ", end="")
        print(f"| {race.at_least:g} | {floor} | {share:.0%} |", flush=True)
    return missed


def overheads(arguments: argparse.Namespace, data: Path) -> bool:
    options, steps = RACES[0].options, 400 + WARM
    loops, checkpoints = [], []
    for _ in range(arguments.pairs):
        without = child("speed", "gan/mlp", data, options, steps, None)
        within = child("speed", "gan/mlp", data, options, steps, 100)
        loops += [1 - without["inside"] / without["step"]]
        checkpoints.append(within["step"] / without["step"] - 1)
    print("\n| of a step of `gan/mlp` | share | at most |\n| --- | --- | --- |")
    missed = False
    for text, shares, bound in (
        ("the loop: batches, seeds, logs, ticks", loops, LOOP_AT_MOST),
        ("checkpoints every 100 steps", checkpoints, CHECKPOINTS_AT_MOST),
    ):
        missed |= statistics.median(shares) > bound
        print(f"| {text} | {statistics.median(shares):.1%} | {bound:.0%} |")
    return missed


def padded(mnist: Path, folder: Path) -> Path:
    """MNIST at 32x32, as the peer that convolves pads it."""
    dataset = open_data(mnist, default())
    pixels, _ = dataset.fetch(torch.arange(20_000))
    path = folder / "padded.npz"
    np.savez(path, images=np.pad(pixels.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2))))
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=[race.model for race in RACES])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, *rest = json.loads(arguments.child)
        print(json.dumps({"speed": speed, "work": work}[what](*rest)))  # type: ignore[operator]
        return
    if not arguments.peers or not arguments.mnist:
        parser.error("--peers and --mnist are needed")
    with tempfile.TemporaryDirectory() as folder:
        data = {race.model: arguments.mnist for race in RACES}
        data["gan/dcgan"] = padded(arguments.mnist, Path(folder))
        missed = [races(arguments, data), overheads(arguments, arguments.mnist)]
    if any(missed):
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
