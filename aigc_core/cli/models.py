"""`aigc models`."""

from __future__ import annotations

from typing import Any

import click

from aigc_core.backends import DISABLED
from aigc_core.cli.common import ModelId, fields, json_option, note, open_registry, print_json, table
from aigc_core.cli.groups import LazyGroup
from aigc_core.registry import Model, Registry, as_json, visible


@click.group(cls=LazyGroup, default="list")
def models() -> None:
    """List the models, or show one with all its options."""


@models.command("list")
@click.option("--modality", metavar="M", help="Only models of one modality: image, text, audio.")
@click.option(
    "--can", metavar="C", multiple=True, help="Only models with a condition, sampler or capability."
)
@click.option("--all", "every", is_flag=True, help="Also models of known backends that are not installed.")
@json_option
def list_(modality: str | None, can: tuple[str, ...], every: bool, as_json: bool) -> None:
    """List the models of the installed backends. Imports their registration modules alone."""
    registry = open_registry()
    rows = [row for row in _rows(registry, every) if modality in (None, row["modality"])]
    rows = [row for row in rows if all(_can(row, what) for what in can)]
    if as_json:
        print_json(rows)
        return
    if not registry.models and not every:
        from aigc_core.plugins.catalogue import Catalogue, install_command

        command = install_command(*Catalogue.load().entries.values())
        if any(backend.state == DISABLED for backend in registry.backends.values()):
            note("AIGC_PLUGINS and AIGC_DISABLE_PLUGINS leave no backend in use, so there are no models")
            return
        state = "no backend that works" if registry.backends else "no backend"
        note(f"{state} is installed, so there are no models; install the known ones: {command}")
        return
    cells = [[row["id"], row["modality"], row["distribution"], _summary(row)] for row in rows]
    table(cells, ["MODEL", "MODALITY", "BACKEND", "SUMMARY"])
    if not rows:
        known = ", ".join(sorted({spec.modality for spec in registry.models.values()}))
        note(f"no model matches; the modalities there are: {known}")


@models.command("show")
@click.argument("model", type=ModelId())
@json_option
def show(model: str, as_json: bool) -> None:
    """Show a model: what it is, its options with defaults and ranges, its samplers."""
    from aigc_core.options import Option, describe

    found = open_registry().load(model)
    spec = found.spec
    groups: dict[str, list[Option]] = {"model": describe(found.config)}
    if spec.trainer:
        groups["training"] = describe(found.trainer_config)
    samplers = {name: describe(found.sampler_config(name)) for name in spec.samplers}
    if as_json:
        print_json(_show_json(found, groups, samplers))
        return
    fields(
        {
            "model": spec.id,
            "summary": spec.summary,
            "modality": spec.modality,
            "backend": f"{found.backend.distribution} {found.backend.version}",
            "license": spec.license,
            "parameters": spec.params,
            "paper": spec.paper,
            "data": _needs(found),
            "conditions": ", ".join(spec.conditions),
            "replaced by": spec.replaced_by,
        }
    )
    titles = {
        "model": "Options of the model (-o key=value)",
        "training": "Options of training (-o key=value)",
    }
    for group, options in groups.items():
        click.echo()
        click.secho(titles[group], bold=True)
        _options(options)
    for number, (name, sampler) in enumerate(spec.samplers.items()):
        click.echo()
        default = " (default)" if number == 0 else ""
        needs = f", needs {', '.join(sampler.needs)}" if sampler.needs else ""
        if sampler.takes:
            needs += f", takes {', '.join(sampler.takes)}"
        for option, part in sampler.parts.items():
            needs += f", {option}: weights of {part}"
        click.secho(
            f"Sampler {name}{default}: {sampler.summary} [NFE {sampler.nfe}{needs}] (-s key=value)", bold=True
        )
        _options(samplers[name])


def _rows(registry: Registry, every: bool) -> list[dict[str, Any]]:
    rows = [
        {**as_json(spec, registry.backend_of(spec.id)), "installed": True}
        for spec in visible(registry.models.values())
    ]
    if every:
        from aigc_core.plugins.catalogue import Catalogue, install_command

        for entry in Catalogue.load().entries.values():
            if entry.name in registry.backends:
                continue
            for model_id, model in entry.models.items():
                missing = {"id": model_id, **model, "backend": entry.name, "distribution": entry.distribution}
                rows.append({**missing, "installed": False, "install": install_command(entry)})
    return rows


def _can(row: dict[str, Any], what: str) -> bool:
    return any(what in row.get(key, ()) for key in ("conditions", "samplers", "capabilities"))


def _summary(row: dict[str, Any]) -> str:
    if not row["installed"]:
        return click.style(f"{row['summary']} (not installed: {row['install']})", dim=True)
    return f"{row['summary']} (use {row['replaced_by']})" if row["replaced_by"] else str(row["summary"])


def _needs(model: Model) -> str:
    needs = model.spec.data
    low, high = ("x".join(map(str, shape)) for shape in (needs.smallest, needs.largest))
    bounds = f" from {low} to {high}" if needs.smallest and needs.largest else ""
    more = [what for what in ("labels", "transcripts") if getattr(needs, what)]
    return f"{needs.modality}{bounds}{', with ' if more else ''}{' and '.join(more)}"


def _options(options: list[Any]) -> None:
    if not options:
        click.echo("  none")
        return
    rows = [[f"  {o.name}", o.type, _default(o.default), o.limits, o.help] for o in options]
    table(rows, ["  NAME", "TYPE", "DEFAULT", "RANGE", "MEANING"])


def _default(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _show_json(model: Model, groups: dict[str, list[Any]], samplers: dict[str, list[Any]]) -> dict[str, Any]:
    from dataclasses import asdict

    spec = model.spec
    return {
        **as_json(spec, model.backend),
        "data": asdict(spec.data),
        "options": {group: [asdict(o) for o in options] for group, options in groups.items()},
        "samplers": {
            name: {
                "summary": sampler.summary,
                "nfe": sampler.nfe,
                "needs": list(sampler.needs),
                "takes": list(sampler.takes),
                "fitted": sampler.fitted,
                "parts": dict(sampler.parts),
                "block": sampler.block,
                "options": [asdict(o) for o in samplers[name]],
            }
            for name, sampler in spec.samplers.items()
        },
        "schemas": {
            "model": model.config.model_json_schema(),
            **({"training": model.trainer_config.model_json_schema()} if spec.trainer else {}),
        },
    }
