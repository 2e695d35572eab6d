"""`aigc weights push`, `aigc weights pull`, and `aigc weights list --remote`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from aigc_core.cli.common import WeightsName, amount, json_option, note, plural, print_json, program

if TYPE_CHECKING:
    from aigc_core.weights.remotes.push import Moved

_QUIET = "No progress bar."
_KEPT = "NAME or NAME@V: what it is called at the other end; else it keeps both."


@click.command()
@click.argument("reference", metavar="NAME[@V]", type=WeightsName())
@click.argument("url")
@click.option("--as", "under", metavar="NAME[@V]", help=_KEPT)
@click.option("--verify", is_flag=True, help="Read what is there already, and replace what is damaged.")
@json_option
@click.option("--quiet", is_flag=True, help=_QUIET)
def push(reference: str, url: str, under: str | None, verify: bool, as_json: bool, quiet: bool) -> None:
    """Bring a version to a remote: a folder, s3://BUCKET/FOLDER, hf://USER/REPOSITORY, or any URL that fsspec
    can write to.

    Without @V it is the newest one. NAME@ALIAS sets the alias there, too. Only what is missing travels; cut off, the
    same command goes on. A number that another version has there is refused.
    """
    from aigc_core.progress import Progress
    from aigc_core.weights.remotes.push import push as send

    done = send(reference, url, under=under, verify=verify, progress=Progress(False if quiet else None))
    if as_json:
        _print_json(done)
        return
    if not done.new and not done.files:
        click.echo(f"{done.weights} is there already: {done.url}")
    else:
        click.echo(f"pushed {done.weights} to {done.url} ({_amount(done)})")
    if done.alias:
        click.echo(f"  alias     {done.weights.partition('@')[0]}@{done.alias}")
    click.echo(f"  manifest  {done.manifest}")
    click.echo(f"  next      {program()} weights pull {done.weights} {done.url}")


@click.command()
@click.argument("reference", metavar="NAME[@V]")
@click.argument("url")
@click.option("--as", "under", metavar="NAME[@V]", help=_KEPT)
@json_option
@click.option("--quiet", is_flag=True, help=_QUIET)
def pull(reference: str, url: str, under: str | None, as_json: bool, quiet: bool) -> None:
    """Bring a version from a remote into the store: from a folder, s3://, hf://, https:// or any URL that fsspec
    can read.

    Without @V it is the newest one there; NAME@ALIAS is looked up there. Every byte is checked. Cut off, the same
    command goes on. What is damaged in the store is replaced.
    """
    from aigc_core.progress import Progress
    from aigc_core.weights.remotes.pull import pull as fetch

    done = fetch(reference, url, under=under, progress=Progress(False if quiet else None))
    if as_json:
        _print_json(done)
        return
    if not done.new and not done.files:
        click.echo(f"{done.weights} is here already, and whole")
    else:
        click.echo(f"{'pulled' if done.new else 'mended'} {done.weights} from {done.url} ({_amount(done)})")
    click.echo(f"  manifest  {done.manifest}")
    click.echo(f"  next      {program()} sample {done.weights}")


def list_remote(url: str, wanted: tuple[str | None, str | None, str | None], as_json: bool) -> None:
    """`aigc weights list --remote URL`: the versions there whose name, model and data match; damaged ones are named
    and the rest is shown."""
    from aigc_core.cli.store import weights_table
    from aigc_core.weights.remotes.address import open_remote
    from aigc_core.weights.remotes.catalogue import listing

    remote = open_remote(url)
    found, remarks = listing(remote)
    for remark in remarks:
        note(remark)
    name, model, data = (pattern or "*" for pattern in wanted)
    rows = [
        row
        for row in (listed.row() for listed in found)
        if fnmatchcase(row["weights"].partition("@")[0], name)
        and fnmatchcase(row["model"], model)
        and fnmatchcase(str(row["data"]), data)
    ]
    if as_json:
        print_json(rows)
    elif rows:
        weights_table(rows)
    elif found:
        note(f"no weights match; see them all: {program()} weights list --remote {remote.url}")
    else:
        note(f"no weights at {remote.url}; push some: {program()} weights push NAME {remote.url}")


def _amount(done: Moved) -> str:
    return f"{plural(done.files, 'file')}, {amount(done.bytes)}" if done.files else "nothing had to travel"


def _print_json(done: Moved) -> None:
    from dataclasses import asdict

    print_json(asdict(done))
