"""`aigc eval`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import (
    DataName,
    KeyValue,
    SizeType,
    WeightsName,
    json_option,
    note,
    open_registry,
    print_json,
    reading_option,
    table,
)

if TYPE_CHECKING:
    from aigc_core.evaluation.card import MetricCard
    from aigc_core.evaluation.compare import Row


class Evaluate(click.Command):
    """`aigc eval WEIGHTS`, and `aigc eval compare`, which takes other options."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["compare"]:
            return compare.make_context(f"{info_name} compare", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(
    "eval",
    cls=Evaluate,
    epilog="`aigc eval compare A.json B.json ...` puts the figures of cards side by side, and refuses cards that do "
    "not compare.",
)
@click.argument("weights", type=WeightsName(), required=False)
@click.option("--data", type=DataName(), required=True, help="A data set: a name (aigc data list) or a path.")
@click.option("--split", help="Which part of the data; by default validation, or else test.")
@reading_option
@click.option("--size", type=SizeType(), help="Resize a folder of pictures to that.")
@click.option("-m", "--metric", "metrics", multiple=True, help="Measure this one; by default those that fit.")
@click.option(
    "-n", "count", type=int, help="Samples to compare with the data; by default as many, at most 10000."
)
@click.option("--sampler", help="One of the model's samplers; by default its first.")
@click.option(
    "-s", "--sampler-option", "options", type=KeyValue(), multiple=True, help="An option of the sampler."
)
@click.option(
    "--features",
    help="What looks at pictures: own, efficientnet-lite0, inception, or a file; by default own if there are any.",
)
@click.option("--train-features", is_flag=True, help="Make `own` features: train a classifier on --data.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides what is drawn at random.")
@click.option(
    "--threads", type=int, default=1, show_default=True, help="That a block of samples is computed with."
)
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE.json", help="Keep the cards there.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def evaluate(
    weights: str | None,
    data: str,
    split: str | None,
    reading: tuple[tuple[str, str], ...],
    size: tuple[int, int] | None,
    metrics: tuple[str, ...],
    count: int | None,
    sampler: str | None,
    options: tuple[tuple[str, str], ...],
    features: str | None,
    train_features: bool,
    seed: int,
    threads: int,
    out: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Judge WEIGHTS (a name in the store, name@version, or a file) by data that they were not fitted on.

    Prints the figures of each metric; as JSON with all that they depend on: the digests of weights, data and features,
    the numbers of items, the seed, the versions, the machine. Pictures are compared by features: make them once for
    each data set with `aigc eval --train-features --data D`.
    """
    registry = open_registry()
    if train_features:
        _train(data, size, seed, quiet, as_json)
    if weights is None:
        if train_features:
            return
        raise click.UsageError("Missing argument 'WEIGHTS'.")
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
        weights, data, split=split, metrics=metrics, seed=seed, count=count, sampler=sampler, sampler_options=dict(options),
        features=features, threads=threads, size=size, reading=dict(reading), registry=registry, remarks=remarks,
        quiet=quiet,
    )  # fmt: skip
    for remark in remarks:
        note(remark)
    records = [card.as_json() for card in cards]
    if out is not None:
        _keep(records, out)
    if as_json:
        print_json(records)
        return
    _show(cards)


def _train(data: str, size: tuple[int, int] | None, seed: int, quiet: bool, as_json: bool) -> None:
    from aigc_core.evaluation.features import train_features
    from aigc_core.progress import Progress

    made = train_features(data, seed=seed, size=size, progress=Progress(False if quiet else None))
    if as_json:
        print_json(
            {
                "path": str(made.path),
                "digest": made.digest,
                "accuracy": made.accuracy,
                "already_there": not made.new,
            }
        )
        return
    what = "kept features" if made.new else "features are there already"
    click.echo(f"{what}: {made.path} (accuracy {made.accuracy:.4f} on items held out)")
    click.echo(f"  digest  {made.digest}")


def _keep(records: list[dict[str, Any]], out: str) -> None:
    """Writes cards, whole or not at all. Raises StorageError."""
    from aigc_core.files import user_path, write_atomically

    with write_atomically(user_path(out)) as file:
        file.write((json.dumps(records, indent=2, ensure_ascii=False) + "\n").encode())


def _show(cards: list[MetricCard]) -> None:
    sure = any(any(card.intervals.values()) for card in cards)
    rows = []
    for card in cards:
        for name, value in card.figures.items():
            interval = card.intervals.get(name)
            rows.append([card.name, name, _text(value), *([_between(interval)] if sure else [])])
    table(rows, ["METRIC", "FIGURE", "VALUE", *(["95 %"] if sure else [])])
    judged = cards[0].data
    line = f"by {judged['name']} ({judged['split']}, {judged['count']} items), seed {cards[0].seed}"
    compared = next((card for card in cards if card.samples and card.extractor), None)
    if compared is not None and compared.samples and compared.extractor:
        made, eye = compared.samples, compared.extractor
        line += f"; {made['count']} samples of {made['sampler']}, features {eye['name']} {eye['digest'][:19]}"
    note(line)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="A.json B.json ...")
@json_option
def compare(files: tuple[str, ...], as_json: bool) -> None:
    """Put the figures of cards (`aigc eval --out`) side by side.

    Cards compare if the data, the split, the numbers of items and of samples, the features and what becomes of pictures
    before them are the same; weights, samplers and seeds may differ. Others are refused (exit code 2), with the reasons,
    a line each.
    """
    from aigc_core.evaluation.compare import differences, read, side_by_side

    reasons = differences([(name, read(name)) for name in files])
    for reason in reasons[1:]:
        note(reason)
    rows = side_by_side(files)
    if as_json:
        print_json([_row(row, files) for row in rows])
        return
    lines = [
        [row.metric, row.figure]
        + [_with(v, i) for v, i in zip(row.values, row.intervals, strict=True)]
        for row in rows
    ]  # fmt: skip
    table(lines, ["METRIC", "FIGURE", *files])


def _row(row: Row, files: tuple[str, ...]) -> dict[str, Any]:
    found = {
        name: {"value": value, "interval": interval}
        for name, value, interval in zip(files, row.values, row.intervals, strict=True)
    }
    return {"metric": row.metric, "figure": row.figure, "files": found}


def _with(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{_text(value)} ({_between(interval)})" if interval else _text(value)


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4g} .. {interval[1]:.4g}"


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) or not math.isfinite(value) else f"{value:.6g}"
