"""Finds the backends and takes each alone: what one does wrong harms no other."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

import pluggy

from aigc_core import hookspecs
from aigc_core.backends import BROKEN, INCOMPATIBLE, Backend, Registrar, failure
from aigc_core.errors import did_you_mean
from aigc_core.plugins.entrypoints import EntryPoint, entry_points
from aigc_core.registry import Registry
from aigc_core.specs import API_VERSION

REGISTER_HOOKS = (
    "aigc_register_models",
    "aigc_register_datasets",
    "aigc_register_metrics",
    "aigc_register_commands",
)


def discover() -> Registry:
    """A registry of the core's own data sets and of every backend on `sys.path`."""
    from aigc_core.data.known import register as register_known_data

    registry = Registry()
    core = Registrar(Backend("aigc", "aigc-core", "", "aigc_core", API_VERSION))
    register_known_data(core)
    registry.commit(core)

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    points = sorted(entry_points(), key=lambda point: point.api != API_VERSION)  # what works comes first
    for point in points:
        backend = Backend(point.name, point.distribution, point.version, point.value, point.api)
        if point.name in registry.backends:
            first = registry.backends[point.name]
            if point.distribution == first.distribution:  # it serves several APIs
                continue
            backend.state, backend.reason = BROKEN, f"{first.distribution} has that name already"
            registry.shadowed.append(backend)
            continue
        registry.backends[point.name] = backend
        if point.api != API_VERSION:
            backend.state = INCOMPATIBLE
            backend.reason = (
                f"it is made for API {point.api}, this core speaks API {API_VERSION}; "
                f"{'upgrade aigc-core' if point.api > API_VERSION else f'upgrade {point.distribution}'}"
            )
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a print must not spoil --json
                _take(manager, registry, backend, point)
        except (Exception, SystemExit) as error:
            backend.state, backend.reason = BROKEN, failure(error)
    return registry


def _take(manager: pluggy.PluginManager, registry: Registry, backend: Backend, point: EntryPoint) -> None:
    """Imports one backend's registration module and commits what it registers. Raises anything."""
    module, _, attribute = point.value.partition(":")
    plugin: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        plugin = getattr(plugin, part)
    manager.register(plugin, name=backend.name)

    hooks = {}
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.spec is None:
            known = [name for name in vars(hookspecs) if name.startswith("aigc_")]
            raise AttributeError(f"no hook {caller.name!r}{did_you_mean(caller.name, known)}")
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin:
                hooks[caller.name] = implementation.function
    if not hooks:
        raise AttributeError(f"{point.value} implements no hook; mark functions with @aigc_core.hookimpl")

    registrar = Registrar(backend)
    for name in REGISTER_HOOKS:
        if name in hooks:
            hooks[name](registrar)
    registry.commit(registrar)
    backend.hooks = dict(sorted(hooks.items()))
