"""What judging pictures takes: python benchmarks/evaluation.py [WEIGHTS] [--data D] [-n COUNT...] [--features NAME]

Each number of samples is judged in a process of its own: the most memory that it had, the seconds in all, and those of
each metric. Memory must not grow with the number of samples: pictures are never kept, and features lie in a file, whose
pages the system counts but takes back as it needs them; so the peak is given with and without them. WEIGHTS are by
default trained first, in a minute. Features of the data, where there are none, are trained before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

CODE = """
import json, sys
sys.path.insert(0, {here!r})
from evaluation import Peak
from aigc_core.evaluation.measure import evaluate
with Peak() as peak:
    cards = evaluate({weights!r}, {data!r}, count={count}, split={split!r}, features={features!r})
found = {{card.name: round(card.seconds, 1) for card in cards}}
figures = {{name: value for card in cards for name, value in card.figures.items()}}
print(json.dumps({{**peak.found(), "seconds": found, "figures": figures, "compared": cards[0].data.get("compared")}}))
"""


class Peak:
    """The most memory of this process within a block, in bytes: all that is resident, and its part of no file."""

    def __enter__(self) -> Peak:
        self.whole = self.own = 0
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._watch.join()
        self.seconds = time.perf_counter() - self._started

    def _look(self) -> None:
        while not self._done.wait(0.02):
            with open("/proc/self/statm") as file:
                _, resident, shared, *_ = map(int, file.read().split())
            page = os.sysconf("SC_PAGE_SIZE")
            self.whole = max(self.whole, resident * page)
            self.own = max(self.own, (resident - shared) * page)

    def found(self) -> dict[str, Any]:
        return {"resident": self.whole, "own": self.own, "all": round(self.seconds, 1)}


def measured(weights: str, data: str, split: str | None, count: int, features: str | None) -> dict[str, Any]:
    """One evaluation in a process of its own."""
    here = os.path.dirname(os.path.abspath(__file__))
    code = CODE.format(here=here, weights=weights, data=data, count=count, split=split, features=features)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--split")
    parser.add_argument("-n", dest="counts", type=int, nargs="+", default=[5000, 50_000])
    parser.add_argument("--features")
    asked = parser.parse_args()
    if asked.weights is None:
        from aigc_core.training.job import train

        asked.weights = train("vae/mlp", asked.data, steps=500, name="evaluation-benchmark").weights
    if asked.features in (None, "own"):
        from aigc_core.evaluation.features import train_features

        started = time.perf_counter()
        made = train_features(asked.data)
        print(
            f"features: {made.accuracy:.4f} right, {time.perf_counter() - started:.0f} s, new: {made.new}\n"
        )
    print("| samples | items | peak MB | of them not of files | seconds | of each metric |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in asked.counts:
        row = measured(asked.weights, asked.data, asked.split, count, asked.features)
        seconds = ", ".join(f"{name} {value:g}" for name, value in row["seconds"].items())
        print(
            f"| {count} | {row['compared']} | {row['resident'] / 1e6:.0f} | {row['own'] / 1e6:.0f} | {row['all']:g} | "
            f"{seconds} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
