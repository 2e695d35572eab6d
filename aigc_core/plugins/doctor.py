"""A thorough look at the installed backends; the one place that imports all their code."""

from __future__ import annotations

from aigc_core.backends import OK, CheckContext, failure
from aigc_core.errors import AigcError
from aigc_core.registry import Registry


def examine(registry: Registry) -> list[tuple[str, str]]:
    """(backend, problem) for all that is wrong: states, classes that can't be imported, own checks."""
    problems = [(b.name, f"{b.state}: {b.reason}") for b in registry.broken()]
    for model_id in registry.models:
        model = registry.load(model_id)
        names = ["config", "generator", "trainer_config", *(["trainer"] if model.spec.trainer else [])]
        for name in names:
            try:
                getattr(model, name)
            except AigcError as error:
                problems.append((model.backend.name, str(error)))
        for sampler in model.spec.samplers:
            try:
                model.sampler(sampler)
                model.sampler_config(sampler)
            except AigcError as error:
                problems.append((model.backend.name, str(error)))
    for backend in registry.backends.values():
        if backend.state == OK and "aigc_check" in backend.hooks:
            context = CheckContext(backend)
            try:
                backend.hooks["aigc_check"](context)
            except Exception as error:
                context.problem(f"its check failed: {failure(error)}")
            problems += [(backend.name, problem) for problem in context.problems]
    return problems
