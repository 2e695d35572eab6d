"""How a model is sampled: sample i of a seed is one thing, whatever is around it."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import numpy as np
import torch

from aigc_core.testing.kit import check, require
from aigc_core.testing.subject import Bench

if TYPE_CHECKING:
    from torch import Tensor


@check("output", "sampler")
def output(bench: Bench, model_id: str, sampler: str) -> None:
    """Its samples have the shape and the range that the generator declares, and are finite."""
    generator = bench.trained(model_id)
    declared = generator.output
    values = bench.draw(model_id, sampler, generator)
    block = bench.model(model_id).sampler_spec(sampler)[1].block
    require(
        tuple(values.shape) == (block, *declared.shape),
        f"gives {tuple(values.shape)}, not {(block, *declared.shape)}",
    )
    require(not values.requires_grad, "its samples hold a graph")
    require(bool(torch.isfinite(values.float()).all()), "its samples are not finite")
    low, high = float(values.min()), float(values.max())
    room = 1e-3 * (declared.high - declared.low)
    said = f"{declared.low:g} .. {declared.high:g}"
    inside = declared.low - room <= low and high <= declared.high + room
    require(inside, f"its samples lie in {low:.3g} .. {high:.3g}, but its output declares {said}")


@check("sample-independent", "sampler")
def sample_independent(bench: Bench, model_id: str, sampler: str) -> None:
    """Sample i of a seed is the same, whatever was drawn before and whatever other random streams hold; another
    seed gives others."""
    generator = bench.trained(model_id)

    def draw(start: int, noise: int, seed: int = 3) -> Tensor:
        torch.manual_seed(noise), random.seed(noise), np.random.seed(noise)
        return bench.draw(model_id, sampler, generator, start=start, seed=seed)

    with torch.random.fork_rng():
        block = bench.model(model_id).sampler_spec(sampler)[1].block
        first = draw(0, 1)
        second = draw(block, 2)
        require(torch.equal(draw(0, 3), first), "the same block comes out otherwise the second time: draw from the block alone, "
                "not from torch's or numpy's random state")  # fmt: skip
        require(
            torch.equal(draw(block, 4), second), "a block depends on what was drawn before it; keep no state"
        )
        if not bench.model(model_id).sampler_spec(sampler)[1].needs:
            require(not torch.equal(draw(0, 1, seed=4), first), "another seed gives the same samples")
            require(not torch.equal(first, second), "all blocks are the same")
            require(not torch.equal(first[0], first[1]), "all samples of a block are the same")


@check("neighbours", "sampler")
def neighbours(bench: Bench, model_id: str, sampler: str) -> None:
    """Sample i depends on its own index, not on its neighbours: in blocks of another size it is the same, but
    for rounding."""
    generator = bench.trained(model_id)
    block = bench.model(model_id).sampler_spec(sampler)[1].block
    count = min(block, 8)
    many = bench.draw(model_id, sampler, generator)[:count].float()
    fewer = torch.cat(
        [bench.draw(model_id, sampler, generator, start=i, size=2) for i in range(0, count, 2)]
    )[:count].float()
    same = torch.isclose(many, fewer, rtol=1e-3, atol=1e-3 * (generator.output.high - generator.output.low))
    share = float(same.float().mean())
    need = (
        0.9 if generator.output.modality == "text" else 0.999
    )  # one token that rounding tips changes the rest
    require(share >= need, f"in blocks of 2, {1 - share:.1%} of the values differ from those in blocks of {block}: "
            "do rows see each other (batch statistics), or is the place in the block used instead of the index?")  # fmt: skip


@check("leaves-no-trace", "sampler")
def leaves_no_trace(bench: Bench, model_id: str, sampler: str) -> None:
    """Sampling changes neither the generator, nor the random streams, nor torch's settings."""
    generator = bench.trained(model_id)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    mode, stream, threads = generator.training, torch.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].tobytes()  # type: ignore[index]
    python_state = random.getstate()
    bench.draw(model_id, sampler, generator)
    changed = [
        name for name, tensor in generator.state_dict().items() if not torch.equal(tensor, before[name])
    ]
    require(not changed, f"sampling changes {', '.join(changed[:3])} of the generator")
    require(generator.training is mode, "sampling leaves the generator in another mode")
    streams = torch.equal(stream, torch.get_rng_state()) and python_state == random.getstate()
    same = streams and numpy_state == np.random.get_state()[1].tobytes()  # type: ignore[index]
    require(same, "sampling draws from torch's, numpy's or Python's random state; draw from the block")
    require(
        threads == torch.get_num_threads() and torch.is_grad_enabled(), "sampling changes torch's settings"
    )


@check("conditions", "sampler")
def conditions(bench: Bench, model_id: str, sampler: str) -> None:
    """What it declares to be conditioned on changes its samples."""
    generator = bench.trained(model_id)
    model = bench.model(model_id)
    spec = model.sampler_spec(sampler)[1]
    block = spec.block
    if "label" in {*spec.needs, *model.spec.conditions} and len(generator.data.classes) > 1:
        a, b = (bench.draw(model_id, sampler, generator, labels=torch.full((block,), k)) for k in (0, 1))
        require(not torch.equal(a, b), "it declares to be conditioned on labels, but they change nothing")
    if "image" in spec.needs:
        given = bench.block(model_id, sampler, generator, 3, 0, block).images
        assert given is not None
        a, b = (bench.draw(model_id, sampler, generator, images=images) for images in (given, given.flip(0)))
        require(not torch.equal(a, b), "it needs pictures, but they change nothing")


@check("stops", "sampler")
def stops(bench: Bench, model_id: str, sampler: str) -> None:
    """A sampling that is stopped leaves no file behind."""
    from aigc_core.progress import Progress
    from aigc_core.registry import Model
    from aigc_core.sampling.draw import sample
    from aigc_core.weights.file import Weights

    model: Model = bench.model(model_id)
    spec = model.sampler_spec(sampler)[1]
    if spec.needs:
        return
    generator = bench.trained(model_id)
    names = ("model", "tensors_digest", "license", "core", "backend")
    weights = Weights(generator, model, dict.fromkeys(names, "check"), bench.folder, torch.device("cpu"))

    class Stopping(Progress):
        def __init__(self) -> None:
            super().__init__(False)

        def bar(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    out = bench.folder / "stopped"
    out.mkdir(exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        sample(weights, count=2, block=2, sampler=sampler, out=out / "x.npz", progress=Stopping())
    require(not list(out.iterdir()), "a stopped sampling leaves files behind")
