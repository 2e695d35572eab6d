"""How a model is trained: every step works, every part moves, it learns."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aigc_core.testing.checks.sampling import sounding
from aigc_core.testing.kit import check, doing, require, same
from aigc_core.testing.material import as_samples, distance, spread
from aigc_core.testing.subject import Bench

if TYPE_CHECKING:
    from aigc_core.interfaces import Generator
    from aigc_core.specs import Output

LEARN_STEPS, LEARN_SECONDS = 500, 45.0
"""How long a model may learn: as many steps, or as long, whichever ends first; fewer steps must teach it less."""

MOVE_STEPS = (5, 20)
"""Within how many steps every tensor must have moved: mostly few do, but some are trained every n-th step only."""


@check("step", "trainer")
def step(bench: Bench, model_id: str) -> None:
    """A step runs at every size that it declares; its metrics are detached, finite scalars."""
    for shape in bench.shapes(model_id):
        if math.prod(shape) > 1 << 15:
            continue
        data = bench.items(model_id, shape)
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
        require(kept.output.fits(shape), f"what is kept makes {kept.output.shape}, not {shape}")
        for name, tensor in kept.state_dict().items():
            require(bool(torch.isfinite(tensor).all()), f"{name} is not finite after two steps at {text}")


@check("shows", "trainer")
def shows(bench: Bench, model_id: str) -> None:
    """If its trainer shows the samples of a step, they are as many as the batch, detached, and in the range of the
    output: a collapse of training is told by them."""
    data = bench.data(model_id)
    trainer, engine = bench.make(model_id, data.info)
    bench.steps(trainer, engine, data, 0, 2)
    samples = trainer.samples()
    if samples is None:
        return
    output, size = trainer.generator.output, bench.batch_size(model_id)
    require(isinstance(samples, torch.Tensor), f"samples() gives {_form(samples)}, not a tensor or None")
    require(
        samples.ndim > 1 and len(samples) == size and output.fits(tuple(samples.shape[1:])),
        f"samples() gives {tuple(samples.shape)}, not {(size, *output.shape)}: those of the last step",
    )
    require(
        not samples.requires_grad, "samples() is not detached, so it holds the step's graph; add .detach()"
    )
    if output.modality != "text":
        low, high = float(samples.float().min()), float(samples.float().max())
        margin = (output.high - output.low) * 0.05
        require(
            output.low - margin <= low and high <= output.high + margin,
            f"samples() lie in {low:.3g} .. {high:.3g}, not in the output's {output.low:g} .. {output.high:g}",
        )


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


@check("fitted", "trainer")
def fitted(bench: Bench, model_id: str) -> None:
    """What it keeps for samplers is there for each that declares it, the same each time, and changes nothing."""
    declared = {name for name, s in bench.registry.models[model_id].samplers.items() if s.fitted}
    data = bench.data(model_id)
    trainer, engine = bench.make(model_id, data.info)
    bench.steps(trainer, engine, data, 0, 2)
    generator = trainer.result()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise), np.random.seed(noise), random.seed(noise)
        found.append(bench.fit_samplers(model_id, trainer, generator, data))
    missing = sorted(declared - set(found[0]))
    require(not missing, f"keeps nothing for {', '.join(missing)}, which declares fitted=True")
    for sampler, parts in found[0].items():
        again = found[1].get(sampler, {})
        unlike = [
            n for n in {*parts, *again} if n not in parts or n not in again or not same(parts[n], again[n])
        ]
        require(
            not unlike,
            f"what it keeps for {sampler} ({', '.join(sorted(unlike))}) comes out otherwise the second time: "
            "draw from the seed that it is given, or from torch's stream, which follows from that",
        )
    changed = [name for name, tensor in generator.state_dict().items() if not same(tensor, before[name])]
    require(not changed, f"what it keeps for samplers changes {', '.join(changed[:3])} of the generator")


@check("learns", "trainer")
def learns(bench: Bench, model_id: str) -> None:
    """Trained on a tiny real set, its samples come to under half the distance to held-back real ones that they
    had untrained, and differ from each other. Where there is no time for 500 steps, less is asked."""
    from aigc_core.sampling.draw import sample
    from aigc_core.training.job import Trained, train

    spec = bench.registry.models[model_id]
    modality, (name, size) = spec.data.modality, bench.source(model_id)
    sampler = next((n for n, s in spec.samplers.items() if not s.needs and not s.fitted), None)
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
    from aigc_core.data.sources import open_data

    name, size = bench.source(model_id)
    data = open_data(name, bench.registry, size=size)  # of what takes tokens, the text itself
    return as_samples(data, torch.arange(len(data) // 2 if len(data) > 1000 else 0, len(data)), output)


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
            bool(torch.isfinite(sounding(values, kept.output).float()).all()),
            f"sampler {sampler} gives what is not finite in bfloat16",
        )


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


@check("int8-weights", "model")
def int8_weights(bench: Bench, model_id: str) -> None:
    """If it declares `int8-weights`, it has a form of 8 bits that its samplers work with and a weights file keeps, of
    at most half the bytes."""
    if "int8-weights" not in bench.registry.models[model_id].capabilities:
        return
    usual = bench.trained(model_id)
    with doing("as_int8() fails; write it, or do not declare int8-weights"):
        small = usual.as_int8().eval().requires_grad_(False)
    require(
        small.config.model_dump().get("weights") == "int8",
        "the config of its form of 8 bits has not weights='int8'",
    )
    sizes = [sum(t.nbytes for t in g.state_dict().values()) for g in (usual, small)]
    require(
        2 * sizes[1] <= sizes[0], f"its form of 8 bits has {sizes[1]:,} bytes, the usual one {sizes[0]:,}"
    )
    with doing("a generator of weights='int8' can't take the tensors of as_int8()"):
        again = bench.model(model_id).generator(small.config, small.data).eval().requires_grad_(False)
        again.load_state_dict(small.state_dict(), assign=True)
    for sampler in bench.model(model_id).spec.samplers:
        with doing(f"sampler {sampler} fails with weights of 8 bits"):
            a, b = (bench.draw(model_id, sampler, generator) for generator in (small, again))
        require(same(a, b), f"sampler {sampler} gives other samples once weights of 8 bits were loaded again")


def _copy(bench: Bench, model_id: str) -> Generator[Any]:
    copy = bench.build(model_id, bench.data(model_id).info)
    copy.load_state_dict(bench.trained(model_id).state_dict())
    return copy.eval().requires_grad_(False)
