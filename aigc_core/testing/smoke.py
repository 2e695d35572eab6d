"""The shortest trial of a backend: does each of its models build, train for a step, and sample?"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aigc_core.backends import OK
from aigc_core.registry import Registry, discovered

SMOKE = ("loads", "smoke")


def main(backends: Sequence[str], known_broken: Sequence[str], answer: str) -> None:
    """Runs the trial in this process and writes a list of problems, as JSON, to the file `answer`."""
    registry = discovered()
    problems = [
        f"backend {name!r} would be {backend.state} with it: {backend.reason}"
        for name, backend in registry.backends.items()
        if backend.state != OK and name not in known_broken and name not in backends
    ]
    for name in backends:
        problems += _problems(name, registry)
    Path(answer).write_text(json.dumps(problems), encoding="utf-8")
    sys.stdout.flush()


def _problems(name: str, registry: Registry) -> list[str]:
    from aigc_core.testing.kit import cases as cases_of
    from aigc_core.testing.kit import outcomes

    for backend in registry.shadowed:
        if backend.name == name:
            return [f"backend {name!r}: {backend.reason}"]
    if name not in registry.backends:
        return [f"backend {name!r} is not found"]
    if registry.backends[name].state != OK:
        return [f"backend {name!r} is {registry.backends[name].state}: {registry.backends[name].reason}"]
    with tempfile.TemporaryDirectory() as folder:
        cases = [c for c in cases_of(name, Path(folder), registry=registry) if c.check.name in SMOKE]
        return [f"{outcome.name}: {outcome.problem}" for outcome in outcomes(cases) if outcome.problem]
