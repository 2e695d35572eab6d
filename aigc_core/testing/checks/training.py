"""How a model is trained: every part moves, nothing is forgotten, the same seed is the same run."""

from __future__ import annotations

import math
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
from aigc_core.testing.kit import Failed, check, doing, require
from aigc_core.testing.material import as_samples, distance, random_items, shapes, spread
from aigc_core.testing.subject import Bench
from aigc_core.weights.file import encode, load

if TYPE_CHECKING:
    from aigc_core.events import Event
    from aigc_core.interfaces import Generator
    from aigc_core.specs import Output

LEARN_STEPS, LEARN_SECONDS = 500, 45.0
"""How long a model may learn: as many steps, or as long, whichever ends first; fewer steps must teach it less."""

MOVE_STEPS = (5, 20)
"""Within how many steps every tensor must have moved: mostly few do, but some are trained every n-th step only."""

GRACE = 2.0
"""Seconds that what was told to end may take to end."""


@check("step", "trainer")
def step(bench: Bench, model_id: str) -> None:
    """A step runs at every size that it declares; its metrics are detached, finite scalars."""
    spec = bench.registry.models[model_id]
    for shape in shapes(spec.data):
        if math.prod(shape) > 1 << 15:
            continue
        data = random_items(bench.info(model_id, shape), 4 * bench.batch_size(model_id))
        text = "x".join(map(str, shape))
        with doing(f"a step fails at {text}; mend that, or narrow its data's smallest and largest"):
            trainer, engine = bench.make(model_id, data.info)
            told = bench.steps(trainer, engine, data, 0, 2)
        for metrics in told:
            require(bool(metrics), "a step returns no metrics; return at least its loss")
            for name, value in metrics.items():
                require(
                    isinstance(value, torch.Tensor) and value.ndim == 0,
                    f"metric {name!r} is {_form(value)}, not a 0-d tensor; average it, and leave it on the device",
                )
                require(
                    not value.requires_grad,
                    f"metric {name!r} is not detached, so it holds the step's graph in memory; add .detach()",
                )
                require(bool(torch.isfinite(value)), f"metric {name!r} is {float(value)} at {text}")
        kept = trainer.result()
        require(tuple(kept.output.shape) == shape, f"what is kept makes {kept.output.shape}, not {shape}")
        for name, tensor in kept.state_dict().items():
            require(bool(torch.isfinite(tensor).all()), f"{name} is not finite after two steps at {text}")


def _form(value: object) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__


@check("moves", "trainer")
def moves(bench: Bench, model_id: str) -> None:
    """A few steps move every trainable tensor of the generator, and of what is kept."""
    few, more = MOVE_STEPS
    data = bench.data(model_id)
    trainer, engine = bench.make(model_id, data.info)
    before = {n: p.detach().clone() for n, p in trainer.generator.named_parameters() if p.requires_grad}
    require(bool(before), "nothing of its generator is trainable")
    bench.steps(trainer, engine, data, 0, few)
    if any(_still(network, before) for network in (trainer.generator, trainer.result())):
        bench.steps(trainer, engine, data, few, few + more)
    for what, network, advice in (
        ("the generator", trainer.generator, "is its gradient cut off, or is it missing from the optimizer?"),
        ("what is kept", trainer.result(), "is its average ever updated?"),
    ):
        still = _still(network, before)
        names = f"{', '.join(still[:3])}{' and others' if len(still) > 3 else ''}"
        require(not still, f"{what}: {names} stays as it was for {few + more} steps; {advice}")


def _still(network: torch.nn.Module, before: Mapping[str, torch.Tensor]) -> list[str]:
    """The parameters that are as they were."""
    now = dict(network.named_parameters())
    return [name for name, tensor in before.items() if name in now and torch.equal(now[name], tensor)]


@check("learns", "trainer")
def learns(bench: Bench, model_id: str) -> None:
    """Trained on a tiny real set, its samples come to under half the distance to held-back real ones that they
    had untrained, and differ from each other. Where there is no time for 500 steps, less is asked."""
    from aigc_core.sampling.draw import sample
    from aigc_core.training.job import Trained, train

    spec = bench.registry.models[model_id]
    modality, (name, size) = spec.data.modality, bench.source(model_id)
    sampler = next((n for n, s in spec.samplers.items() if not s.needs), None)
    if sampler is None:
        return
    options = _batch(bench, model_id)
    still = options | _least(bench, model_id)

    def trained(name_: str, steps: int, options: Mapping[str, Any]) -> Trained:
        return train(
            model_id, name, size=size, steps=steps, options=options, name=name_, registry=bench.registry
        )

    first = trained("untrained", 1, still)
    pace = trained("probe", 10, options).seconds / 10
    steps = max(20, min(LEARN_STEPS, int(LEARN_SECONDS / pace)))
    last = trained("learnt", steps, options)
    share = steps / LEARN_STEPS
    real = _real(bench, model_id, bench.trained(model_id).output)
    drawn = [
        sample(done.path, count=512 if modality == "image" else 64, sampler=sampler, registry=bench.registry)
        for done in (first, last)
    ]
    arrays = [samples.array for samples in drawn if samples is not None]
    before, after = (distance(modality, array, real) for array in arrays)
    told = f"{steps} steps bring its samples from distance {before:.3g} to {after:.3g} of real ones"
    advice = "does its optimizer step, and is the sign of its loss right?"
    require(after < 0.5**share * before, f"it does not learn: {told}, not under {0.5**share:.0%}; {advice}")
    alike, unlike = spread(modality, arrays[1]), spread(modality, real)
    require(
        alike > 0.4 * share * unlike,
        f"all its samples look alike: after {steps} steps their spread is {alike:.3g}, that of real ones {unlike:.3g}",
    )


def _batch(bench: Bench, model_id: str) -> dict[str, Any]:
    """At most 64 items a step: a tiny set has few."""
    default = bench.model(model_id).trainer_config.model_validate({}).batch_size
    return {"batch_size": min(default, 64)}


def _least(bench: Bench, model_id: str) -> dict[str, Any]:
    """A learning rate that teaches nothing, where the options allow it."""
    from aigc_core.errors import UsageError
    from aigc_core.options import parse

    try:
        parse({"training": bench.model(model_id).trainer_config}, {"lr": 1e-9}, model_id)
    except UsageError:
        return {}
    return {"lr": 1e-9}


def _real(bench: Bench, model_id: str, output: Output) -> Any:
    """Half of the tiny set, as samples are; all of it where there is little."""
    data = bench.data(model_id)
    return as_samples(data, torch.arange(len(data) // 2 if len(data) > 1000 else 0, len(data)), output)


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
        if not (torch.equal(x, y) if both and x is not None and y is not None else x == y):
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
    for sampler in bench.model(model_id).spec.samplers:
        a, b = (bench.draw(model_id, sampler, generator) for generator in (kept, loaded))
        told = (
            f"loaded again, sampler {sampler} gives other samples: something that they depend on is not in "
        )
        require(torch.equal(a, b), f"{told}the file (a plain attribute, or a buffer that is not persistent)")


@check("precision", "trainer")
def precision(bench: Bench, model_id: str) -> None:
    """It trains and samples in bfloat16 as in float32."""
    data = bench.data(model_id)
    trainer, engine = bench.make(model_id, data.info, half=True)
    advice = "cast where torch does not (`.float()`, `.to(x.dtype)`)"
    with doing(f"a step fails in bfloat16; {advice}"):
        told = bench.steps(trainer, engine, data, 0, 3)
    for metrics in told:
        for name, value in metrics.items():
            require(bool(torch.isfinite(value)), f"metric {name!r} is {float(value)} in bfloat16")
    for name, tensor in trainer.result().state_dict().items():
        require(
            bool(torch.isfinite(tensor.float()).all()), f"{name} is not finite after three steps in bfloat16"
        )
    kept = trainer.result().eval().requires_grad_(False)
    for sampler in bench.model(model_id).spec.samplers:
        with doing(f"sampler {sampler} fails in bfloat16; {advice}"), torch.autocast("cpu", torch.bfloat16):
            values = bench.draw(model_id, sampler, kept)
        require(
            bool(torch.isfinite(values.float()).all()),
            f"sampler {sampler} gives what is not finite in bfloat16",
        )


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
    for name in ("backends", "models", "datasets", "dataset_backends", "metrics", "metric_backends"):
        getattr(registry, name).update(getattr(bench.registry, name))
    listening = Backend("check-listener", "aigc-core", "", "", 1, hooks={"aigc_on_event": listener})
    registry.backends[listening.name] = listening
    return registry


@check("bfloat16-weights", "trainer")
def bfloat16_weights(bench: Bench, model_id: str) -> None:
    """If it declares `bfloat16-weights`, its samplers work with a generator whose weights are bfloat16, and draw
    much the same."""
    if "bfloat16-weights" not in bench.registry.models[model_id].capabilities:
        return
    generator: Generator[Any] = _copy(bench, model_id).to(torch.bfloat16)
    for sampler in bench.model(model_id).spec.samplers:
        with (
            doing(f"sampler {sampler} fails with bfloat16 weights; mend that, or do not declare them"),
            torch.autocast("cpu", torch.bfloat16),
        ):
            values = bench.draw(model_id, sampler, generator).float()
        told = f"sampler {sampler} with bfloat16 weights gives"
        require(bool(torch.isfinite(values).all()), f"{told} what is not finite")
        if generator.output.modality != "text":
            usual = bench.draw(model_id, sampler, bench.trained(model_id)).float()
            off = float((values - usual).abs().mean()) / (generator.output.high - generator.output.low)
            require(
                off <= 0.1,
                f"{told} other samples: {off:.0%} of the range off; is a table or a clock in them?",
            )


def _copy(bench: Bench, model_id: str) -> Generator[Any]:
    copy = bench.build(model_id, bench.data(model_id).info)
    copy.load_state_dict(bench.trained(model_id).state_dict())
    return copy.eval().requires_grad_(False)
