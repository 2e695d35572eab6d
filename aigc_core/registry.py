"""From an id to its spec, and from a spec to its classes: the only door to a backend's code."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aigc_core.backends import DISABLED, OK, Backend, Registrar, Rejected, Spec, failure
from aigc_core.errors import (
    AigcError,
    BackendError,
    DamagedFileError,
    NotFoundError,
    UsageError,
    did_you_mean,
)
from aigc_core.specs import CommandSpec, DatasetSpec, FormatSpec, MetricSpec, ModelSpec, SamplerSpec

if TYPE_CHECKING:
    from aigc_core.events import Event
    from aigc_core.interfaces import (
        FeatureMetric,
        Format,
        Generator,
        Metric,
        Sampler,
        Tokenizer,
        Trainer,
    )
    from aigc_core.options import Options, TrainingOptions

CORE: Final = "aigc_core"
"""The package of what the core registers itself, as backends do: data sets and metrics."""

_T = TypeVar("_T")


class Registry:
    """All that the installed backends offer."""

    def __init__(self) -> None:
        self.backends: Final[dict[str, Backend]] = {}
        self.shadowed: Final[list[Backend]] = []
        """Backends whose name another distribution took first."""
        self.models: Final[dict[str, ModelSpec]] = {}
        self.datasets: Final[dict[str, DatasetSpec]] = {}
        self.dataset_backends: Final[dict[str, Backend]] = {}
        self.metrics: Final[dict[str, MetricSpec]] = {}
        self.metric_backends: Final[dict[str, Backend]] = {}
        self.formats: Final[dict[str, FormatSpec]] = {}
        self.format_backends: Final[dict[str, Backend]] = {}
        self.commands: Final[dict[str, dict[str, CommandSpec]]] = {}
        """By backend, then by name."""
        self.remarks: Final[list[str]] = []
        """What the user is to be told of the environment, a line each."""
        self._deaf: Final[set[str]] = set()

    def commit(self, registrar: Registrar) -> None:
        """Takes over all that was staged, or raises Rejected and takes nothing."""
        seen: set[tuple[type, str]] = set()
        for spec, where in registrar.staged:
            name = spec.id if isinstance(spec, ModelSpec) else spec.name
            if name in self._table(spec, registrar.backend) or (type(spec), name) in seen:
                text = f"{type(spec).__name__[:-4].lower()} {name!r} is registered already"
                raise Rejected("duplicate", text, where)
            seen.add((type(spec), name))
        for spec, _ in registrar.staged:
            if isinstance(spec, CommandSpec):
                self.commands.setdefault(registrar.backend.name, {})[spec.name] = spec
            elif isinstance(spec, ModelSpec):
                self.models[spec.id] = spec
            elif isinstance(spec, DatasetSpec):
                self.datasets[spec.name] = spec
                self.dataset_backends[spec.name] = registrar.backend
            elif isinstance(spec, FormatSpec):
                self.formats[spec.name] = spec
                self.format_backends[spec.name] = registrar.backend
            else:
                self.metrics[spec.name] = spec
                self.metric_backends[spec.name] = registrar.backend

    def _table(self, spec: Spec, backend: Backend) -> Mapping[str, Spec]:
        if isinstance(spec, ModelSpec):
            return self.models
        if isinstance(spec, DatasetSpec):
            return self.datasets
        if isinstance(spec, FormatSpec):
            return self.formats
        return self.metrics if isinstance(spec, MetricSpec) else self.commands.get(backend.name, {})

    def broken(self) -> list[Backend]:
        """The backends that are installed but cannot be used, other than by the user's own wish."""
        return [b for b in self.backends.values() if b.state not in (OK, DISABLED)] + self.shadowed

    def backend_of(self, model_id: str) -> Backend:
        """The backend that registered a model."""
        return self.backends[model_id.partition("/")[0]]

    def find(self, name: str) -> ModelSpec:
        """The spec of a model, by its id, an alias, or its short name where that is unambiguous.

        Raises UsageError for an ambiguous short name, BackendError where the backend is broken or not
        installed, NotFoundError otherwise.
        """
        if name in self.models:
            return self.models[name]
        matches = [s for s in self.models.values() if name in s.aliases or s.id.partition("/")[2] == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = " and ".join(spec.id for spec in matches)
            raise UsageError(f"model name {name!r} is ambiguous: {ids}; give the full id")
        raise self._not_found(name)

    def _not_found(self, name: str) -> AigcError:
        backend = self.backends.get(name.partition("/")[0])
        if backend and backend.state != OK:
            return backend.error(f"model {name!r}")
        from aigc_core.plugins.catalogue import Catalogue, install_command

        entry = None
        with contextlib.suppress(
            DamagedFileError
        ):  # a catalogue that can't be read is not what was asked for
            entry = Catalogue.load().provider(name)
        if entry and entry.name not in self.backends:
            return BackendError(
                f"model {name!r} belongs to backend {entry.name!r}, which is not installed; "
                f"install it: {install_command(entry)}"
            )
        hint = did_you_mean(name, [*self.models, *(i.partition("/")[2] for i in self.models)])
        return NotFoundError(f"no model {name!r}{hint or '; see: aigc models list'}")

    def emit(self, event: Event) -> None:
        """Tells every backend that listens; what fails is reported once and harms nothing."""
        for backend in self.backends.values():
            if "aigc_on_event" not in backend.hooks or backend.name in self._deaf:
                continue
            try:
                backend.hooks["aigc_on_event"](event)
            except (Exception, SystemExit) as error:
                self._deaf.add(backend.name)
                sys.stderr.write(
                    f"aigc: backend {backend.name!r} failed on event {event.kind!r} and hears no more of this "
                    f"job: {failure(error, backend.package)}\n"
                )

    def load(self, name: str) -> Model:
        """A model whose classes are imported as they are asked for. Raises as `find` does."""
        spec = self.find(name)
        return Model(spec, self.backend_of(spec.id))

    def format(self, name: str) -> Format:
        """A form of weights, made ready. Raises NotFoundError for an unknown one, BackendError."""
        from aigc_core.interfaces import Format

        spec = known(self.formats, name, "format")
        made = class_of(spec.format, self.format_backends[name], Format, f"format {name!r}")  # type: ignore[type-abstract]
        with blame(self.format_backends[name], f"to make ready format {name!r}"):
            return made()

    def metric(self, name: str) -> Metric | FeatureMetric:
        """A figure of merit, made ready. Raises NotFoundError for an unknown one, BackendError."""
        from aigc_core.interfaces import FeatureMetric, Metric

        spec, backend = known(self.metrics, name, "metric"), self.metric_backends[name]
        found = resolve(spec.metric, backend)
        compares = isinstance(found, type) and issubclass(found, FeatureMetric)
        kind: Any = FeatureMetric if compares else Metric
        made: type[Metric | FeatureMetric] = class_of(spec.metric, backend, kind, f"metric {name!r}")
        with blame(backend, f"to make ready metric {name!r}"):
            return made()


def known(table: Mapping[str, _T], name: str, what: str) -> _T:
    """What a table has under a name. Raises NotFoundError with the nearest name."""
    if name not in table:
        there = (
            f"; there are: {', '.join(sorted(table))}" if table else "; no backend that is installed has one"
        )
        raise NotFoundError(f"no {what} {name!r}{did_you_mean(name, list(table)) or there}")
    return table[name]


@dataclass(frozen=True, slots=True)
class Model:
    """A spec with access to its classes; each property imports what it returns, and no more.

    Every property raises BackendError where the class cannot be imported or is of the wrong kind.
    """

    spec: ModelSpec
    backend: Backend

    @property
    def config(self) -> type[Options]:
        """The generator's option schema; importing it imports no torch."""
        from aigc_core.options import Options

        return self._resolve(self.spec.config, Options)

    @property
    def trainer_config(self) -> type[TrainingOptions]:
        """The trainer's option schema; importing it imports no torch."""
        from aigc_core.options import TrainingOptions

        if self.spec.trainer_config is None:
            return TrainingOptions
        return self._resolve(self.spec.trainer_config, TrainingOptions)

    @property
    def generator(self) -> type[Generator[Any]]:
        from aigc_core.interfaces import Generator

        return self._resolve(self.spec.generator, Generator)  # type: ignore[type-abstract]

    @property
    def trainer(self) -> type[Trainer[Any, Any]]:
        """Raises UsageError where the model cannot be trained."""
        from aigc_core.interfaces import Trainer

        if self.spec.trainer is None:
            raise UsageError(f"model {self.spec.id!r} cannot be trained; it is for sampling only")
        return self._resolve(self.spec.trainer, Trainer)  # type: ignore[type-abstract]

    @property
    def tokenizer(self) -> type[Tokenizer] | None:
        """None for a model that takes its data as they are."""
        from aigc_core.interfaces import Tokenizer

        return self.spec.tokenizer and self._resolve(self.spec.tokenizer, Tokenizer)  # type: ignore[type-abstract,return-value]

    def sampler_spec(self, name: str | None) -> tuple[str, SamplerSpec]:
        """A sampler's name and spec, the default one for None. Raises UsageError for an unknown name."""
        if not self.spec.samplers:
            raise UsageError(f"model {self.spec.id!r} has no sampler")
        if name is None:
            name = next(iter(self.spec.samplers))
        if name not in self.spec.samplers:
            known = list(self.spec.samplers)
            hint = did_you_mean(name, known) or f"; there are: {', '.join(known)}"
            raise UsageError(f"model {self.spec.id!r} has no sampler {name!r}{hint}")
        return name, self.spec.samplers[name]

    def sampler(self, name: str) -> type[Sampler[Any, Any]]:
        from aigc_core.interfaces import Sampler

        return self._resolve(self.sampler_spec(name)[1].sampler, Sampler)  # type: ignore[type-abstract]

    def sampler_config(self, name: str) -> type[Options]:
        """A sampler's option schema; importing it imports no torch."""
        from aigc_core.options import Options

        return self._resolve(self.sampler_spec(name)[1].config, Options)

    def _resolve(self, path: str, kind: type[_T]) -> type[_T]:
        return class_of(path, self.backend, kind, f"model {self.spec.id!r}")


def class_of(path: str, backend: Backend, kind: type[_T], what: str) -> type[_T]:
    """A class that a backend names for `what`. Raises BackendError if it can't be imported or is of another kind."""
    found = resolve(path, backend)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise BackendError(
            f"backend {backend.name!r}: {path} of {what} is no {kind.__module__}.{kind.__name__}; "
            f"report it to the author of {backend.distribution}"
        )
    return found


@contextlib.contextmanager
def blame(backend: Backend, doing: str) -> Iterator[None]:
    """Turns whatever a backend's code raises into a BackendError that names it.

    The errors of `aigc_core.errors`, of the file system, and Ctrl-C pass as they are; so does whatever the core's own
    code raises, which is a bug of aigc.
    """
    try:
        yield
    except (AigcError, OSError):
        raise
    except (Exception, SystemExit) as error:
        if backend.package == CORE:
            raise
        who = f"backend {backend.name!r} ({backend.distribution} {backend.version})"
        raise BackendError(f"{who} failed {doing}: {failure(error, backend.package)}") from error


def resolve(path: str, backend: Backend) -> Any:
    """Imports `package.module:attribute` of a backend. Raises BackendError, naming both, if it can't."""
    import importlib

    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        reason = failure(error, backend.package)
        raise BackendError(
            f"backend {backend.name!r} ({backend.distribution} {backend.version}) "
            f"cannot provide {path}: {reason}"
        ) from error
    return found


def visible(specs: Iterable[ModelSpec]) -> list[ModelSpec]:
    """Specs in the order of a listing: natural order of ids (`gpt2` before `gpt10`), deprecated ones last."""
    import re

    def key(spec: ModelSpec) -> tuple[bool, list[tuple[int, str]]]:
        parts = re.split(r"(\d+)", spec.id)
        return spec.replaced_by is not None, [(int(p), "") if p.isdigit() else (-1, p) for p in parts]

    return sorted(specs, key=key)


def default() -> Registry:
    """The registry of this environment; backends are discovered once a process.

    Raises BackendError if AIGC_STRICT_PLUGINS is set and a backend cannot be used.
    """
    registry = discovered()
    if os.environ.get("AIGC_STRICT_PLUGINS", "0") not in ("", "0"):
        for backend in registry.broken():
            raise BackendError(
                f"AIGC_STRICT_PLUGINS is set, and backend {backend.name!r} ({backend.distribution} "
                f"{backend.version}) is {backend.state}: {backend.reason}"
            )
    return registry


@functools.cache
def discovered() -> Registry:
    """The same, whatever state the backends are in."""
    from aigc_core.plugins.discovery import discover

    return discover()


def as_json(spec: ModelSpec, backend: Backend) -> Mapping[str, Any]:
    """A model as `aigc models list --json` shows it."""
    return {
        "id": spec.id,
        "summary": spec.summary,
        "modality": spec.modality,
        "license": spec.license,
        "backend": backend.name,
        "distribution": backend.distribution,
        "version": backend.version,
        "trainable": spec.trainer is not None,
        "samplers": list(spec.samplers),
        "conditions": list(spec.conditions),
        "capabilities": list(spec.capabilities),
        "aliases": list(spec.aliases),
        "params": spec.params,
        "paper": spec.paper,
        "replaced_by": spec.replaced_by,
    }
