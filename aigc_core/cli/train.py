"""`aigc train`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import (
    DataName,
    KeyValue,
    ModelId,
    SizeType,
    fields,
    json_option,
    note,
    open_registry,
    print_json,
    program,
)
from aigc_core.errors import UsageError
from aigc_core.modality import default_ending
from aigc_core.options import check_options

if TYPE_CHECKING:
    from aigc_core.training.job import Plan


@click.command()
@click.argument("model", type=ModelId())
@click.option(
    "--data", required=True, type=DataName(), help="A data set's name, or a path (see: aigc data list)."
)
@click.option("--name", help="Keep the weights under this name; by default made of model and data.")
@click.option("--steps", type=int, help="How many steps to train.")
@click.option(
    "--epochs", type=float, help="How many passes over the data; by default the model's own number."
)
@click.option("--batch-size", type=int, help="Items a step.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides everything random.")
@click.option(
    "-o",
    "--option",
    "options",
    type=KeyValue(),
    multiple=True,
    help="An option of the model or its training.",
)
@click.option(
    "--size",
    type=SizeType(),
    help="The size of an item: height x width of a folder's pictures, bytes of a text, samples of a sound.",
)
@click.option("--strict", is_flag=True, help="Fail on the first unreadable file instead of skipping it.")
@click.option(
    "--checkpoint-every",
    type=int,
    metavar="N",
    help="Steps between checkpoints; by default about one a minute.",
)
@click.option("--again", is_flag=True, help="Train once more what has finished, as a new version.")
@click.option("--dry-run", is_flag=True, help="Check everything, show what would be trained, and stop.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def train(
    model: str,
    data: str,
    name: str | None,
    steps: int | None,
    epochs: float | None,
    batch_size: int | None,
    lr: float | None,
    seed: int,
    options: tuple[tuple[str, str], ...],
    size: tuple[int, int] | None,
    strict: bool,
    checkpoint_every: int | None,
    again: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train MODEL on data and keep its weights in the store.

    The same command again resumes an interrupted run, and says so of a finished one.
    """
    registry = open_registry()
    flags = {"batch_size": batch_size, "lr": lr}
    for flag in ("batch_size", "lr"):
        if flag in dict(options) and flags[flag] is not None:
            raise UsageError(f"{flag} is given twice, by -o and by --{flag.replace('_', '-')}")
    given = {**dict(options), **{flag: value for flag, value in flags.items() if value is not None}}
    check_options(registry.load(model), given, epochs)  # before torch is imported, let alone data read

    from aigc_core.progress import Progress
    from aigc_core.training.job import plan
    from aigc_core.training.job import train as train_

    common: dict[str, Any] = {
        "name": name, "steps": steps, "epochs": epochs, "seed": seed, "options": given, "size": size,
        "strict": strict, "registry": registry, "progress": Progress(False if quiet else None),
    }  # fmt: skip
    if dry_run:
        _show_plan(plan(model, data, **common), as_json)
        return
    with contextlib.redirect_stdout(sys.stderr):  # what a backend prints must not spoil --json
        done = train_(model, data, again=again, checkpoint_every=checkpoint_every, **common)
    for item in done.skipped[:10]:
        note(f"skipped {item}")
    if done.skipped:
        note(f"skipped {len(done.skipped)} unreadable files in all (--strict makes that an error)")
    if as_json:
        print_json({**asdict(done), "path": str(done.path), "run": str(done.run), **done.record,
                    "already_finished": done.already_finished})  # fmt: skip
        return
    training = done.record["training"]
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in training["metrics"].items())
    if done.already_finished:
        click.echo(
            f"{done.weights} is there already ({metrics}); --again trains the same once more, as a new version"
        )
    else:
        resumed = f", resumed at step {done.resumed_at}" if done.resumed_at else ""
        click.echo(
            f"kept {done.weights}: {training['steps']} steps in {done.seconds:.0f} s{resumed} ({metrics})"
        )
    click.echo(f"  file    {done.path}")
    click.echo(f"  digest  {done.record['tensors_digest']}")
    out = done.weights.partition("@")[0] + default_ending(done.record["output"]["modality"])
    click.echo(f"  next    {program()} sample {done.weights} --out {out}")


def _show_plan(plan: Plan, as_json: bool) -> None:
    count = sum(p.numel() for p in plan.build().parameters())
    values = {**plan.config.model_dump(mode="json"), **plan.options.model_dump(mode="json")}
    origins = {key: "given" if key in plan.given else "default" for key in values}
    data, folder = plan.dataset, plan.run().folder
    if as_json:
        print_json(
            {
                "model": plan.model.spec.id, "name": plan.name, "steps": plan.steps, "seed": plan.seed,
                "parameters": count, "data": plan.data_record(), "run": str(folder),
                "options": {key: {"value": values[key], "from": origins[key]} for key in values},
            }
        )  # fmt: skip
        return
    shown = [f"{k}={v}" + (" (given)" if origins[k] == "given" else "") for k, v in values.items()]
    fields(
        {
            "model": f"{plan.model.spec.id}, {count:,} parameters in its generator",
            "data": f"{data.name}, {len(data)} items of {'x'.join(map(str, data.info.shape))}",
            "length": f"{plan.steps} steps of {plan.options.batch_size}",
            "name": plan.name,
            "run": str(folder),
            "options": ", ".join(shown),
        }
    )
