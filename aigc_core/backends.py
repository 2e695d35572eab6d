"""Backends as the registry knows them: their state, and what they are handed to register and to check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aigc_core.errors import BackendError
from aigc_core.specs import CommandSpec, DatasetSpec, MetricSpec, ModelSpec

Spec = ModelSpec | DatasetSpec | MetricSpec | CommandSpec

OK: Final = "ok"
BROKEN: Final = "broken"
INCOMPATIBLE: Final = "incompatible"


@dataclass(slots=True)
class Backend:
    """One installed distribution that has an entry point in `aigc.v1` (or another `aigc.vN`)."""

    name: str
    """The entry point's name, which is the family of all its models."""
    distribution: str
    version: str
    module: str
    api: int
    state: str = OK
    reason: str = ""
    """Why it is not ok: one line, with the file and line where there is one."""
    hooks: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Its implementations, by the hook's name."""

    def error(self, wanted: str) -> BackendError:
        """The error for having asked for something of a backend that is not ok."""
        return BackendError(
            f"{wanted} belongs to backend {self.name!r} ({self.distribution} {self.version}), "
            f"which is {self.state}: {self.reason}"
        )


class Registrar:
    """What the register hooks are handed: takes specs for one backend, checks and stages them.

    Nothing is registered unless the backend's hooks all succeed.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend: Final = backend
        self.staged: Final[list[Spec]] = []

    def add(self, spec: Spec) -> None:
        """Stages one spec.

        Raises TypeError for anything else than a spec, ValueError for an id outside the backend's family.
        """
        if isinstance(spec, ModelSpec):
            family, slash, name = spec.id.partition("/")
            if not slash or not name or family != self.backend.name:
                raise ValueError(f"model id {spec.id!r} must be of the form {self.backend.name!r} + '/name'")
        elif not isinstance(spec, DatasetSpec | MetricSpec | CommandSpec):
            raise TypeError(f"registry.add() takes a spec, not {type(spec).__name__}")
        self.staged.append(spec)


@dataclass(slots=True)
class CheckContext:
    """What `aigc_check` is handed."""

    backend: Backend
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Reports one thing that is wrong, in one line that says how to mend it."""
        self.problems.append(text)


def failure(error: BaseException) -> str:
    """One line about an exception: its kind, its message, the file and line that raised it."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "importlib" not in code.co_filename:
            where = f" ({code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"
