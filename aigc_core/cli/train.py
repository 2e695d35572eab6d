"""`aigc train`."""

from __future__ import annotations

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
)


@click.command()
@click.argument("model", type=ModelId())
@click.option("--data", required=True, type=DataName(), help="A data set's name, or a path (see: aigc data list).")
@click.option("--name", help="Keep the weights under this name; by default made of model and data.")
@click.option("--steps", type=int, help="How many steps to train.")
@click.option("--epochs", type=float, help="How many passes over the data; by default the model's own number.")
@click.option("--batch-size", type=int, help="Items a step.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides everything random.")
@click.option("-o", "--option", "options", type=KeyValue(), multiple=True, help="An option of the model or its training.")
@click.option("--size", type=SizeType(), help="Crop and resize a folder's pictures to this height and width.")
@click.option("--strict", is_flag=True, help="Fail on the first unreadable picture instead of skipping it.")
@click.option("--checkpoint-every", type=int, metavar="N", help="Steps between checkpoints; by default one a minute.")
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
    given: dict[str, object] = dict(options)
    for flag, value in (("batch_size", batch_size), ("lr", lr)):
        if value is not None:
            given[flag] = value
    _check_early(registry.load(model), given, epochs)
    from aigc_core.progress import Progress
    from aigc_core.training import job

    progress = Progress(False if quiet else None)
    common = {
        "name": name, "steps": steps, "epochs": epochs, "seed": seed, "options": given, "size": size,
        "strict": strict, "registry": registry, "progress": progress,
    }  # fmt: skip
    if dry_run:
        _show_plan(job.plan(model, data, **common), as_json)  # type: ignore[arg-type]
        return
    done = job.train(model, data, again=again, checkpoint_every=checkpoint_every, **common)  # type: ignore[arg-type]
    for item in done.skipped[:10]:
        note(f"skipped {item}")
    if done.skipped:
        note(f"skipped {len(done.skipped)} unreadable pictures in all (--strict makes that an error)")
    if as_json:
        print_json(
            {
                "weights": done.weights, "path": str(done.path), "run": str(done.run), "seconds": done.seconds,
                "resumed_at": done.resumed_at, "already_finished": done.already_finished, "skipped": done.skipped,
                **done.record,
            }
        )  # fmt: skip
        return
    record = done.record
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in record["training"]["metrics"].items())
    if done.already_finished:
        click.echo(f"{done.weights} is there already: the same run has finished ({metrics}); --again trains a new version")
    else:
        resumed = f", resumed at step {done.resumed_at}" if done.resumed_at else ""
        click.echo(f"kept {done.weights}: {record['training']['steps']} steps in {done.seconds:.0f} s{resumed} ({metrics})")
    click.echo(f"  file    {done.path}")
    click.echo(f"  digest  {record['tensors_digest']}")
    click.echo(f"  next    aigc sample {done.weights} --out {done.weights.partition('@')[0]}.png")


def _check_early(model: object, given: dict[str, object], epochs: float | None) -> None:
    """Finds a misspelt option before torch is imported, let alone data read."""
    from aigc_core.options import parse
    from aigc_core.registry import Model

    assert isinstance(model, Model)
    schemas = {"model": model.config, "training": model.trainer_config}
    parse(schemas, {**given, **({} if epochs is None else {"epochs": epochs})}, f"model {model.spec.id!r}")


def _show_plan(plan: object, as_json: bool) -> None:
    from aigc_core.training.job import Plan

    assert isinstance(plan, Plan)
    generator = plan.build()
    count = sum(p.numel() for p in generator.parameters())
    values = {**plan.config.model_dump(mode="json"), **plan.options.model_dump(mode="json")}
    origins = {key: "given" if key in plan.given else "default" for key in values}
    run = plan.run()
    if as_json:
        print_json(
            {
                "model": plan.model.spec.id, "name": plan.name, "steps": plan.steps, "seed": plan.seed,
                "parameters": count, "data": plan.data_record(), "run": str(run.folder),
                "options": {key: {"value": values[key], "from": origins[key]} for key in values},
            }
        )  # fmt: skip
        return
    fields(
        {
            "model": f"{plan.model.spec.id}, {count:,} parameters in its generator",
            "data": f"{plan.dataset.name}, {len(plan.dataset)} items of {'x'.join(map(str, plan.dataset.info.shape))}",
            "length": f"{plan.steps} steps of {plan.options.batch_size}",
            "name": plan.name,
            "run": str(run.folder),
            "options": ", ".join(
                f"{key}={value}" + (" (given)" if origins[key] == "given" else "") for key, value in values.items()
            ),
        }
    )
