"""`diffusion/unet` beside diffusers' U-Net, given the same time on the same machine in the same run.

    python benchmarks/beside_diffusers.py --peer diffusers_unet.py --peer-python PYTHON --mnist DIR
        [--judge DIR --budget 10m] [--pairs 3]

`--peer` is a script that trains diffusers' UNet2DModel (`--data DIR`) and prints two lines of JSON, with `train_images_per_s`
and with `sample_images_per_s` of 50 steps of DDIM. Ours and the peer's in turn, each in a process of its own; the figures are
the medians of the ratios. With `--judge` both are then trained for the budget, ours by `aigc train --budget`, the peer's network
as its script trains it, and 10,000 pictures of each, by 50 steps of DDIM, are judged. Fails if a bound is missed.
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
from pathlib import Path
from typing import Any

import judged

TRAIN, SAMPLE = 3.0, 3.0
"""Bounds: how many times as fast ours must be."""
WARM = 10
"""Steps that are not counted."""
MODEL = "diffusion/unet"
DRAWN = 256
"""Pictures that the speed of sampling is measured by."""

PEER = """
import json, sys, time
sys.path.insert(0, {folder!r})
import numpy as np, torch, torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from common import mnist
torch.manual_seed(0)
x0 = mnist({data!r}).float().div(127.5).sub(1)
m = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 64),
    norm_num_groups=8, down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))
opt, noise, images = torch.optim.AdamW(m.parameters(), 1e-4), DDPMScheduler(1000), 0
began = time.perf_counter()
while time.perf_counter() - began < {seconds}:
    x = x0[torch.randint(0, len(x0), (64,))]; e = torch.randn_like(x); t = torch.randint(0, 1000, (64,))
    loss = F.mse_loss(m(noise.add_noise(x, e, t), t).sample, e)
    opt.zero_grad(); loss.backward(); opt.step(); images += 64
s, made = DDIMScheduler(1000), []
s.set_timesteps(50)
with torch.no_grad():
    while sum(map(len, made)) < {count}:
        x = torch.randn(100, 1, 28, 28)
        for t in s.timesteps: x = s.step(m(x, t).sample, t, x).prev_sample
        made.append(((x.clamp(-1, 1) + 1) * 127.5).round().byte())
np.savez({out!r}, images=torch.cat(made).permute(0, 2, 3, 1).numpy())
print(json.dumps({{"images": images}}))
"""
"""The peer's script once more, on all pictures and for some time; and what it draws is kept."""


def lines(command: list[str], **environment: str) -> dict[str, Any]:
    """What a command prints as JSON, a line after the other."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def speed(data: str, steps: int) -> dict[str, float]:
    """Images a second of one training, once it runs evenly, and of sampling; in this process."""
    from training import Clock  # beside this file; it imports torch

    import aigc_core
    from aigc_core.training.job import train

    clock = Clock()
    done = train(MODEL, data, steps=steps, name="timed", progress=clock, sheet_every=0)
    batch = done.record["training"]["options"]["batch_size"]
    weights = aigc_core.load(done.path)
    aigc_core.sample(weights, count=64, sampler="ddim")
    began = time.perf_counter()
    aigc_core.sample(weights, count=DRAWN, sampler="ddim")
    return {
        "train": batch * (steps - WARM) / (clock.ends[-1] - clock.ends[WARM - 1]),
        "sample": DRAWN / (time.perf_counter() - began),
    }


def pairs(arguments: argparse.Namespace) -> tuple[float, float]:
    """The medians of the ratios of training and of sampling."""
    train, sample = [], []
    print("| pair | ours, trained images/s | diffusers | ratio | ours, drawn images/s | diffusers | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for number in range(arguments.pairs):
        with tempfile.TemporaryDirectory() as home:
            ask = json.dumps([str(arguments.mnist), arguments.steps])
            ours = lines([sys.executable, __file__, "--child", ask], AIGC_HOME=home)
        peer = lines([arguments.peer_python, str(arguments.peer.resolve()), "--data", str(arguments.mnist)])
        train.append(ours["train"] / peer["train_images_per_s"])
        sample.append(ours["sample"] / peer["sample_images_per_s"])
        print(
            f"| {number + 1} | {ours['train']:,.0f} | {peer['train_images_per_s']:,.0f} | {train[-1]:.2f} | "
            f"{ours['sample']:,.1f} | {peer['sample_images_per_s']:,.1f} | {sample[-1]:.2f} |",
            flush=True,
        )
    found = statistics.median(train), statistics.median(sample)
    print(
        f"| median | | | **{found[0]:.2f}**, at least {TRAIN:g} | | | **{found[1]:.2f}**, at least {SAMPLE:g} |\n"
    )
    return found


def quality(arguments: argparse.Namespace) -> tuple[float, float]:
    """The distances of ours and of the peer's after the same time."""
    import aigc_core
    from aigc_core.training.settings import seconds

    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGC_HOME"] = folder
        command = [
            sys.executable,
            "-m",
            "aigc_core",
            "train",
            MODEL,
            "--data",
            str(arguments.mnist),
            "--name",
            "ours",
        ]
        subprocess.run([*command, "--budget", arguments.budget, "--quiet"], check=True, stdout=sys.stderr)
        fakes = Path(folder) / "fakes.npz"
        code = PEER.format(
            folder=str(arguments.peer.resolve().parent), data=str(arguments.mnist), out=str(fakes),
            seconds=seconds(arguments.budget), count=judged.COUNT,
        )  # fmt: skip
        done = lines([arguments.peer_python, "-c", code])
        judged.head("model", "sampler", "epochs")
        weights = aigc_core.load("ours")
        training = weights.record["training"]
        seen = training["steps"] * training["options"]["batch_size"]
        ours = judged.judged(arguments, weights, "ddim")
        judged.row(ours, f"`{MODEL}`", "ddim, 50 steps", f"{seen / 60_000:.1f}")
        theirs = judged.score(arguments.judge, arguments.set, arguments.real, fakes)
        judged.row(theirs, "diffusers", "ddim, 50 steps", f"{done['images'] / 60_000:.1f}")
    return ours["fid"], theirs["fid"]


def main() -> None:
    if "--child" in sys.argv:
        print(json.dumps(speed(*json.loads(sys.argv[sys.argv.index("--child") + 1]))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--mnist", type=Path, required=True, help="a folder of IDX files")
    parser.add_argument("--judge", type=Path, help="the folder of judge.py")
    parser.add_argument("--set", default="mnist", help="which of its classifiers")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of ours in a pair")
    arguments = parser.parse_args()
    arguments.real = arguments.mnist / "t10k-images-idx3-ubyte.gz"
    train, sample = pairs(arguments)
    missed = train < TRAIN or sample < SAMPLE
    if arguments.judge:
        ours, theirs = quality(arguments)
        missed |= ours > theirs
    if missed:
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
