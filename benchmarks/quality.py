"""Quality after five epochs with the defaults, judged by a frozen classifier outside the project.

    python benchmarks/quality.py --judge DIR --mnist DIR [--models gan/dcgan vae/conv] [--set mnist]

`--judge` holds judge.py and the classifier's weights, `--mnist` the four IDX files. Trains each model by the
command line in a home of its own, samples 10,000 pictures, and prints a table. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument(
        "--mnist", type=Path, required=True, help="a folder of IDX files; Fashion-MNIST's will do"
    )
    parser.add_argument(
        "--set", default="mnist", help="which of the judge's classifiers: mnist or fashion-mnist"
    )
    parser.add_argument("--models", nargs="+", default=["gan/dcgan", "vae/conv"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", default="5")
    arguments = parser.parse_args()
    print("| model | seconds | coverage | class KL | confidence | Fréchet distance | precision | recall |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGC_HOME"] = folder
        for model in arguments.models:
            aigc = [sys.executable, "-m", "aigc_core"]
            done = json.loads(
                run(
                    *aigc, "train", model, "--data", str(arguments.mnist), "--epochs", arguments.epochs,
                    "--seed", str(arguments.seed), "--name", "judged", "--json",
                )
            )  # fmt: skip
            fakes = f"{folder}/fakes.npz"
            run(*aigc, "sample", done["weights"], "-n", "10000", "--out", fakes, "--quiet")
            score = json.loads(
                run(
                    sys.executable, str(arguments.judge / "judge.py"), "score", "--fake", fakes,
                    "--weights", str(arguments.judge / f"{arguments.set}.safetensors"),
                    "--real", str(arguments.mnist / "t10k-images-idx3-ubyte.gz"),
                )
            )  # fmt: skip
            figures = [score[k] for k in ("coverage", "class_kl", "confidence", "fid", "precision", "recall")]
            print(
                f"| `{model}` | {done['seconds']:.0f} | " + " | ".join(f"{f:.3g}" for f in figures) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
