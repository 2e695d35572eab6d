"""Language models: aigc's text backend. Imported for every listing, so it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    pass
