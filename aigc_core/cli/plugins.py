"""`aigc plugins`: what is installed, what there is, what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aigc_core.backends import OK
from aigc_core.cli.common import json_option, note, plural, print_json, table
from aigc_core.cli.groups import LazyGroup
from aigc_core.registry import Registry, discovered

if TYPE_CHECKING:
    from aigc_core.backends import Backend

INSTALL = "aigc_core.cli.install"
AUTHOR = "aigc_core.cli.author"


@click.group(
    cls=LazyGroup,
    default="list",
    lazy={
        "install": (f"{INSTALL}:install", "Install backends: tried first, kept if they work."),
        "uninstall": (f"{INSTALL}:uninstall", "Remove a backend; weights remain."),
        "upgrade": (f"{INSTALL}:upgrade", "Upgrade backends, likewise tried first."),
        "restore": (f"{INSTALL}:restore", "Install again what this environment has lost."),
        "new": (f"{AUTHOR}:new", "Write a new backend to start from."),
        "check": (f"{AUTHOR}:check", "Put a backend to the conformance kit."),
    },
)
def plugins() -> None:
    """Install backends, examine them, write them."""


@plugins.command("list")
@click.option("--timings", is_flag=True, help="Measure each import, and name its heaviest module.")
@click.option("--retry", is_flag=True, help="Try those again that were turned off or found broken.")
@json_option
def list_(timings: bool, retry: bool, as_json: bool) -> None:
    """List the installed backends with their state, and what is wrong with them."""
    from aigc_core.plugins.recovery import lost, recover

    for undone in recover():
        note(f"an install or removal of {undone} had been killed half-way; it is undone now")
    if names := lost():
        note(f"{', '.join(names)} was installed here and is gone; bring it back: aigc plugins restore")
    if retry:
        from aigc_core.plugins.discovery import discover

        registry = discover(retry=True)
    else:
        registry = discovered()
    for remark in registry.remarks:
        note(remark)
    backends = [*registry.backends.values(), *registry.shadowed]
    rows = [_row(b, registry) for b in backends]
    if timings:
        from aigc_core.plugins.timings import measure

        for row, backend in zip(rows, backends, strict=True):
            row["timings"] = measure(backend) if backend.state == OK else None
    if as_json:
        print_json(rows)
        return
    if not backends:
        from aigc_core.plugins.catalogue import Catalogue, install_command

        command = install_command(*Catalogue.load().entries.values())
        note(f"no backend is installed; install the known ones: {command}")
        return
    _print(rows, timings)


def _row(backend: Backend, registry: Registry) -> dict[str, Any]:
    from aigc_core.plugins.origin import origin

    problem = backend.problem
    return {
        "name": backend.name,
        "distribution": backend.distribution,
        "version": backend.version,
        "api": backend.api,
        "module": backend.module,
        "source": origin(backend.info),
        "state": backend.state,
        "reason": backend.reason or None,
        "problem": problem
        and {
            "kind": problem.kind,
            "text": problem.text,
            "where": problem.where or None,
            "mend": problem.advice,
        },
        "hooks": list(backend.hooks),
        "models": [i for i in registry.models if backend.state == OK and i.startswith(f"{backend.name}/")],
    }


def _print(rows: list[dict[str, Any]], timings: bool) -> None:
    head = ["BACKEND", "DISTRIBUTION", "VERSION", "API", "MODELS", "HOOKS", "SOURCE", "STATE"]
    cells = []
    for row in rows:
        hooks = ",".join(name.removeprefix("aigc_").removeprefix("register_") for name in row["hooks"])
        line = [row["name"], row["distribution"], row["version"], str(row["api"]), str(len(row["models"]))]
        line += [hooks or "-", row["source"], row["state"]]
        if timings:
            told = row["timings"]
            line += (
                [f"{told['ms']:.1f} ms", f"{told['heaviest']} ({told['heaviest_ms']:.1f} ms)"]
                if told
                else ["-", "-"]
            )
        cells.append(line)
    table(cells, [*head, *(["IMPORT", "HEAVIEST MODULE"] if timings else [])])
    for row in rows:
        if row["problem"]:
            click.secho(f"{row['name']}: {row['reason']}", fg="yellow")


@plugins.command("search")
@click.argument("text", default="")
@click.option(
    "--registry", "registries", metavar="FILE", multiple=True, help="A catalogue to look into first."
)
@json_option
def search(text: str, registries: tuple[str, ...], as_json: bool) -> None:
    """Search the catalogues for TEXT, in names, summaries, licences and models; without it, show all."""
    from aigc_core.plugins.catalogue import install_command, load_files

    catalogue = load_files(registries)
    installed = {b.distribution: b for b in discovered().backends.values()}
    found = catalogue.search(text)
    if as_json:
        print_json(
            [
                {
                    "name": e.name, "distribution": e.distribution, "summary": e.summary, "license": e.license,
                    "api": e.api, "core": e.core or None, "homepage": e.homepage or None,
                    "source": e.source().kind, "from": e.source().requirement, "catalogue": str(e.file),
                    "installed": e.distribution in installed, "models": dict(e.models),
                }
                for e in found
            ]
        )  # fmt: skip
        return
    rows = []
    for entry in found:
        have = installed.get(entry.distribution)
        models = ", ".join(i.partition("/")[2] for i in entry.models)
        rows.append(
            [
                entry.name,
                have.version if have else "-",
                models,
                entry.license,
                entry.source().kind,
                entry.summary,
            ]
        )
    table(rows, ["BACKEND", "INSTALLED", "MODELS", "LICENCE", "FROM", "SUMMARY"])
    missing = [entry for entry in found if entry.distribution not in installed]
    if not found:
        note(f"nothing in the catalogues matches {text!r}; see all: aigc plugins search")
    elif missing:
        note(f"install: {install_command(*missing)}")


@plugins.command("doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Examine every backend: state, classes, options, names, cost, its own check; exit 4 if anything is wrong."""
    from aigc_core.plugins.doctor import examine

    problems = examine(discovered())
    if as_json:
        print_json([{"backend": name, "problem": text} for name, text in problems])
    else:
        for name, text in problems:
            click.secho(f"{name}: {text}", fg="yellow")
        if not problems:
            registry = discovered()
            used = sum(b.state == OK for b in registry.backends.values())
            click.echo(f"{plural(used, 'backend')}, {plural(len(registry.models), 'model')}: all is well")
            click.echo("to put the models of one to the test: aigc plugins check NAME")
    if problems:
        raise SystemExit(4)
