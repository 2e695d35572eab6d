"""What language models come to: validation losses on Tiny Shakespeare, poems of Tang in their form.

    python benchmarks/text_quality.py [--shakespeare FILE] [--poems FILE]

Each model is trained by the command line, in a home of its own, and judged on the whole of what was held out (the last
tenth of the characters of Shakespeare; a tenth of the poems). nanoGPT's shape for CPUs comes first; the defaults are
then given as many seconds as that took. Prints a table, and poems; fails if a bound is missed. Takes about six minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NANO = ["--steps", "2000", "--batch-size", "12"]
SHAPE = ["layers=4", "heads=4", "width=128", "context=64", "bias=false", "dropout=0"]
"""nanoGPT's `train_shakespeare_char.py`, as its README runs it on a laptop: loss 1.88 there."""
ADAM = ["optimizer=adamw", "lr=1e-3", "final_lr=0.1", "beta2=0.99", "weight_decay=0.1", "warmup=0.05"]
COUPLET = re.compile(r"[^，。？！；\s]{5}，[^，。？！；\s]{5}[。？！]")


def aigc(home: Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "aigc_core", *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "AIGC_HOME": str(home)}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


def trained(
    home: Path, model: str, data: Path, name: str, *arguments: str, options: list[str] | None = None
) -> float:
    """Seconds that the whole command takes."""
    given = [word for option in options or [] for word in ("-o", option)]
    start = time.perf_counter()
    aigc(home, "train", model, "--data", data, "--name", name, *arguments, *given)
    return time.perf_counter() - start


def judged(home: Path, name: str, data: Path, *arguments: str) -> dict[str, Any]:
    """All figures of both metrics."""
    cards = json.loads(
        aigc(
            home,
            "eval",
            name,
            "--data",
            data,
            "-m",
            "bits-per-byte",
            "-m",
            "window-loss",
            "--json",
            *arguments,
        )
    )
    return {key: value for card in cards for key, value in card["figures"].items()}


def row(home: Path, what: str, name: str, data: Path, seconds: float, bound: float) -> bool:
    figures = judged(home, name, data)
    training = json.loads(aigc(home, "inspect", name, "--json"))
    print(
        f"| {what} | {training['parameters']:,} | {training['training']['steps']} | {seconds:.0f} "
        f"| {figures['loss']:.3f} | {figures['window-loss']:.3f} | {figures['bits-per-byte']:.3f} "
        f"| {bound or ''} |",
        flush=True,
    )
    return bool(bound) and figures["loss"] > bound


def shakespeare(home: Path, data: Path) -> bool:
    print(
        "| model | parameters | steps | seconds | validation loss | of random windows | bits a byte | at most |"
    )
    print("| --- " * 8 + "|")
    seconds = trained(home, "text/gpt", data, "nano", *NANO, options=SHAPE)
    missed = row(home, "`text/gpt`, nanoGPT's shape and steps", "nano", data, seconds, 1.86)
    same = trained(home, "text/gpt", data, "adam", *NANO, options=[*SHAPE, *ADAM])
    row(home, "the same with nanoGPT's AdamW", "adam", data, same, 0)
    budget = f"{seconds:.0f}s"
    taken = trained(home, "text/gpt", data, "own", "--budget", budget)
    missed |= row(home, f"`text/gpt`, its defaults, `--budget {budget}`", "own", data, taken, 1.80)
    taken = trained(home, "text/lstm", data, "lstm")
    row(home, "`text/lstm`, its defaults", "lstm", data, taken, 0)
    return missed


def poems(home: Path, data: Path) -> bool:
    """Whether they are well-formed: every sample text, a couplet of five gone on with in fives."""
    reading = ("-d", "documents=paragraph")
    seconds = trained(home, "text/lstm", data, "tang", *reading, "--epochs", "100", options=["dropout=0.3"])
    figures = judged(home, "tang", data, *reading)
    out = home / "tang.txt"
    aigc(home, "sample", "tang", "--prompt", "春眠不覺曉，", "-n", 20, "-s", "temperature=0.7", "--out", out)
    texts = out.read_text(encoding="utf-8").split("\n---\n")
    fives = sum(bool(COUPLET.match(text)) for text in texts)
    print(
        f"\nTang poems, {seconds:.0f} s: {figures['bits-per-byte']:.2f} bits a byte of those held out; ",
        end="",
    )
    print(f"{fives} of 20 texts go on with five characters and a stop. The first three:\n")
    print("\n\n".join(texts[:3]))
    return fives < 16 or any("\ufffd" in text for text in texts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shakespeare", type=Path)
    parser.add_argument("--poems", type=Path)
    arguments = parser.parse_args()
    if not (arguments.shakespeare or arguments.poems):
        parser.error("--shakespeare or --poems is needed")
    with tempfile.TemporaryDirectory() as folder:
        missed = bool(arguments.poems) and poems(Path(folder), arguments.poems)
        if arguments.shakespeare:
            missed |= shakespeare(Path(folder), arguments.shakespeare)
    if missed:
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
