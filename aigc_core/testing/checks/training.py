"""How a model is trained: every part moves, nothing is forgotten, the same seed is the same run."""

from __future__ import annotations

import math
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
from aigc_core.testing.kit import Failed, check, require
from aigc_core.testing.material import (
    SETS,
    as_samples,
    distance,
    info_of,
    random_items,
    shapes,
    spread,
)
from aigc_core.testing.subject import BATCH, Bench
from aigc_core.weights.file import encode, load

if TYPE_CHECKING:
    from aigc_core.events import Event
    from aigc_core.interfaces import Generator
    from aigc_core.specs import Output

LEARN_STEPS, LEARN_SECONDS = 500, 45.0
"""How long a model may learn: as many steps, or as long, whichever ends first."""


@check("step", "trainer")
def step(bench: Bench, model_id: str) -> None:
    """A step runs at every size that it declares; its metrics are detached, finite scalars."""
    spec = bench.registry.models[model_id]
    for shape in shapes(spec.data):
        if math.prod(shape) > 1 << 15:
            continue
        data = random_items(info_of(spec.data.modality, shape))
        trainer, engine = bench.make(model_id, data.info)
        text = "x".join(map(str, shape))
        for metrics in bench.steps(trainer, engine, data, 0, 2):
            require(bool(metrics), "a step returns no metrics; return at least its loss")
            for name, value in metrics.items():
                require(
                    isinstance(value, torch.Tensor) and value.ndim == 0, f"metric {name!r} is no 0-d tensor"
                )
                require(
                    not value.requires_grad,
                    f"metric {name!r} is not detached: it holds the step's graph in memory",
                )
                require(bool(torch.isfinite(value)), f"metric {name!r} is {float(value)} at {text}")
        kept = trainer.result()
        require(tuple(kept.output.shape) == shape, f"what is kept makes {kept.output.shape}, not {shape}")
        for name, tensor in kept.state_dict().items():
            require(bool(torch.isfinite(tensor).all()), f"{name} is not finite after two steps at {text}")


@check("moves", "trainer")
def moves(bench: Bench, model_id: str) -> None:
    """A few steps move every trainable tensor of the generator, and of what is kept."""
    data = bench.data(model_id)
    trainer, engine = bench.make(model_id, data.info)
    before = {n: p.detach().clone() for n, p in trainer.generator.named_parameters() if p.requires_grad}
    require(bool(before), "nothing of its generator is trainable")
    bench.steps(trainer, engine, data, 0, 5)
    for what, network in (("generator", trainer.generator), ("what is kept", trainer.result())):
        now = dict(network.named_parameters())
        still = [name for name, tensor in before.items() if torch.equal(now[name], tensor)]
        require(
            not still, f"{what}: {', '.join(still[:3])} does not move in five steps; is a gradient cut off?"
        )


@check("learns", "trainer")
def learns(bench: Bench, model_id: str) -> None:
    """Trained on a tiny real set, its samples come to under half the distance to held-back real ones that they
    had untrained, and differ from each other."""
    from aigc_core.sampling.draw import sample
    from aigc_core.training.job import train

    spec = bench.registry.models[model_id]
    modality, name = spec.data.modality, SETS[spec.data.modality]
    sampler = next((n for n, s in spec.samplers.items() if not s.needs), None)
    if sampler is None:
        return
    started = time.perf_counter()
    first = train(model_id, name, steps=1, options={"lr": 1e-9}, name="untrained", registry=bench.registry)
    probe = train(model_id, name, steps=10, name="probe", registry=bench.registry)
    pace = (time.perf_counter() - started) / 11
    steps = max(20, min(LEARN_STEPS, int(LEARN_SECONDS / pace)))
    last = train(model_id, name, steps=steps, options=_batch(bench, model_id), name="learnt",
                 registry=bench.registry)  # fmt: skip
    del probe
    real = _real(bench, model_id, bench.trained(model_id).output)
    drawn = [
        sample(done.path, count=512 if modality == "image" else 64, sampler=sampler, registry=bench.registry)
        for done in (first, last)
    ]
    arrays = [samples.array for samples in drawn if samples is not None]
    before, after = (distance(modality, array, real) for array in arrays)
    told = f"{steps} steps bring its samples from distance {before:.3g} to {after:.3g} of real ones"
    require(after < 0.5 * before, f"{told}: it does not learn")
    alike, unlike = spread(modality, arrays[1]), spread(modality, real)
    require(alike > 0.4 * unlike, f"all its samples look alike: spread {alike:.3g}, real ones {unlike:.3g}")


def _batch(bench: Bench, model_id: str) -> dict[str, Any]:
    """At most 64 items a step: a tiny set has few."""
    default = bench.model(model_id).trainer_config.model_validate({}).batch_size
    return {"batch_size": min(default, 64)}


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
        found.append({n: t.clone() for n, t in trainer.result().state_dict().items()})
    require(_same(found[0], found[1]),
            f"two runs of one seed differ in {_first_difference(found[0], found[1])}; draw by engine.randn or torch")  # fmt: skip
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
            f"{what} differs after a resume, in {_first_difference(a, b)}; is it in state_dict()?",
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
    loaded = load(file, bench.registry).generator
    require(loaded.config == kept.config, f"its config changes: {kept.config} is loaded as {loaded.config}")
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
    for metrics in bench.steps(trainer, engine, data, 0, 3):
        for name, value in metrics.items():
            require(bool(torch.isfinite(value)), f"metric {name!r} is {float(value)} in bfloat16")
    for name, tensor in trainer.result().state_dict().items():
        require(
            bool(torch.isfinite(tensor.float()).all()), f"{name} is not finite after three steps in bfloat16"
        )
    kept = trainer.result().eval().requires_grad_(False)
    for sampler in bench.model(model_id).spec.samplers:
        with torch.autocast("cpu", torch.bfloat16):
            values = bench.draw(model_id, sampler, kept)
        require(
            bool(torch.isfinite(values.float()).all()),
            f"sampler {sampler} gives what is not finite in bfloat16",
        )


@check("cancels", "trainer")
def cancels(bench: Bench, model_id: str) -> None:
    """Ctrl-C stops a training at the next step; the same call goes on from there to the same weights. Nothing
    else is left behind: no thread, no unfinished file."""
    from aigc_core.training.job import train

    if threading.current_thread() is not threading.main_thread():
        return
    data = SETS[bench.registry.models[model_id].data.modality]
    threads = set(threading.enumerate())
    options = {"batch_size": BATCH}

    def stop(event: Event) -> None:
        if event.kind == "train.log" and event.data["step"] == 25:
            signal.raise_signal(signal.SIGINT)

    try:
        train(model_id, data, steps=35, options=options, name="cancelled", registry=_listening(bench, stop))
    except InterruptedRun:
        pass
    else:
        raise Failed("Ctrl-C is not heard; leave the signal handlers alone")
    left = [
        t.name
        for t in set(threading.enumerate()) - threads
        if t.is_alive() and not t.name.startswith("asyncio")
    ]
    require(not left, f"a cancelled training leaves threads behind: {', '.join(left)}")
    halves = train(model_id, data, steps=35, options=options, name="cancelled", registry=bench.registry)
    whole = train(model_id, data, steps=35, options=options, name="uncancelled", registry=bench.registry)
    require(
        0 < halves.resumed_at < 35, f"it did not go on from the checkpoint, but from step {halves.resumed_at}"
    )
    require(halves.record["tensors_digest"] == whole.record["tensors_digest"],
            "cancelled and resumed, it ends with other weights than uninterrupted")  # fmt: skip
    partial = list(bench.folder.rglob("*.partial"))
    require(not partial, f"unfinished files are left: {', '.join(p.name for p in partial)}")


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
    """If it declares `bfloat16-weights`, its samplers work with a generator whose weights are bfloat16."""
    if "bfloat16-weights" not in bench.registry.models[model_id].capabilities:
        return
    generator: Generator[Any] = _copy(bench, model_id).to(torch.bfloat16)
    for sampler in bench.model(model_id).spec.samplers:
        with torch.autocast("cpu", torch.bfloat16):
            values = bench.draw(model_id, sampler, generator)
        require(bool(torch.isfinite(values.float()).all()), f"sampler {sampler} fails with bfloat16 weights")


def _copy(bench: Bench, model_id: str) -> Generator[Any]:
    copy = bench.build(model_id, bench.data(model_id).info)
    copy.load_state_dict(bench.trained(model_id).state_dict())
    return copy.eval().requires_grad_(False)
