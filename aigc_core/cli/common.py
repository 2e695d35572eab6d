"""What the commands share: the registry, tables, JSON, option types."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aigc_core.cli import plain
from aigc_core.registry import Registry, default

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType

_F = TypeVar("_F", bound=Callable[..., Any])


def open_registry() -> Registry:
    """The registry; backends that can't be used are named on stderr, a line each."""
    registry = default()
    for remark in registry.remarks:
        note(remark)
    for backend in registry.broken():
        line = f"backend {backend.name!r} ({backend.distribution} {backend.version}) is {backend.state}: {backend.reason}"
        click.echo(click.style(f"aigc: {line}", fg="yellow"), err=True)
    return registry


def json_option(command: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    """Prints columns as wide as their content, the head in bold where stdout is a terminal."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    click.secho(line(head), bold=True)
    lines = "\n".join(line(row) for row in rows)
    if lines:
        click.echo(lines)


def fields(values: Mapping[str, str | None]) -> None:
    """Prints `name  value` lines, leaving out what has no value."""
    width = max(map(len, values))
    for name, value in values.items():
        if value:
            click.echo(f"{click.style(name.ljust(width), bold=True)}  {plain(value)}")


class KeyValue(_Type):
    """`key=value`, many times over, becomes a dict."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} must be of the form key=value", param, ctx)
        return key.strip(), text


def reading_option(command: _F) -> _F:
    """`-d key=value`, as often as wanted: the argument `reading`, pairs of texts."""
    return click.option(
        "-d",
        "--data-option",
        "reading",
        type=KeyValue(),
        multiple=True,
        help="How a text is read: documents, field, invalid, validation; how sounds are: sample_rate, trim, pad, "
        "shortest, longest, names, metadata, columns, transcripts; of pictures: captions (see docs/data.md).",
    )(command)


class SizeType(_Type):
    """`64` or `112x92` (height x width) in pixels; a length of texts or sounds is one number."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        most = 65536 if len(parts) == 2 else 1 << 28  # a sound may be long
        if not 1 <= len(parts) <= 2 or not all(p.isdecimal() and 1 <= int(p) <= most for p in parts):
            self.fail(f"{value!r} must be like 64 or 112x92 (height x width)", param, ctx)
        return int(parts[0]), int(parts[-1])


class ModelId(_Type):
    """A model's id, completed by the shell from the registry."""

    name = "model"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        models = default().models.values()
        return [CompletionItem(s.id, help=s.summary) for s in models if s.id.startswith(incomplete)]


class WeightsName(_Type):
    """A name in the store, completed by the shell; or a path."""

    name = "weights"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from aigc_core.weights.store import Store

        return [CompletionItem(name) for name in Store().names() if name.startswith(incomplete)]


class DataName(_Type):
    """A data set's name, completed by the shell; or a path."""

    name = "data"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in default().datasets if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


def note(text: str) -> None:
    """A remark on stderr."""
    click.echo(f"aigc: {text}", err=True)


def show_skipped(items: Sequence[str]) -> None:
    """Items of the data that were left out, the first ten by name, on stderr."""
    for item in items[:10]:
        note(f"skipped {plain(item)}")
    if items:
        more = (
            f", {len(items) - 10} more than these ({program()} data show DATA --json names all)"
            if len(items) > 10
            else ""
        )
        note(f"skipped {len(items)} in all{more} (--strict makes what can't be read an error)")


def plural(count: int, noun: str) -> str:
    """`1 check`, `2 checks`"""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def amount(size: float) -> str:
    """`512 B`, `1.2 MB`"""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def program() -> str:
    """How the user calls aigc, for the commands that are suggested: `uv run` leaves nothing on the path."""
    return "uv run aigc" if "UV_RUN_RECURSION_DEPTH" in os.environ else "aigc"
