"""`aigc plugins`."""

from __future__ import annotations

import click

from aigc_core.backends import OK
from aigc_core.cli.common import json_option, note, print_json, table
from aigc_core.cli.groups import LazyGroup
from aigc_core.registry import default


@click.group(cls=LazyGroup, default="list")
def plugins() -> None:
    """List the installed backends and examine them."""


@plugins.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the installed backends with their state."""
    registry = default()
    backends = [*registry.backends.values(), *registry.shadowed]
    counts = {b.name: sum(i.startswith(f"{b.name}/") for i in registry.models) for b in backends}
    if as_json:
        rows = [
            {
                "name": b.name,
                "distribution": b.distribution,
                "version": b.version,
                "api": b.api,
                "module": b.module,
                "state": b.state,
                "reason": b.reason or None,
                "hooks": list(b.hooks),
                "models": [i for i in registry.models if b.state == OK and i.startswith(f"{b.name}/")],
            }
            for b in backends
        ]
        print_json(rows)
        return
    if not backends:
        from aigc_core.plugins.catalogue import Catalogue

        catalogue = Catalogue.load()
        note(f"no backend is installed; known ones: {catalogue.install_command(*catalogue.entries.values())}")
        return
    table(
        [
            [
                b.name,
                b.distribution,
                b.version,
                str(b.api),
                str(counts[b.name] if b.state == OK else 0),
                b.state,
            ]
            for b in backends
        ],
        ["BACKEND", "DISTRIBUTION", "VERSION", "API", "MODELS", "STATE"],
    )
    for backend in registry.broken():
        click.secho(f"{backend.name}: {backend.reason}", fg="yellow")


@plugins.command("doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Import everything that every backend declares, run its own checks; exit 4 if anything is wrong."""
    from aigc_core.cli.root import COMMANDS
    from aigc_core.plugins.doctor import examine

    problems = examine(default(), COMMANDS)
    if as_json:
        print_json([{"backend": name, "problem": text} for name, text in problems])
    else:
        for name, text in problems:
            click.secho(f"{name}: {text}", fg="yellow")
        if not problems:
            click.echo(f"{len(default().backends)} backends, {len(default().models)} models: all is well")
    if problems:
        raise SystemExit(4)
