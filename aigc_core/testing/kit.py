"""Checks, the cases they make for a backend, and how they are run."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aigc_core.backends import OK, failure
from aigc_core.errors import AigcError, NotFoundError, UsageError, did_you_mean
from aigc_core.registry import Registry, discovered

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.testing.subject import Bench

MODULES: Final = ("package", "declarations", "training", "runs", "sampling")
"""The modules of `aigc_core.testing.checks`, in the order in which their checks are run."""


class Failed(AssertionError):
    """A backend does not hold what a check asks; the message says what, and what to do."""


def require(condition: bool, text: str) -> None:
    """Raises Failed with a text unless a condition holds."""
    if not condition:
        raise Failed(text)


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Within the block, whatever the backend raises is a failure that says what was being done."""
    try:
        yield
    except Failed:
        raise
    except (Exception, SystemExit) as error:
        raise Failed(f"{what}: {failure(error)}") from error


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are bit for bit the same; not a number is the same as itself: it is judged elsewhere."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a backend must hold."""

    name: str
    scope: str
    """What it is run for: `backend`, `model`, `trainer` (a model that can be trained) or `sampler`."""
    run: Callable[..., None]

    @property
    def promise(self) -> str:
        """What it asks, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


CHECKS: Final[dict[str, Check]] = {}


def check(name: str, scope: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a check; its docstring is what it asks, its arguments are (bench[, model id[, sampler]])."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        CHECKS[name] = Check(name, scope, function)
        return function

    return register


def all_checks() -> dict[str, Check]:
    """Every check by its name, in order."""
    for module in MODULES:
        importlib.import_module(f"aigc_core.testing.checks.{module}")
    return CHECKS


@dataclass(frozen=True)
class Case:
    """A check of one backend, model or sampler."""

    check: Check
    subject: tuple[str, ...]
    """(model id, sampler) as far as the check's scope goes."""
    bench: Bench

    @property
    def name(self) -> str:
        """`check` or `check gan/dcgan` or `check gan/dcgan prior`."""
        return " ".join([self.check.name, *self.subject])

    def run(self) -> None:
        """Raises Failed, or whatever the backend raises."""
        with self.bench.isolated():
            self.check.run(self.bench, *self.subject)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case came to."""

    name: str
    seconds: float
    problem: str | None

    @property
    def ok(self) -> bool:
        return self.problem is None


def cases(
    backend: str, folder: Path, *, only: Collection[str] = (), registry: Registry | None = None
) -> list[Case]:
    """The cases of an installed backend, by its name.

    folder: where the checks may write. only: names of checks, models (`gan/mlp`) or samplers to confine them to.
    Raises NotFoundError for a backend that is not installed, UsageError for an unknown name in `only`.
    A backend that cannot be used has one case, `loads`, which says why.
    """
    from aigc_core.testing.subject import Bench

    registry = registry or discovered()
    if backend not in registry.backends:
        hint = did_you_mean(backend, list(registry.backends)) or "; see: aigc plugins list"
        raise NotFoundError(f"no backend {backend!r} is installed{hint}")
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(registry, registry.backends[backend], folder)
    found = list(_cases(bench))
    if bench.backend.state != OK:
        return found
    known = {word for case in found for word in (case.check.name, *case.subject)}
    for word in only:
        if word not in known:
            hint = did_you_mean(word, sorted(known)) or f"; there are: {', '.join(sorted(known))}"
            raise UsageError(f"no check, model or sampler {word!r} of backend {backend!r}{hint}")
    checks, subjects = {w for w in only if w in CHECKS}, {w for w in only if w not in CHECKS}
    return [
        case
        for case in found
        if (not checks or case.check.name in checks) and (not subjects or subjects & set(case.subject))
    ]


def _cases(bench: Bench) -> Iterator[Case]:
    if bench.backend.state != OK:
        importlib.import_module("aigc_core.testing.checks.package")  # without torch: it is said at once
        yield Case(CHECKS["loads"], (), bench)
        return
    checks = all_checks()
    for check_ in checks.values():
        if check_.scope == "backend":
            yield Case(check_, (), bench)
    for model_id in bench.models:
        for check_ in checks.values():
            if check_.scope == "model" or (
                check_.scope == "trainer" and bench.registry.models[model_id].trainer
            ):
                yield Case(check_, (model_id,), bench)
        for sampler in bench.samplers(model_id):
            for check_ in checks.values():
                if check_.scope == "sampler":
                    yield Case(check_, (model_id, sampler), bench)


def run(backend: str, *, only: Collection[str] = (), registry: Registry | None = None) -> Iterator[Outcome]:
    """Runs the cases of a backend one by one, in a folder that is thrown away. Raises as `cases` does."""
    with tempfile.TemporaryDirectory(prefix="aigc-check-") as folder:
        yield from outcomes(cases(backend, Path(folder), only=only, registry=registry))


def outcomes(cases: Iterable[Case]) -> Iterator[Outcome]:
    """Runs cases; whatever goes wrong in one is its outcome."""
    for case in cases:
        started = time.perf_counter()
        problem = None
        try:
            case.run()
        except (Failed, AigcError) as error:
            problem = str(error)
        except (Exception, SystemExit) as error:
            problem = failure(error, case.bench.backend.package)
        yield Outcome(case.name, time.perf_counter() - started, problem)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Within the block, environment variables have these values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
