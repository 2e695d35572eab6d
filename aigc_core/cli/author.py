"""`aigc plugins new` and `aigc plugins check`: for those who write backends."""

from __future__ import annotations

import os
import time
from typing import Final

import click

from aigc_core.cli.common import json_option, plural, print_json, program

FAMILIES: Final = ("image", "text", "audio")
DIARY: Final = "AIGC_CHECK_DIARY"
"""The environment variable that tells a child process of `check` where to note what it does."""
END: Final = "(all were run)"


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
    if explain:
        from aigc_core.testing.kit import all_checks

        for found in all_checks().values():
            click.echo(f"{click.style(found.name, bold=True)} ({found.scope}): {found.promise}")
    elif (diary := os.environ.get(DIARY)) is None:
        _watch()
    else:
        _check(name, only, as_json, diary)


def _watch() -> None:
    """Runs this very command in a process of its own: a backend that ends the process has not passed."""
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="aigc-check-") as folder:
        diary = Path(folder) / "diary"
        command = [sys.executable, "-m", "aigc_core", *sys.argv[1:]]
        code = subprocess.call(command, env={**os.environ, DIARY: str(diary)})
        last = diary.read_text(encoding="utf-8").splitlines()[-1:] if diary.is_file() else []
    if last and last != [END]:
        click.echo(f"FAIL  {last[0]}\n      the process ended with exit code {code} in the midst of it")
        click.secho("the checks were not finished", fg="red")
        raise SystemExit(4)
    raise SystemExit(code)


def _check(name: str, only: tuple[str, ...], as_json: bool, diary: str) -> None:
    """Runs the checks; the diary says which one is under way."""
    import tempfile
    from pathlib import Path

    from aigc_core.progress import Progress
    from aigc_core.testing.kit import Outcome, cases, outcomes

    started = time.perf_counter()
    results: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="aigc-check-") as folder:
        todo = cases(name, Path(folder), only=only)
        if not as_json:
            click.echo(f"{plural(len(todo), 'check')} of backend {name!r}")
        with Progress(False if as_json else None).bar(len(todo), name, "check") as bar:
            for case in todo:
                Path(diary).write_text(case.name, encoding="utf-8")
                (outcome,) = outcomes([case])
                results.append(outcome)
                if not as_json:
                    _tell(outcome)
                bar.update(1)
    Path(diary).write_text(END, encoding="utf-8")
    failed = [outcome for outcome in results if not outcome.ok]
    if as_json:
        rows = [
            {"check": o.name, "ok": o.ok, "problem": o.problem, "seconds": round(o.seconds, 3)}
            for o in results
        ]
        print_json(rows)
    else:
        seconds = time.perf_counter() - started
        passed = f"all {plural(len(results), 'check')} passed"
        verdict = f"{len(failed)} of {plural(len(results), 'check')} failed" if failed else passed
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
