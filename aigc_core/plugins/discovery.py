"""Finds the backends and takes each alone: what one does wrong harms no other."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy

from aigc_core import hookspecs
from aigc_core._version import __version__
from aigc_core.backends import (
    BROKEN,
    DISABLED,
    INCOMPATIBLE,
    OK,
    Backend,
    Problem,
    Registrar,
    Rejected,
    place,
)
from aigc_core.errors import did_you_mean
from aigc_core.plugins.entrypoints import EntryPoint, entry_points
from aigc_core.plugins.quarantine import judge
from aigc_core.registry import CORE, Registry
from aigc_core.specs import API_VERSION

VARIABLES = ("AIGC_PLUGINS", "AIGC_DISABLE_PLUGINS")

REGISTER_HOOKS = (
    "aigc_register_models",
    "aigc_register_datasets",
    "aigc_register_metrics",
    "aigc_register_formats",
    "aigc_register_commands",
)


def discover(*, retry: bool = False) -> Registry:
    """A registry of the core's own data sets and metrics and of every backend on `sys.path`.

    `retry` gives those another trial that were found wanting before.
    """
    registry, candidates = _survey()
    manager = _manager()
    verdicts = judge(candidates, retry=retry)
    for point, backend in candidates.items():
        verdict = verdicts[point]
        if verdict.problem:
            backend.reject(verdict.state, verdict.problem)
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a print must not spoil --json
                registrar, hooks = _take(manager, backend, point)
            registry.commit(registrar)
            backend.hooks = hooks
        except Rejected as error:
            backend.reject(BROKEN, error.problem)
    return registry


def examine_alone(point: EntryPoint) -> Registrar:
    """Imports one backend and runs its register hooks, as if it were the only one. Raises Rejected."""
    backend = Backend(point.name, point.distribution, point.version, point.value, point.api, point.info)
    registrar, _ = _take(_manager(), backend, point)
    Registry().commit(registrar)
    return registrar


def _survey() -> tuple[Registry, dict[EntryPoint, Backend]]:
    """A registry of all backends by name, and those of them that may be imported."""
    from aigc_core.data.known import register as register_known_data
    from aigc_core.evaluation.known import register as register_known_metrics

    registry = Registry()
    core = Registrar(Backend("aigc", "aigc-core", __version__, CORE, API_VERSION))
    register_known_data(core)
    register_known_metrics(core)
    registry.commit(core)

    selected = _selection()
    candidates: dict[EntryPoint, Backend] = {}
    points = sorted(
        _by_right(entry_points()), key=lambda point: point.api != API_VERSION
    )  # what works, first
    registry.remarks.extend(_unknown_names(points))
    for point in points:
        backend = Backend(point.name, point.distribution, point.version, point.value, point.api, point.info)
        if point.name in registry.backends:
            first = registry.backends[point.name]
            if point.distribution != first.distribution:  # otherwise it serves several APIs
                mend = f"uninstall one of the two, as by: aigc plugins uninstall {point.distribution}"
                taken = Problem("taken", f"{first.distribution} has that name already", mend=mend)
                backend.reject(BROKEN, taken)
                registry.shadowed.append(backend)
            continue
        registry.backends[point.name] = backend
        if reason := selected(point):
            backend.reject(DISABLED, Problem("disabled", reason))
        elif point.api != API_VERSION:
            backend.reject(INCOMPATIBLE, _wrong_api(point))
        if backend.state == OK:
            candidates[point] = backend
    return registry, candidates


def _by_right(points: list[EntryPoint]) -> list[EntryPoint]:
    """Entry points by name; of several distributions with one name, the one that aigc installed or the catalogue
    lists comes first, so that a newcomer does not take over."""
    names = [point.name for point in points]
    if len(set(names)) == len(names):
        return points
    from aigc_core.errors import AigcError
    from aigc_core.plugins.catalogue import Catalogue
    from aigc_core.plugins.ledger import Ledger

    rightful: set[str] = set()
    with contextlib.suppress(AigcError):
        rightful |= {name for name, entry in Ledger(Path(sys.prefix)).entries().items() if not entry.removed}
    with contextlib.suppress(AigcError):
        rightful |= {entry.distribution for entry in Catalogue.load().entries.values()}
    return sorted(points, key=lambda p: (p.name, p.distribution not in rightful, p.distribution))


def _unknown_names(points: list[EntryPoint]) -> list[str]:
    """What is wrong with the user's environment variables, a line each."""
    known = sorted({name for point in points for name in (point.name, point.distribution)})
    return [
        f"{variable} names no installed backend {name!r}{did_you_mean(name, known)}"
        for variable in VARIABLES
        for name in _listed(variable)
        if name not in known
    ]


def _listed(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _selection() -> Callable[[EntryPoint], str]:
    """Tells why the user's environment variables turn an entry point off; an empty string if they don't."""
    only, without = (set(_listed(variable)) for variable in VARIABLES)

    def reason(point: EntryPoint) -> str:
        names = {point.name, point.distribution}
        if names & without:
            return "AIGC_DISABLE_PLUGINS turns it off; take it out of there"
        return "" if not only or names & only else "AIGC_PLUGINS does not name it; add it there"

    return reason


def _wrong_api(point: EntryPoint) -> Problem:
    text = f"it is made for API {point.api}, this core speaks API {API_VERSION}"
    newer = point.api > API_VERSION
    mend = f"upgrade {'aigc-core' if newer else point.distribution}"
    return Problem("api", text, mend=mend)


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _take(
    manager: pluggy.PluginManager, backend: Backend, point: EntryPoint
) -> tuple[Registrar, dict[str, Callable[..., Any]]]:
    """Imports one backend's registration module; what it stages, and its hooks. Raises Rejected."""
    with _rejected("import", backend):
        module, _, attribute = point.value.partition(":")
        plugin: Any = importlib.import_module(module)
        for part in attribute.split(".") if attribute else ():
            plugin = getattr(plugin, part)
    try:
        manager.register(plugin, name=backend.name)
    except pluggy.PluginValidationError as error:
        text = " ".join(str(error).split())
        text = text.partition("definition:")[2].strip() or text
        raise Rejected("hook-argument", text, _defined_at(plugin, text.partition("(")[0])) from error
    hooks = {}
    for caller in manager.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not plugin:
                continue
            if caller.spec is None:
                known = [name for name in vars(hookspecs) if name.startswith("aigc_")]
                text = f"no hook {caller.name!r}{did_you_mean(caller.name, known)}"
                raise Rejected("unknown-hook", text, _defined_at(plugin, caller.name))
            hooks[caller.name] = implementation.function
    if not hooks:
        where = getattr(plugin, "__file__", None) or ""
        raise Rejected("no-hook", f"{point.value} implements no hook", where)
    registrar = Registrar(backend)
    for name in REGISTER_HOOKS:
        if name in hooks:
            with _rejected("hook", backend):
                hooks[name](registrar)
    return registrar, dict(sorted(hooks.items()))


def _module(backend: Backend) -> str:
    return backend.module.partition(":")[0]


def _defined_at(plugin: Any, name: str) -> str:
    """The `file:line` of a function of a plugin."""
    code = getattr(getattr(plugin, name, None), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


@contextlib.contextmanager
def _rejected(kind: str, backend: Backend) -> Any:
    """Turns whatever a backend raises into Rejected, with its file and line."""
    try:
        yield
    except Rejected:
        raise
    except SystemExit as error:
        text = f"SystemExit: {error.code}" if error.code is not None else "SystemExit"
        raise Rejected("exit", text, place(error, backend.package)) from error
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, ModuleNotFoundError) and error.name in (backend.package, _module(backend)):
            from aigc_core.plugins.origin import origin  # not on the way of every listing

            text = (
                f"No module named {error.name!r}, which its entry point names (from {origin(backend.info)})"
            )
            raise Rejected("gone", text) from error
        raise Rejected(kind, text, place(error, backend.package)) from error
