"""The registration module of aigc-audio: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    del registry
