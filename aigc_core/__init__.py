"""aigc: a plugin-based registry of generative models.

The Python API is the command line's verbs as functions. Importing this package costs nothing: each name is
imported as it is first used (PEP 562), so a backend's registration module may import it freely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aigc_core._version import __version__

if TYPE_CHECKING:
    from aigc_core.api import inspect, list_datasets, list_models, list_weights, load
    from aigc_core.backends import CheckContext, Registrar
    from aigc_core.benchmark.job import bench
    from aigc_core.evaluation.measure import evaluate
    from aigc_core.events import Event
    from aigc_core.hookspecs import hookimpl
    from aigc_core.provenance.replay import replay
    from aigc_core.provenance.trace import trace
    from aigc_core.sampling.draw import sample
    from aigc_core.sampling.stream import stream
    from aigc_core.specs import (
        CommandSpec,
        DataInfo,
        DataNeeds,
        DatasetSpec,
        FormatSpec,
        MetricSpec,
        ModelSpec,
        Output,
        SamplerSpec,
    )
    from aigc_core.training.job import train
    from aigc_core.weights.remotes.pull import pull
    from aigc_core.weights.remotes.push import push

_HOMES = {
    "CheckContext": "backends",
    "Event": "events",
    "Registrar": "backends",
    "bench": "benchmark.job",
    "evaluate": "evaluation.measure",
    "hookimpl": "hookspecs",
    "inspect": "api",
    "list_datasets": "api",
    "list_models": "api",
    "list_weights": "api",
    "load": "api",
    "pull": "weights.remotes.pull",
    "push": "weights.remotes.push",
    "replay": "provenance.replay",
    "sample": "sampling.draw",
    "stream": "sampling.stream",
    "trace": "provenance.trace",
    "train": "training.job",
    "CommandSpec": "specs",
    "DataInfo": "specs",
    "DataNeeds": "specs",
    "DatasetSpec": "specs",
    "FormatSpec": "specs",
    "MetricSpec": "specs",
    "ModelSpec": "specs",
    "Output": "specs",
    "SamplerSpec": "specs",
}

__all__ = [
    "CheckContext",
    "CommandSpec",
    "DataInfo",
    "DataNeeds",
    "DatasetSpec",
    "Event",
    "FormatSpec",
    "MetricSpec",
    "ModelSpec",
    "Output",
    "Registrar",
    "SamplerSpec",
    "__version__",
    "bench",
    "evaluate",
    "hookimpl",
    "inspect",
    "list_datasets",
    "list_models",
    "list_weights",
    "load",
    "pull",
    "push",
    "replay",
    "sample",
    "stream",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
