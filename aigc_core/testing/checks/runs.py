"""How a run is kept: the same seed is the same run, stopped or not, and nothing is forgotten."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aigc_core.backends import Backend
from aigc_core.errors import InterruptedRun
from aigc_core.registry import Registry
from aigc_core.testing.kit import Failed, check, doing, require, same
from aigc_core.testing.subject import Bench
from aigc_core.weights.file import encode, load

if TYPE_CHECKING:
    from aigc_core.events import Event

GRACE = 2.0
"""Seconds that what was told to end may take to end."""


@check("deterministic", "trainer")
def deterministic(bench: Bench, model_id: str) -> None:
    """The same seed gives the same tensors, whatever other random streams hold; another seed others."""
    import random

    data = bench.data(model_id)
    found = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        random.seed(noise), np.random.seed(noise)
        trainer, engine = bench.make(model_id, data.info, seed=seed)
        bench.steps(trainer, engine, data, 0, 3, seed)
        found.append({**trainer.result().state_dict(), **_flat(trainer.state_dict())})
    require(_same(found[0], found[1]),
            f"two runs of one seed differ in {_first_difference(found[0], found[1])}; draw by engine.randn or from "
            "torch's own stream, never from the clock, numpy's or Python's")  # fmt: skip
    require(not _same(found[0], found[2]), "another seed gives the same tensors")


@check("resumes", "trainer")
def resumes(bench: Bench, model_id: str) -> None:
    """Stopped after three steps, written to a checkpoint, read into a new trainer and gone on with, it ends as
    if it had not been stopped."""
    from aigc_core.training.state import check_state, load_state, save_state

    data = bench.data(model_id)
    whole, engine = bench.make(model_id, data.info)
    bench.steps(whole, engine, data, 0, 6)
    half, engine = bench.make(model_id, data.info)
    bench.steps(half, engine, data, 0, 3)
    try:
        check_state(half.state_dict())
    except TypeError as error:
        raise Failed(f"its state can't be kept: {error}") from error
    file = bench.folder / "checkpoint.safetensors"
    save_state(file, {"trainer": half.state_dict()})
    again, engine = bench.make(model_id, data.info)
    again.load_state_dict(load_state(file)["trainer"])
    bench.steps(again, engine, data, 3, 6)
    for what, a, b in (
        ("the kept generator", whole.result().state_dict(), again.result().state_dict()),
        ("the trainer", _flat(whole.state_dict()), _flat(again.state_dict())),
    ):
        require(
            _same(a, b),
            f"{what} differs after a resume, in {_first_difference(a, b)}: something that changes in training is "
            "not in the trainer's state_dict(); make it (or what holds it) an attribute that has a state_dict, not in "
            "a list or dict, or a function of engine.step",
        )


def _flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """A nested state as one table of its leaves."""
    pairs = state.items() if isinstance(state, Mapping) else enumerate(state)
    flat: dict[str, Any] = {}
    for key, value in pairs:
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping | list | tuple):
            flat.update(_flat(value, name))
        else:
            flat[name] = value
    return flat


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return not _first_difference(a, b)


def _first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    for name in sorted({*a, *b}):
        x, y = a.get(name), b.get(name)
        both = isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)
        if not (same(x, y) if both and x is not None and y is not None else x == y):
            return name
    return ""


@check("saves", "trainer")
def saves(bench: Bench, model_id: str) -> None:
    """Its weights file is all of it: loaded again, it has the same config and gives the same samples."""
    data = bench.data(model_id)
    trainer, engine = bench.make(model_id, data.info)
    bench.steps(trainer, engine, data, 0, 5)
    kept = trainer.result().eval().requires_grad_(False)
    record = {"name": "check", "split": "train", "digest": "sha256:check", "count": len(data)}
    content, _ = encode(
        kept, bench.model(model_id), record, {"steps": 5, "seed": 0, "options": {}, "metrics": {}}
    )
    file = bench.folder / "weights.safetensors"
    file.write_bytes(content)
    with doing("its own weights file can't be loaded; is it built from its config and data alone?"):
        loaded = load(file, bench.registry).generator
    told = "leave self.config as it was given"
    require(loaded.config == kept.config,
            f"its config changes: ({kept.config}) is loaded as ({loaded.config}); {told}")  # fmt: skip
    require(loaded.output == kept.output, f"its output changes: {kept.output} is loaded as {loaded.output}")
    for sampler in bench.samplers(model_id):
        a, b = (bench.draw(model_id, sampler, generator) for generator in (kept, loaded))
        told = (
            f"loaded again, sampler {sampler} gives other samples: something that they depend on is not in "
        )
        require(same(a, b), f"{told}the file (a plain attribute, or a buffer that is not persistent)")


@check("cancels", "trainer")
def cancels(bench: Bench, model_id: str) -> None:
    """Ctrl-C stops a training at the next step; the same call goes on from there to the same weights. Nothing
    else is left behind: no thread, no unfinished file."""
    from aigc_core.training.job import Trained, train

    if threading.current_thread() is not threading.main_thread():
        return
    data, size = bench.source(model_id)
    threads, children = set(threading.enumerate()), set(multiprocessing.active_children())
    options = {"batch_size": bench.batch_size(model_id)}

    def run(name: str, registry: Registry) -> Trained:
        return train(model_id, data, size=size, steps=35, options=options, name=name, registry=registry)

    def stop(event: Event) -> None:
        if event.kind == "train.log" and event.data["step"] == 25:
            signal.raise_signal(signal.SIGINT)

    try:
        run("cancelled", _listening(bench, stop))
    except InterruptedRun:
        pass
    else:
        raise Failed("Ctrl-C is not heard; leave the signal handlers alone")
    deadline = time.monotonic() + GRACE
    began = [t for t in set(threading.enumerate()) - threads if not _of_a_library(t)]
    left: list[str] = []
    parts: list[Any] = [*began, *(set(multiprocessing.active_children()) - children)]
    for part in parts:
        part.join(max(0.0, deadline - time.monotonic()))
        left += [part.name] if part.is_alive() else []
    advice = "end in `finally` what a step begins"
    require(not left, f"a cancelled training leaves threads or processes behind: {', '.join(left)}; {advice}")
    halves = run("cancelled", bench.registry)
    whole = run("uncancelled", bench.registry)
    require(
        0 < halves.resumed_at < 35, f"it did not go on from the checkpoint, but from step {halves.resumed_at}"
    )
    require(halves.record["tensors_digest"] == whole.record["tensors_digest"],
            "cancelled and resumed, it ends with other weights than uninterrupted")  # fmt: skip
    partial = list(bench.folder.rglob("*.partial"))
    require(not partial, f"unfinished files are left: {', '.join(p.name for p in partial)}")


def _of_a_library(thread: threading.Thread) -> bool:
    """Whether a thread is one that a library keeps for all who use it, such as torch.compile's."""
    homes = (type(thread).__module__, getattr(getattr(thread, "_target", None), "__module__", None) or "")
    return any(home.partition(".")[0] in ("torch", "tqdm", "asyncio", "concurrent") for home in homes)


def _listening(bench: Bench, listener: Callable[[Event], None]) -> Registry:
    """The bench's registry with one more listener."""
    registry = Registry()
    tables = ("backends", "models", "datasets", "metrics", "formats")
    for name in (*tables, "dataset_backends", "metric_backends", "format_backends"):
        getattr(registry, name).update(getattr(bench.registry, name))
    listening = Backend("check-listener", "aigc-core", "", "", 1, hooks={"aigc_on_event": listener})
    registry.backends[listening.name] = listening
    return registry
