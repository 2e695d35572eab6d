"""Backends as the registry knows them: their state, and what they are handed to register and to check."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aigc_core.errors import BackendError
from aigc_core.specs import CommandSpec, DatasetSpec, FormatSpec, MetricSpec, ModelSpec

Spec = ModelSpec | DatasetSpec | MetricSpec | FormatSpec | CommandSpec

OK: Final = "ok"
BROKEN: Final = "broken"
SLOW: Final = "slow"
INCOMPATIBLE: Final = "incompatible"
DISABLED: Final = "disabled"

MENDS: Final[Mapping[str, str]] = {
    "import": "mend that line, or install what it needs",
    "exit": "move the call of sys.exit into a function: a registration module only declares",
    "kill": "a registration module must only declare; import it by hand to see why",
    "gone": "put it back, or remove the backend: aigc plugins uninstall",
    "print": "remove the print: standard output belongs to the command",
    "slow": "import heavy packages where they are used, not at the top; then: aigc plugins list --retry (or "
    "allow it more seconds: AIGC_IMPORT_LIMIT)",
    "no-hook": "mark functions with @aigc_core.hookimpl, in the module that the entry point names",
    "unknown-hook": "rename it; aigc_core.hookspecs has them all",
    "hook-argument": "give it the one argument that aigc_core.hookspecs shows",
    "hook": "mend that line",
    "no-spec": "add a ModelSpec, DatasetSpec, MetricSpec, FormatSpec or CommandSpec",
    "duplicate": "rename one of the two",
    "foreign-id": "a model's id begins with the name of its backend's entry point",
    "no-class": "correct the dotted path in the spec",
    "no-schema": "make it a subclass of aigc_core.options.Options (of TrainingOptions for a trainer)",
    "api": "",
    "taken": "uninstall one of the two",
    "disabled": "",
}
"""What to do about each kind of problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a backend cannot be used."""

    kind: str
    """A key of MENDS."""
    text: str
    where: str = ""
    """`file:line`, where it is known."""
    mend: str = ""
    """What to do; by default what MENDS says of its kind."""

    @property
    def advice(self) -> str:
        """What to do."""
        return self.mend or MENDS.get(self.kind, "")

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.text}{where}{f'; {self.advice}' if self.advice else ''}"


class Rejected(Exception):
    """Raised where a backend breaks a rule of registration."""

    def __init__(self, kind: str, text: str, where: str = "") -> None:
        super().__init__(text)
        self.problem: Final = Problem(kind, text, where)


@dataclass(slots=True)
class Backend:
    """One installed distribution that has an entry point in `aigc.v1` (or another `aigc.vN`)."""

    name: str
    """The entry point's name, which is the family of all its models."""
    distribution: str
    version: str
    module: str
    api: int
    info: str = ""
    """Its `.dist-info` folder."""
    state: str = OK
    problem: Problem | None = None
    """Why it is not ok."""
    hooks: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Its implementations, by the hook's name."""

    @property
    def reason(self) -> str:
        """Why it is not ok: one line, with the file and line where there is one, and the mend."""
        return str(self.problem or "")

    def reject(self, state: str, problem: Problem) -> None:
        """Takes it out of use."""
        self.state, self.problem = state, problem

    @property
    def package(self) -> str:
        """The top-level package of its registration module."""
        return self.module.partition(":")[0].partition(".")[0]

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
        self.staged: Final[list[tuple[Spec, str]]] = []
        """Each spec with the `file:line` that added it."""

    def add(self, spec: Spec) -> None:
        """Stages one spec. Raises Rejected for anything else, and for an id outside the backend's family."""
        caller = sys._getframe(1)
        where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        if isinstance(spec, ModelSpec):
            family, slash, name = spec.id.partition("/")
            if not slash or not name or family != self.backend.name:
                text = f"model id {spec.id!r} must be of the form {self.backend.name!r} + '/name'"
                raise Rejected("foreign-id", text, where)
        elif not isinstance(spec, DatasetSpec | MetricSpec | FormatSpec | CommandSpec):
            raise Rejected("no-spec", f"registry.add() takes a spec, not {type(spec).__name__}", where)
        self.staged.append((spec, where))


@dataclass(slots=True)
class CheckContext:
    """What `aigc_check` is handed: `context.problem(text)` reports what is wrong."""

    backend: Backend
    """The backend itself: name, version, state."""
    problems: list[str] = field(default_factory=list)
    """What was reported, a line each."""

    def problem(self, text: str) -> None:
        """Reports one thing that is wrong, in one line that says how to mend it."""
        self.problems.append(text)


def failure(error: BaseException, package: str = "") -> str:
    """One line about an exception: its kind, its message, the file and line that raised it (see `place`)."""
    text, where = " ".join(str(error).split()), place(error, package)
    return f"{type(error).__name__}{f': {text}' if text else ''}{f' ({where})' if where else ''}"


def place(error: BaseException, package: str = "") -> str:
    """The `file:line` that an exception comes from, and that is to be mended.

    The innermost one inside `package`, if it is given and is on the way; else the innermost one outside the core
    and Python itself; else the innermost one.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    ours, python = os.path.dirname(__file__), os.path.dirname(os.__file__)
    packages = f"{python}{os.sep}site-packages"
    trace, found = error.__traceback__, ["", "", ""]
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(("<frozen", f"{python}{os.sep}importlib")):
            where = f"{file}:{trace.tb_lineno}"
            found[2] = where
            if not file.startswith(ours) and (not file.startswith(python) or file.startswith(packages)):
                found[1] = where
            module = str(trace.tb_frame.f_globals.get("__name__", ""))
            if package and module.partition(".")[0] == package:
                found[0] = where
        trace = trace.tb_next
    return next((where for where in found if where), "")
