"""Which metrics are meant; without torch, so that a mistake is answered at once."""

from __future__ import annotations

from collections.abc import Sequence

from aigc_core.errors import NotFoundError, UsageError
from aigc_core.registry import Registry, known


def choose(registry: Registry, modality: str, names: Sequence[str]) -> list[str]:
    """The names of the metrics to measure, each once: those given, or all of a modality.

    Raises NotFoundError for one that is not there or where there is none, UsageError for one of another modality.
    """
    for name in names:
        spec = known(registry.metrics, name, "metric")
        if spec.modality != modality:
            raise UsageError(f"metric {name!r} judges {spec.modality}, these weights make {modality}")
    found = list(dict.fromkeys(names)) or [
        n for n, s in registry.metrics.items() if s.modality == modality and s.default
    ]
    if not found:
        raise NotFoundError(
            f"no backend that is installed has a metric for {modality}; see: aigc plugins search"
        )
    return found
