"""The hooks that a backend may implement: all of them, on one screen.

Each takes one argument, so that new fields change no signature. Implement them in the module that the
entry point names, marked with `@aigc_core.hookimpl`; that module must be light (no torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from aigc_core.backends import CheckContext, Registrar
    from aigc_core.events import Event

PROJECT: Final = "aigc"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def aigc_register_models(registry: Registrar) -> None:
    """Add `ModelSpec` records by `registry.add(spec)`: data only, no I/O, no network, no heavy import."""


@hookspec
def aigc_register_datasets(registry: Registrar) -> None:
    """Add `DatasetSpec` records, likewise."""


@hookspec
def aigc_register_metrics(registry: Registrar) -> None:
    """Add `MetricSpec` records, likewise."""


@hookspec
def aigc_register_formats(registry: Registrar) -> None:
    """Add `FormatSpec` records: forms of other libraries, in which weights are imported and exported."""


@hookspec
def aigc_register_commands(registry: Registrar) -> None:
    """Add `CommandSpec` records: sub-commands under the backend's own name, imported when they are run."""


@hookspec
def aigc_on_event(event: Event) -> None:
    """Watch training and sampling. A failure here is reported once and harms nothing."""


@hookspec
def aigc_check(context: CheckContext) -> None:
    """Examine the backend's own installation; `context.problem(text)` reports what is wrong."""
