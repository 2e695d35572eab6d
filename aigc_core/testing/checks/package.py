"""The package: what it costs to list, what it names, whether it works from its wheel."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from aigc_core.backends import OK, CheckContext
from aigc_core.events import Event
from aigc_core.registry import resolve
from aigc_core.specs import dotted_paths
from aigc_core.testing.kit import Failed, check, require
from aigc_core.testing.subject import Bench

IMPORT_LIMIT = 0.05
"""Seconds that a registration module may add to a listing."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

KINDS = (
    "train.start",
    "train.log",
    "train.end",
    "train.interrupted",
    "train.failed",
    "sample.start",
    "sample.end",
)

_REGISTRATION = """
import importlib, json, sys, time
import aigc_core, aigc_core.backends, aigc_core.hookspecs, aigc_core.registry, aigc_core.plugins.discovery
from aigc_core.plugins.entrypoints import EntryPoint
from aigc_core.plugins.discovery import examine_alone
examine_alone(EntryPoint(1, "aigc-check", "aigc_core.testing.nothing", "aigc-core", "", ""))
point = EntryPoint(*json.loads(sys.argv[1]))
before, started = set(sys.modules), time.perf_counter()
examine_alone(point)
seconds = time.perf_counter() - started
new = {m.partition(".")[0] for m in set(sys.modules) - before}
print(json.dumps({"seconds": seconds, "heavy": sorted(new & set(json.loads(sys.argv[2])))}))
"""
HEAVY = (
    "torch", "torchvision", "torchaudio", "accelerate", "safetensors", "numpy", "scipy", "sklearn", "pandas", "PIL",
    "matplotlib", "transformers", "tokenizers", "diffusers", "soundfile", "librosa", "jax", "tensorflow", "requests",
)  # fmt: skip


@check("loads", "backend")
def loads(bench: Bench) -> None:
    """It is registered, and every class that it names can be imported and is of the right kind."""
    backend = bench.backend
    require(backend.state == OK, f"it is {backend.state}: {backend.reason}")
    for model_id in bench.models:
        model = bench.model(model_id)
        for part in ("config", "trainer_config", "generator", *(["trainer"] if model.spec.trainer else [])):
            getattr(model, part)
        for sampler in model.spec.samplers:
            model.sampler(sampler), model.sampler_config(sampler)
    others = [s for n, s in bench.registry.datasets.items() if bench.registry.dataset_backends[n] is backend]
    others += list(bench.registry.commands.get(backend.name, {}).values())  # type: ignore[arg-type]
    for spec in others:
        for path in dotted_paths(spec):
            resolve(path, backend)
    for name, owner in bench.registry.metric_backends.items():
        if owner is backend:
            bench.registry.metric(name)
    for name, owner in bench.registry.format_backends.items():
        if owner is backend:
            bench.registry.format(name)


@check("registration-light", "backend")
def registration_light(bench: Bench) -> None:
    """Registering imports no heavy package, and adds less than 50 ms to a listing."""
    backend = bench.backend
    point = [backend.api, backend.name, backend.module, backend.distribution, backend.version, backend.info]
    command = [sys.executable, "-c", _REGISTRATION, json.dumps(point), json.dumps(HEAVY)]
    best = float("inf")
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        require(done.returncode == 0, f"registering it alone fails: {done.stderr.strip()[-300:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        heavy = ", ".join(found["heavy"])
        require(not heavy, f"{backend.module} imports {heavy}; import it where it is used, not to register")
        best = min(best, found["seconds"])
        if best < IMPORT_LIMIT:
            return
    raise Failed(f"registering takes {best * 1000:.0f} ms, more than {IMPORT_LIMIT * 1000:.0f}; declare only")


@check("names", "backend")
def names(bench: Bench) -> None:
    """Ids, aliases and names are plain words, and no two of them mean the same."""
    require(
        bool(NAME.fullmatch(bench.backend.name)), f"backend name {bench.backend.name!r}: use a-z, 0-9, . _ -"
    )
    from aigc_core.cli.root import COMMANDS

    if bench.backend.name in bench.registry.commands:
        require(
            bench.backend.name not in COMMANDS,
            f"`aigc {bench.backend.name}` is the core's: its commands can't be reached",
        )
    taken: dict[str, str] = {}
    for model_id in bench.models:
        spec = bench.registry.models[model_id]
        short = model_id.partition("/")[2]
        for word in (short, *spec.aliases, *spec.samplers):
            require(bool(NAME.fullmatch(word)), f"{model_id}: {word!r} is no plain name; use a-z, 0-9, . _ -")
        for word in {short, *spec.aliases}:
            require(word not in taken, f"{model_id} and {taken.get(word)} are both called {word!r}")
            taken[word] = model_id
        if spec.replaced_by:
            require(
                spec.replaced_by in bench.registry.models,
                f"{model_id} is replaced by {spec.replaced_by!r}, which is not there",
            )
    for name, form in bench.registry.formats.items():
        if bench.registry.format_backends[name] is bench.backend:
            require(bool(NAME.fullmatch(name)), f"format {name!r} is no plain name; use a-z, 0-9, . _ -")
            strange = [model_id for model_id in form.models if model_id not in bench.registry.models]
            require(not strange, f"format {name!r} is of model {', '.join(strange)}, which is not there")


@check("own-check", "backend")
def own_check(bench: Bench) -> None:
    """Its own `aigc_check` finds nothing wrong."""
    if hook := bench.backend.hooks.get("aigc_check"):
        context = CheckContext(bench.backend)
        hook(context)
        require(not context.problems, "; ".join(context.problems))


@check("listens", "backend")
def listens(bench: Bench) -> None:
    """Its `aigc_on_event` takes every kind of event, also one that it does not know."""
    if hook := bench.backend.hooks.get("aigc_on_event"):
        for kind in (*KINDS, "some.other"):
            try:
                hook(Event(kind, {"step": 1, "steps": 2, "metrics": {"loss": 1.0}, "run": str(bench.folder)}))
            except Exception as error:
                raise Failed(f"aigc_on_event fails on {kind!r}: {type(error).__name__}: {error}") from error


@check("requirements", "backend")
def requirements(bench: Bench) -> None:
    """Its distribution requires aigc-core, with an upper bound, since another major API may come."""
    required = metadata.distribution(bench.backend.distribution).requires or []
    core = [r for r in required if re.match(r"aigc[-_.]core\b", r, re.IGNORECASE)]
    require(
        bool(core),
        "its distribution does not require aigc-core; add `aigc-core>=0.1,<0.2` to its dependencies",
    )
    require(
        "<" in core[0] or "==" in core[0] or "~=" in core[0],
        f"{core[0]!r} has no upper bound; add one: aigc-core>=0.1,<0.2",
    )


@check("wheel", "backend")
def wheel(bench: Bench) -> None:
    """From its wheel alone, in a path with a space, every model trains and samples."""
    from aigc_core.testing.rehearsal import rehearse

    facts = rehearse(bench)
    require(not facts.error, f"installed from its wheel it fails: {facts.error}")
    for model_id in bench.models:
        model = facts.models.get(model_id)
        require(model is not None, f"model {model_id} is missing from the wheel's registration")
        assert model is not None
        require(not model["error"], f"{model_id}, installed from its wheel, fails: {model['error']}")


@check("silent", "backend")
def silent(bench: Bench) -> None:
    """Training and sampling print nothing, and write no file of their own but to the user's cache."""
    from aigc_core.testing.rehearsal import rehearse

    found = []
    for model_id, model in rehearse(bench).models.items():
        if model["printed"]:
            found.append(f"{model_id} prints {model['printed']!r}: return metrics instead")
        if model["written"]:
            found.append(
                f"{model_id} writes {', '.join(model['written'])}: the core keeps what is to be kept"
            )
    require(not found, "; ".join(found))


@check("no-pickle", "backend")
def no_pickle(bench: Bench) -> None:
    """No pickle is read or written: not in its sources, and not while it trains, resumes and samples."""
    from aigc_core.testing.rehearsal import packed, rehearse

    for file in sorted(packed(bench).rglob("*.py")):
        for line, word in _pickles(file):
            raise Failed(f"{file.name}:{line} uses {word}; keep tensors as safetensors, the rest as JSON")
    for model_id, model in rehearse(bench).models.items():
        require(
            not model["pickled"],
            f"{model_id} uses {', '.join(model['pickled'])}; keep tensors as safetensors, the rest as JSON",
        )


def _pickles(file: Path) -> list[tuple[int, str]]:
    """(line, name) of what pickles in a source file."""
    modules = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "_pickle")
    found = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names if a.name.partition(".")[0] in modules]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in modules:
            found.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save"):
            found.append((node.lineno, ast.unparse(node.func)))
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            found.append((node.value.lineno, "allow_pickle"))
    return found
