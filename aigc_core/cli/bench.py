"""`aigc bench`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from aigc_core.cli.common import (
    DataName,
    ModelId,
    SizeType,
    json_option,
    note,
    open_registry,
    print_json,
    table,
)
from aigc_core.cli.train import Duration
from aigc_core.errors import UsageError

if TYPE_CHECKING:
    from aigc_core.benchmark.job import Table

SEEDS = 3


@click.command()
@click.argument("models", type=ModelId(), nargs=-1, metavar="[MODEL]...")
@click.option(
    "--data", required=True, type=DataName(), help="A data set's name, or a path (see: aigc data list)."
)
@click.option("--budget", required=True, type=Duration(), help="How long each training takes: 90s, 10m, 1h.")
@click.option("--seeds", type=int, metavar="N", help=f"Train each model so many times; {SEEDS} by default.")
@click.option(
    "--seed", "only", type=int, multiple=True, help="Train with this seed alone; may be given many times."
)
@click.option(
    "-n",
    "count",
    type=int,
    default=10_000,
    show_default=True,
    help="Samples that are judged of each sampler.",
)
@click.option("--split", help="Which part of the data to judge by; by default validation, or else test.")
@click.option(
    "--features",
    metavar="NAME",
    help="What looks at the pictures; by default a classifier of the data's own classes, which is trained first.",
)
@click.option("--size", type=SizeType(), help="Resize a folder's pictures: height x width.")
@click.option("--out", default="benchmarks", show_default=True, help="The folder of the table.")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@json_option
def bench(
    models: tuple[str, ...],
    data: str,
    budget: float,
    seeds: int | None,
    only: tuple[int, ...],
    count: int,
    split: str | None,
    features: str | None,
    size: tuple[int, int] | None,
    out: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train each MODEL on data for the same time, judge what its samplers draw, and write a table.

    By default all models that can be trained on the data, with all their defaults. The table, DATA-BUDGET.md, and
    the pictures beside it are written as rows come; the weights are kept as bench-DATA-BUDGET-MODEL-sSEED. The same
    command again goes on where it was cut off, and several at once share the work.
    """
    registry = open_registry()
    from aigc_core.benchmark.ask import ask, chosen

    if seeds is not None and only:
        raise UsageError("give --seeds N, or --seed K as often as wanted, not both")
    chosen(registry, models)  # before torch is imported: a mistake is answered at once
    ask(data, budget, only or (SEEDS if seeds is None else seeds), count, split)
    from aigc_core.benchmark.job import bench

    with contextlib.redirect_stdout(sys.stderr):  # what a backend prints must not spoil --json
        done = bench(
            data, budget=budget, models=models, seeds=only or (SEEDS if seeds is None else seeds), count=count, split=split,
            features=features, size=size, out=out, registry=registry, quiet=quiet, say=None if quiet else note,
        )  # fmt: skip
    if as_json:
        rows = [row.as_json() for row in done.rows]
        print_json({"path": str(done.path), "passed_over": done.passed_over, "rows": rows})
        return
    _show(done)


def _show(done: Table) -> None:
    """The first figure of each model and sampler, and where the rest is."""
    import statistics

    from aigc_core.benchmark.report import figures, groups

    names = list(figures(done.rows))
    lines = []
    for group in groups(done.rows):
        values = group.values(names[0]) if names else []
        shown = f"{statistics.fmean(values):.4g}" if values else "failed"
        lines.append([group.model, group.sampler or "", str(len(group.rows)), shown])
    table(lines, ["MODEL", "SAMPLER", "SEEDS", names[0].upper() if names else "FIGURE"])
    click.echo(done.path)
