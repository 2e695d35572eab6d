"""A backend that registers nothing: what its import costs is the cost of registering at all."""

from __future__ import annotations

from typing import Any

from aigc_core.hookspecs import hookimpl


@hookimpl
def aigc_register_models(registry: Any) -> None:
    """Registers nothing."""
