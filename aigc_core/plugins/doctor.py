"""A thorough look at the installed backends; the one place that imports all their code."""

from __future__ import annotations

from collections.abc import Collection

from aigc_core.backends import OK, Backend, CheckContext, failure
from aigc_core.errors import AigcError
from aigc_core.options import check_options
from aigc_core.registry import Registry, resolve


def examine(registry: Registry, reserved: Collection[str]) -> list[tuple[str, str]]:
    """(backend, problem) for all that is wrong: states, classes that can't be imported, own checks."""
    problems = [(b.name, f"{b.state}: {b.reason}") for b in registry.broken()]
    for backend, path in _declared(registry):
        try:
            resolve(path, backend)
        except AigcError as error:
            problems.append((backend.name, str(error)))
    for model_id in registry.models:
        model = registry.load(model_id)
        parts = ["config", "generator", "trainer_config", *(["trainer"] if model.spec.trainer else [])]
        try:
            for part in parts:
                getattr(model, part)
            for sampler in model.spec.samplers:
                model.sampler(sampler), model.sampler_config(sampler)
            check_options(model, {})
        except AigcError as error:
            problems.append((model.backend.name, str(error)))
    hidden = [name for name in registry.commands if name in reserved]
    problems += [(name, f"its commands can't be reached: `aigc {name}` is the core's own") for name in hidden]
    for backend in registry.backends.values():
        if backend.state == OK and "aigc_check" in backend.hooks:
            context = CheckContext(backend)
            try:
                backend.hooks["aigc_check"](context)
            except (Exception, SystemExit) as error:
                context.problem(f"its check failed: {failure(error, backend.package)}")
            problems += [(backend.name, problem) for problem in context.problems]
    return problems


def _declared(registry: Registry) -> list[tuple[Backend, str]]:
    """(backend, `module:attribute`) of data sets, metrics and commands."""
    found = [(registry.dataset_backends[name], spec.source) for name, spec in registry.datasets.items()]
    found += [(registry.metric_backends[name], spec.metric) for name, spec in registry.metrics.items()]
    for name, commands in registry.commands.items():
        found += [(registry.backends[name], spec.command) for spec in commands.values()]
    return found
