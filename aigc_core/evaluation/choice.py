"""Which metrics are meant; without torch, so that a mistake is answered at once."""

from __future__ import annotations

from collections.abc import Sequence

from aigc_core.errors import NotFoundError, UsageError
from aigc_core.registry import Registry, known


def choose(registry: Registry, modality: str, model: str, names: Sequence[str]) -> list[str]:
    """The names of the metrics to measure, each once: those given, or all that judge a model of a modality.

    model: its id. Raises NotFoundError for one that is not there or where there is none, UsageError for one of another
    modality, or of other models.
    """
    for name in names:
        spec = known(registry.metrics, name, "metric")
        if spec.modality != modality:
            raise UsageError(f"metric {name!r} judges {spec.modality}, these weights make {modality}")
        if spec.models and model not in spec.models:
            raise UsageError(f"metric {name!r} is for {', '.join(spec.models)}, these weights are of {model}")
    found = list(dict.fromkeys(names)) or [
        name
        for name, spec in registry.metrics.items()
        if spec.modality == modality and spec.default and (not spec.models or model in spec.models)
    ]
    if not found:
        raise NotFoundError(
            f"no backend that is installed has a metric for {modality}; see: aigc plugins search"
        )
    return found
