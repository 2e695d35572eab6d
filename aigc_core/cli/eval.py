"""`aigc eval`."""

from __future__ import annotations

import math

import click

from aigc_core.cli.common import (
    DataName,
    WeightsName,
    json_option,
    note,
    open_registry,
    print_json,
    reading_option,
    table,
)


@click.command("eval")
@click.argument("weights", type=WeightsName())
@click.option("--data", type=DataName(), required=True, help="A data set: a name (aigc data list) or a path.")
@click.option("--split", help="Which part of the data; by default validation, or else test.")
@reading_option
@click.option("-m", "--metric", "metrics", multiple=True, help="Measure this one; by default those that fit.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides what a metric draws at random.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def evaluate(
    weights: str,
    data: str,
    split: str | None,
    reading: tuple[tuple[str, str], ...],
    metrics: tuple[str, ...],
    seed: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Judge WEIGHTS (a name in the store, name@version, or a file) by data that they were not fitted on.

    Prints the figures of each metric; as JSON with all that they depend on: the digests of weights and data, the
    seed, the versions, the machine.
    """
    registry = open_registry()
    from aigc_core.data.reading import readings
    from aigc_core.evaluation.choice import choose
    from aigc_core.weights.header import output_modality, read_header
    from aigc_core.weights.store import Store

    found = Store().resolve(weights)  # before torch is imported: a mistake is answered at once
    header = read_header(found.path)
    choose(registry, output_modality(header), str(header.record["model"]), metrics)
    readings(dict(reading))
    from aigc_core.evaluation.measure import evaluate

    remarks: list[str] = []
    cards = evaluate(
        weights, data, split=split, metrics=metrics, seed=seed, reading=dict(reading), registry=registry,
        remarks=remarks, quiet=quiet,
    )  # fmt: skip
    for remark in remarks:
        note(remark)
    if as_json:
        print_json([card.as_json() for card in cards])
        return
    rows = [[card.name, name, _text(value)] for card in cards for name, value in card.figures.items()]
    table(rows, ["METRIC", "FIGURE", "VALUE"])
    judged = cards[0].data
    note(f"by {judged['name']} ({judged['split']}, {judged['count']} items), seed {seed}")


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) or not math.isfinite(value) else f"{value:.6g}"
