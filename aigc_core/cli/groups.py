"""Groups whose commands are imported when they are run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from aigc_core.backends import Backend
from aigc_core.errors import BackendError, did_you_mean
from aigc_core.registry import resolve


class LazyGroup(click.Group):
    """A group of commands given as name -> (`module:attribute`, summary).

    Listing them imports none. They are the core's own, or those of a `backend`. If `default` names one of
    them, it is run where no command is given.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]] | None = None,
        default: str | None = None,
        backend: Backend | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("no_args_is_help", default is None)
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self.default = default
        self.backend = backend

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.lazy:
            return super().get_command(ctx, name)
        path = self.lazy[name][0]
        if self.backend is not None:
            found = resolve(path, self.backend)
        else:
            module, _, attribute = path.partition(":")
            found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise BackendError(f"{path} is no click command; report it to the author of its backend")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, summary) in self.lazy.items()]
        for name in super().list_commands(ctx):
            command = super().get_command(ctx, name)
            rows.append((name, command.get_short_help_str(80) if command else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else "-"
        if (
            self.default
            and not ctx.resilient_parsing
            and first.startswith("-")
            and first not in ctx.help_option_names
        ):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            hint = did_you_mean(name, known) or f"; there are: {', '.join(known)}"
            raise click.UsageError(f"no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)
