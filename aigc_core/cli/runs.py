"""`aigc runs`."""

from __future__ import annotations

import contextlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import amount, fields, json_option, note, open_registry, print_json, table
from aigc_core.cli.groups import LazyGroup
from aigc_core.cli.run_page import moment, no_command, page, summary, whole
from aigc_core.errors import DamagedFileError, UsageError
from aigc_core.launch import launch, rank, world
from aigc_core.training.settings import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from aigc_core.training.history import Record

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType


class RunName(_Type):
    """A run's name and key, completed by the shell from the folders there are."""

    name = "run"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from aigc_core.training.history import ids

        return [CompletionItem(run) for run in ids() if run.startswith(incomplete)]


@click.group(cls=LazyGroup, default="list")
def runs() -> None:
    """List the trainings, show one, go on with it, remove it.

    RUN is NAME-KEY as the list shows it, NAME alone, or the first digits of KEY (four at least).
    """


@runs.command("list")
@click.option("--unfinished", is_flag=True, help="Only those that have not ended with weights.")
@json_option
def list_(unfinished: bool, as_json: bool) -> None:
    """List the runs, the newest first; damaged ones are named and the rest is shown."""
    from aigc_core.training.history import runs

    found = [r for r in runs(lambda error: note(str(error))) if not (unfinished and r.finished)]
    found.sort(key=lambda r: r.modified, reverse=True)
    if as_json:
        print_json([summary(r) for r in found])
        return
    if not found:
        note(
            "no run is unfinished; see them all: aigc runs list"
            if unfinished
            else "there are no runs yet; train something: aigc train MODEL --data digits"
        )
        return
    table(
        [
            [
                r.id, r.model or "-", r.data or "-", f"{r.done}/{r.steps or '?'}", r.state, r.weights or "-",
                moment(r.modified), amount(r.size),
            ]
            for r in found
        ],
        ["RUN", "MODEL", "DATA", "STEPS", "STATE", "WEIGHTS", "CHANGED", "SIZE"],
    )  # fmt: skip
    for r in found:
        if r.reason:
            click.secho(f"{r.id}: {r.reason}", fg="yellow")


@runs.command()
@click.argument("run", type=RunName())
@json_option
def show(run: str, as_json: bool) -> None:
    """Show all that is known of RUN: its plan, how far it is, its files, and how to go on with it."""
    record = _chosen(run)
    if as_json:
        print_json(whole(record))
    else:
        fields(page(record))


@runs.command()
@click.argument("run", type=RunName())
@click.option("--allow-drift", is_flag=True, help="Even under other versions, or on another machine.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def resume(run: str, allow_drift: bool, quiet: bool, as_json: bool) -> None:
    """Go on with RUN from its last checkpoint, with the arguments that it began with."""
    record = _chosen(run)
    if record.state == "running" and world() == 1:
        raise UsageError(f"run {record.id} is being trained by another process; wait for it")
    if record.command is None:
        raise UsageError(f"run {record.id} cannot be resumed by its name: {no_command(record)}")
    processes = int((record.plan.get("environment") or {}).get("processes", 1))
    if processes > 1 and world() == 1:
        flags = {"--quiet": quiet, "--json": as_json, "--allow-drift": allow_drift}
        again = ["runs", "resume", record.id, *(flag for flag, given in flags.items() if given)]
        sys.exit(launch(again, processes))
    registry = open_registry()
    from aigc_core.cli.outcome import show_outcome
    from aigc_core.progress import Progress
    from aigc_core.training.job import train

    command = {**_arguments(record), "allow_drift": allow_drift}
    progress = Progress(False if quiet or rank() else None)
    with contextlib.redirect_stdout(sys.stderr):  # what a backend prints must not spoil --json
        done = train(**command, expected=record.folder.name, registry=registry, progress=progress)
    if rank() == 0:
        show_outcome(done, as_json)


@runs.command()
@click.argument("run", nargs=-1, type=RunName())
@click.option("--finished", is_flag=True, help="All that have ended with weights; the weights remain.")
@click.option("--yes", is_flag=True, help="Do not ask about unfinished ones.")
def rm(run: tuple[str, ...], finished: bool, yes: bool) -> None:
    """Remove each RUN with its checkpoints, log and sheets; weights remain in the store.

    One that is being trained is refused. One that could be gone on with is asked about.
    """
    from aigc_core.training.history import is_locked, read, runs
    from aigc_core.training.removal import locate, remove

    folders = dict.fromkeys(locate(reference) for reference in run)
    if finished:
        folders.update(dict.fromkeys(r.folder for r in runs(lambda error: note(str(error))) if r.finished))
    elif not run:
        raise UsageError("name the runs to remove, or give --finished; see: aigc runs list")
    unfinished = []
    for folder in folders:
        if is_locked(folder):
            raise UsageError(f"run {folder.name} is being trained; stop it first (Ctrl-C keeps a checkpoint)")
        try:
            record = read(folder)
        except DamagedFileError:
            unfinished.append(f"{folder.name} (damaged)")
            continue
        if not record.finished:
            unfinished.append(f"{record.id} ({record.state}, {record.done}/{record.steps or '?'})")
    if unfinished and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{', '.join(unfinished)}: not finished; give --yes to remove it all the same")
        click.confirm(f"{', '.join(unfinished)}: not finished; remove it all the same?", abort=True)
    for folder in folders:
        click.echo(f"removed {folder.name} ({amount(remove(folder))})")
    if not folders:
        note("no run is finished; nothing to remove")


def _chosen(reference: str) -> Record:
    """The run that is meant; where a name is of several, the choice is told."""
    from aigc_core.training.history import matches

    found = matches(reference)
    if len(found) > 1:
        which = "the newest" if found[0].finished else "the newest unfinished one"
        note(f"{len(found)} runs are named {reference!r}; taking {which}: {found[0].id}")
    return found[0]


def _arguments(record: Record) -> dict[str, Any]:
    """What to call `train` with. Raises UsageError for arguments that this version does not know."""
    from aigc_core.training.job import train

    command = dict(record.command or {})
    command.pop("again", None)  # to go on is not to begin once more
    known = {*inspect.signature(train).parameters, *Settings.__dataclass_fields__}
    known -= {"registry", "progress", "settings", "began", "expected"}
    if strange := sorted(set(command) - known):
        raise UsageError(
            f"run {record.id} was begun with {', '.join(strange)}, which this version of aigc does not know; "
            "upgrade aigc-core"
        )
    if isinstance(command.get("size"), list):
        command["size"] = tuple(command["size"])
    return command
