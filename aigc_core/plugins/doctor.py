"""`aigc plugins doctor`: everything that can be examined without training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from aigc_core.backends import OK
from aigc_core.registry import Registry
from aigc_core.testing.kit import cases, outcomes

CHECKS = ("loads", "registration-light", "names", "own-check", "listens", "requirements", "options")
"""The checks of the conformance kit that are quick: classes, registration, names, the backend's own check."""


def examine(registry: Registry) -> list[tuple[str, str]]:
    """(backend, problem) for all that is wrong: states, and what the quick checks of the kit find."""
    problems = [(b.name, f"{b.state}: {b.reason}") for b in registry.broken()]
    with tempfile.TemporaryDirectory() as folder:
        for name, backend in registry.backends.items():
            if backend.state == OK:
                todo = [c for c in cases(name, Path(folder), registry=registry) if c.check.name in CHECKS]
                problems += [(name, f"{o.name}: {o.problem}") for o in outcomes(todo) if o.problem]
    return problems
