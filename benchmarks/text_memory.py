"""Training on a text that is larger than memory should be: python benchmarks/text_memory.py [--gigabytes 2]

Makes a text of real lines, repeated, each tenth with a number of its own, in a temporary folder. For each tokenizer it
trains a tiny model on it by the command line, in a home of its own, so that reading, making tokens and training are
all in it; and the same on a text of a megabyte. Prints the peak memory (resident set) of both processes, and exits with
1 if the large text took a gigabyte in all, or 512 MB more than the small one. `--speed FILE` measures the passes alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REAL = Path(__file__).resolve().parents[1] / "aigc_core" / "testing" / "data" / "shakespeare.txt"
KINDS = ("characters", "bytes", "bpe")
TINY = ("width=16", "layers=1", "heads=2", "context=128", "batch_size=32")
LIMIT, MORE = 1000, 512
"""Megabytes."""


def write_text(path: Path, size: int) -> None:
    """Real lines over and over, each tenth numbered, to so many bytes."""
    lines, number, written = REAL.read_text(encoding="utf-8").splitlines(), 0, 0
    with open(path, "w", encoding="utf-8") as file:
        while written < size:
            numbered = [f"{number + i}. {line}" if i % 10 == 0 else line for i, line in enumerate(lines)]
            number += len(lines)
            written += file.write("\n".join(numbered) + "\n")


def train(text: Path, kind: str, folder: Path, steps: int) -> tuple[float, float]:
    """Seconds and peak memory in MB of a training, its tokens included."""
    options = [part for option in (*TINY, f"tokenizer={kind}") for part in ("-o", option)]
    command = [
        sys.executable, "-m", "aigc_core", "train", "text/gpt", "--data", str(text), "--steps", str(steps), *options,
        "--quiet", "--cpu", "--sheet-every", "0", "--name", "x",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as home:
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, "AIGC_HOME": home}, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        return time.perf_counter() - began, usage.ru_maxrss / 1024 * 1.048576


def speeds(text: Path) -> None:
    """MB/s of the first pass, and of making tokens of each kind, a second time where merges are learned first."""
    from aigc_text.config import GPTConfig
    from aigc_text.vocabulary import TextTokenizer

    from aigc_core.data.corpus import Corpus
    from aigc_core.data.reading import text_reading
    from aigc_core.data.tokens import tokenised

    size = text.stat().st_size / 1e6
    began = time.perf_counter()
    corpus = Corpus([text], text_reading({"validation": 0}))
    print(f"first pass {size / (time.perf_counter() - began):8.1f} MB/s")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as home:
            os.environ["AIGC_HOME"] = home
            began = time.perf_counter()
            config = GPTConfig.model_validate({"tokenizer": kind})
            tokenizer = TextTokenizer.fit(config, lambda: corpus.texts("train"), {})
            fitted = time.perf_counter()
            tokenised(corpus, tokenizer, "train", name="x")
            print(
                f"{kind:10} {size / (time.perf_counter() - fitted):8.1f} MB/s, made in {fitted - began:.1f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--speed", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.speed:
        speeds(given.speed)
        return
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = folder / "large.txt", folder / "small.txt"
        write_text(large, int(given.gigabytes * 1e9))
        write_text(small, 1_000_000)
        print(f"{'tokenizer':10} {'1 MB':>16} {f'{given.gigabytes:g} GB':>20}", flush=True)
        for kind in given.kinds:
            (a, before), (b, after) = (train(text, kind, folder, given.steps) for text in (small, large))
            failed |= after > LIMIT or after - before > MORE
            print(f"{kind:10} {before:7.0f} MB {a:4.0f} s {after:11.0f} MB {b:4.0f} s", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
