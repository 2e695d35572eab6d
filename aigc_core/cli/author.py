"""`aigc plugins new` and `aigc plugins check`: for those who write backends."""

from __future__ import annotations

import time

import click

from aigc_core.cli.common import json_option, print_json, program

FAMILIES = ("image", "text", "audio")


@click.command()
@click.argument("name")
@click.option(
    "--family",
    type=click.Choice(FAMILIES),
    default="image",
    show_default=True,
    help="What its model is to make.",
)
@click.option("--out", metavar="DIR", help="Where to write it; by default a folder of its name, here.")
def new(name: str, family: str, out: str | None) -> None:
    """Write a complete backend called NAME: a small model that trains and samples, tests, a CI file.

    Replace its network by your own; the rest stays as it is.
    """
    from pathlib import Path

    from aigc_core.files import user_path
    from aigc_core.plugins.scaffold import write

    folder = user_path(out) if out else Path(name)
    files = write(name, family, folder)
    click.echo(f"wrote {len(files)} files to {folder}")
    click.echo(
        f"  install  {program()} plugins install --editable {folder if folder.is_absolute() else f'./{folder}'}"
    )
    click.echo(f"  check    {program()} plugins check {name}")
    click.echo(f"  replace  the network in {folder / next(f for f in files if f.name == 'network.py')}")


@click.command()
@click.argument("name")
@click.option(
    "--only", metavar="WORD", multiple=True, help="Confine it to checks, models or samplers of these names."
)
@click.option("--explain", is_flag=True, help="Say what each check asks, and run none.")
@json_option
def check(name: str, only: tuple[str, ...], explain: bool, as_json: bool) -> None:
    """Put the installed backend NAME to the conformance kit; exit 4 if it fails.

    `pytest --aigc-backend NAME` runs the same checks as tests.
    """
    import tempfile
    from pathlib import Path

    from aigc_core.progress import Progress
    from aigc_core.testing.kit import Outcome, all_checks, cases, outcomes

    if explain:
        for found in all_checks().values():
            click.echo(f"{click.style(found.name, bold=True)} ({found.scope}): {found.promise}")
        return
    started = time.perf_counter()
    results: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="aigc-check-") as folder:
        todo = cases(name, Path(folder), only=only)
        if not as_json:
            click.echo(f"{len(todo)} checks of backend {name!r}")
        with Progress(False if as_json else None).bar(len(todo), name, "check") as bar:
            for outcome in outcomes(todo):
                results.append(outcome)
                if not as_json:
                    _tell(outcome)
                bar.update(1)
    failed = [outcome for outcome in results if not outcome.ok]
    if as_json:
        print_json(
            [
                {"check": o.name, "ok": o.ok, "problem": o.problem, "seconds": round(o.seconds, 3)}
                for o in results
            ]
        )
    else:
        seconds = time.perf_counter() - started
        verdict = (
            f"{len(failed)} of {len(results)} checks failed"
            if failed
            else f"all {len(results)} checks passed"
        )
        click.secho(f"{verdict}, in {seconds:.0f} s", fg="red" if failed else "green")
    if failed:
        raise SystemExit(4)


def _tell(outcome: object) -> None:
    from aigc_core.testing.kit import Outcome

    assert isinstance(outcome, Outcome)
    mark = click.style("ok  ", fg="green") if outcome.ok else click.style("FAIL", fg="red")
    click.echo(f"{mark}  {outcome.seconds:5.1f} s  {outcome.name}")
    if outcome.problem:
        click.echo(f"      {outcome.problem}")
