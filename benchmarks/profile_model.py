"""Where a training step's time goes: python benchmarks/profile_model.py MODEL --data D [--set name=value ...]

Prints torch.profiler's table of 20 steps as `train` makes them: batches, seeds and logs are in it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch.profiler import ProfilerActivity, profile

from aigc_core.progress import Bar, Progress
from aigc_core.training.job import train

WARM, STEPS = 20, 20


class Profiler(Progress):
    """Begins after the first steps, in the place of a progress bar."""

    def __init__(self) -> None:
        super().__init__(False)
        self.profile, self.done = profile(activities=[ProfilerActivity.CPU]), 0

    @contextmanager
    def bar(self, total: int, text: str, unit: str, initial: int = 0) -> Iterator[Bar]:
        yield self

    def update(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        self.done += amount
        if amount and self.done == WARM:
            self.profile.start()
        if amount and self.done == WARM + STEPS:
            self.profile.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="options of the model")
    parser.add_argument("--rows", type=int, default=15)
    arguments = parser.parse_args()
    options = dict(pair.split("=", 1) for pair in arguments.set)
    profiler = Profiler()
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIGC_HOME"] = home
        train(arguments.model, arguments.data, steps=WARM + STEPS, options=options, progress=profiler)
    table = profiler.profile.key_averages().table
    print(table(sort_by="self_cpu_time_total", row_limit=arguments.rows, max_name_column_width=45))


if __name__ == "__main__":
    main()
