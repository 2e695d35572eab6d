"""`aigc train`."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import (
    DataName,
    KeyValue,
    ModelId,
    SizeType,
    WeightsName,
    _Type,
    amount,
    fields,
    json_option,
    open_registry,
    plural,
    print_json,
    reading_option,
)
from aigc_core.cli.outcome import show_outcome
from aigc_core.data.reading import readings
from aigc_core.errors import UsageError
from aigc_core.launch import launch, launched, rank, world
from aigc_core.options import check_options
from aigc_core.training.settings import ON_NAN, PRECISIONS, Settings, seconds
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.training.measure import Measured
    from aigc_core.training.plan import Plan

DRY_SECONDS = 2.0
"""How long a dry run measures."""


class Duration(_Type):
    """`90s`, `5m`, `1h30m`"""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return value if isinstance(value, float) else seconds(str(value))


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
@click.option(
    "--budget", type=Duration(), help="How long to train in all: 90s, 5m, 1h30m; the steps are measured."
)
@click.option("--batch-size", type=int, help="Items a step, over all processes.")
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
@click.option(
    "--from",
    "base",
    type=WeightsName(),
    help="Start from these weights: their options hold where none are given.",
)
@click.option("--adapters", is_flag=True, help="Keep adapters alone, to be added to the weights of --from.")
@reading_option
@click.option("--strict", is_flag=True, help="Fail on the first unreadable file instead of skipping it.")
@click.option("--processes", type=click.IntRange(1, 1024), help="Share each batch between so many processes.")
@click.option(
    "--shard", is_flag=True, help="Share the model's memory too: parameters, gradients, optimizer state."
)
@click.option(
    "--accumulate", type=int, default=1, metavar="N", help="Take each batch in N parts, to need less memory."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="auto: bf16 where the machine has it in hardware.",
)
@click.option("--compile", is_flag=True, help="Compile the networks before training (torch.compile).")
@click.option(
    "--on-nan",
    type=click.Choice(ON_NAN),
    default="rollback",
    show_default=True,
    help="When training diverges: go back and take smaller steps, three times at most; or stop.",
)
@click.option(
    "--checkpoint-every",
    type=int,
    metavar="N",
    help="Steps between checkpoints; by default about one a minute.",
)
@click.option(
    "--keep",
    type=int,
    default=2,
    show_default=True,
    metavar="K",
    help="Checkpoints that are kept while it trains, beside the best one.",
)
@click.option("--keep-checkpoints", is_flag=True, help="Leave them there when it has ended.")
@click.option(
    "--sheet-every",
    type=int,
    metavar="N",
    help="Steps between sheets of samples; by default about eight in all, 0 for none.",
)
@click.option("--tensorboard", is_flag=True, help="Log for TensorBoard too.")
@click.option(
    "--allow-drift",
    is_flag=True,
    help="Go on with a run that began under other versions, or on another machine.",
)
@click.option("--cpu", is_flag=True, help="Leave the GPU alone.")
@click.option("--again", is_flag=True, help="Train once more what has finished, as a new version.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, measure a few steps, show what would be trained, and keep nothing.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def train(
    model: str,
    data: str,
    batch_size: int | None,
    lr: float | None,
    options: tuple[tuple[str, str], ...],
    again: bool,
    processes: int | None,
    dry_run: bool,
    quiet: bool,
    reading: tuple[tuple[str, str], ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Train MODEL on data and keep its weights in the store.

    The same command again resumes an interrupted run, and says so of a finished one.
    """
    began = time.perf_counter()
    registry = open_registry()
    flags = {"batch_size": batch_size, "lr": lr}
    for flag in ("batch_size", "lr"):
        if flag in dict(options) and flags[flag] is not None:
            raise UsageError(f"{flag} is given twice, by -o and by --{flag.replace('_', '-')}")
    chosen = {**dict(options), **{flag: value for flag, value in flags.items() if value is not None}}
    settings = {name: given.pop(name) for name in Settings.__dataclass_fields__}
    # All this before torch is imported, let alone data read.
    if given["base"] is None:
        check_options(registry.load(model), chosen, given["epochs"])
    readings(dict(reading))
    checked = Settings(**settings)
    if checked.tensorboard:
        from aigc_core.training.tensorboard import require

        require()
    if processes and processes > 1 and not launched():
        if world() > 1:
            raise UsageError("torchrun has started the processes already: leave out --processes")
        sys.exit(launch(sys.argv[1:], processes))

    from aigc_core.progress import Progress
    from aigc_core.training.job import train as train_

    common: dict[str, Any] = {
        **given, "options": chosen, "reading": dict(reading), "registry": registry,
        "progress": Progress(False if quiet or rank() else None),
    }  # fmt: skip
    if dry_run:
        _dry_run(model, data, checked, common, as_json)
        return
    with contextlib.redirect_stdout(sys.stderr):  # what a backend prints must not spoil --json
        done = train_(model, data, again=again, began=began - _age(), **settings, **common)
    if rank() == 0:
        show_outcome(done, as_json)


def _age() -> float:
    """Seconds that this process has been running: its imports are part of a budget."""
    import psutil

    created: float = psutil.Process().create_time()  # type: ignore[no-untyped-call]
    return max(0.0, time.time() - created)


def _dry_run(model: str, data: str, settings: Settings, common: dict[str, Any], as_json: bool) -> None:
    from aigc_core.training.job import open_engine
    from aigc_core.training.measure import measure
    from aigc_core.training.plan import plan

    with contextlib.redirect_stdout(sys.stderr):
        planned = plan(model, data, settings=settings, **common)
        engine = open_engine(planned)
        try:
            measured = measure(planned, engine, DRY_SECONDS, common["progress"])
            environment = engine.environment()
        finally:
            engine.close()
    if rank() == 0:
        _show_plan(planned, measured, environment, as_json)


def _show_plan(plan: Plan, measured: Measured, environment: dict[str, Any], as_json: bool) -> None:
    count = sum(p.numel() for p in plan.build().parameters())
    values = {**plan.config.model_dump(mode="json"), **plan.options.model_dump(mode="json")}
    origins = {key: "given" if key in plan.given else "default" for key in values}
    data, run = plan.dataset, plan.run()
    steps = plan.steps or max(1, int((plan.settings.budget or 0) / measured.seconds))
    rate = measured.flops / measured.seconds
    if as_json:
        print_json(
            {
                "model": plan.model.spec.id, "name": plan.name, "steps": steps, "seed": plan.seed,
                "parameters": count, "data": plan.data_record(), "run": str(run.folder),
                "weights": f"{plan.name}@{Store().next_number(plan.name)}", "environment": environment,
                "measured": {
                    "step_seconds": measured.seconds, "step_flops": measured.flops,
                    "state_bytes": measured.state, "peak_bytes": measured.memory,
                    "seconds": steps * measured.seconds,
                },
                "options": {key: {"value": values[key], "from": origins[key]} for key in values},
            }
        )  # fmt: skip
        return
    shown = [f"{k}={v}" + (" (given)" if origins[k] == "given" else "") for k, v in values.items()]
    processes = environment["processes"]
    fields(
        {
            "model": f"{plan.model.spec.id}, {count:,} parameters in its generator",
            "data": f"{data.name}, {len(data)} items of {'x'.join(map(str, data.info.shape))}",
            "length": f"{steps} steps of {plan.options.batch_size}",
            "on": f"{environment['device']}, {environment['precision']}, "
            f"{'1 process' if processes == 1 else f'{processes} processes'} of {plural(environment['threads'], 'thread')}",
            "step": f"{1e3 * measured.seconds:.3g} ms, {measured.flops / 1e9:.3g} GFLOP ({rate / 1e9:.3g} GFLOP/s), "
            f"{plan.options.batch_size / measured.seconds:,.0f} items/s",
            "memory": f"{amount(measured.state)} of parameters, averages and optimizer state a process; "
            f"{amount(measured.memory)} in all at most",
            "time": f"about {_clock(steps * measured.seconds)}",
            "name": plan.name,
            "weights": f"{plan.name}@{Store().next_number(plan.name)}",
            "run": str(run.folder),
            "options": ", ".join(shown),
        }
    )


def _clock(time: float) -> str:
    """`45 s`, `5 min 10 s`, `2 h 5 min`"""
    whole = round(time)
    if whole < 60:
        return f"{max(whole, 1)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
