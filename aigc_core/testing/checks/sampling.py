"""How a model is sampled: sample i of a seed is one thing, whatever is around it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aigc_core.backends import failure
from aigc_core.errors import UsageError
from aigc_core.interfaces import Block, Generator, Sampler
from aigc_core.modality import modality
from aigc_core.registry import Model
from aigc_core.testing.kit import Failed, check, doing, require, same
from aigc_core.testing.subject import Bench

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.specs import Output

LOUDEST = 10.0
"""How far beyond its range a sound may go, in half ranges: it is scaled down as it is kept. What is louder than that is
of another unit."""


@check("output", "sampler")
def output(bench: Bench, model_id: str, sampler: str) -> None:
    """Its samples have the shape and the range that the generator declares, and are finite, but for what follows the end
    of a sound. A part that an option may name is left out if none is named, or asked for by a UsageError."""
    generator = bench.trained(model_id)
    declared = generator.output
    values = bench.draw(model_id, sampler, generator)
    block = bench.model(model_id).sampler_spec(sampler)[1].block
    require(
        len(values) == block and declared.fits(tuple(values.shape[1:])),
        f"gives {tuple(values.shape)}, not {(block, *declared.shape)}",
    )
    require(not values.requires_grad, "its samples hold a graph")
    require(bool(torch.isfinite(sounding(values, declared).float()).all()), "its samples are not finite")
    problem = modality(declared.modality).problem(values, declared)
    require(not problem, f"gives {problem}")
    values = sounding(values, declared)
    least, most = (0, 255) if declared.modality == "text" else (declared.low, declared.high)
    low, high = float(values.min()), float(values.max())
    room = (LOUDEST - 1) / 2 * (most - least) if declared.modality == "audio" else 1e-3 * (most - least)
    said = f"{least:g} .. {most:g}"
    inside = least - room <= low and high <= most + room
    require(inside, f"its samples lie in {low:.3g} .. {high:.3g}, but its output declares {said}")
    spec = bench.model(model_id).sampler_spec(sampler)[1]
    if spec.parts:
        kind, options = bench.model(model_id).sampler(sampler), bench.model(model_id).sampler_config(sampler)
        asked = f"where its options name no {' and no '.join(spec.parts)}, it fails; do without, or raise a UsageError"
        with doing(asked), contextlib.suppress(UsageError):
            bench.draw(model_id, sampler, generator, by=kind(options()), parts={})


def sounding(values: Tensor, output: Output) -> Tensor:
    """Values with 0 for the NaN that follow the end of sounds of any length."""
    return values.nan_to_num(posinf=float("inf"), neginf=float("-inf")) if is_ragged(output) else values


def is_ragged(output: Output) -> bool:
    """Whether the samples are sounds of any length."""
    return output.modality == "audio" and output.shape[-1] == -1


@check("sample-independent", "sampler")
def sample_independent(bench: Bench, model_id: str, sampler: str) -> None:
    """Sample i of a seed is the same, whatever was drawn before and whatever other random streams hold; another
    seed gives others."""
    generator = bench.trained(model_id)
    one = bench.sampler(model_id, sampler)  # as in use, where one draws all the blocks

    def draw(start: int, noise: int, seed: int = 3) -> Tensor:
        torch.manual_seed(noise), random.seed(noise), np.random.seed(noise)
        return bench.draw(model_id, sampler, generator, start=start, seed=seed, by=one)

    def alike(a: Tensor, b: Tensor) -> bool:
        return _alike(a, b, generator)

    with torch.random.fork_rng():
        block = bench.model(model_id).sampler_spec(sampler)[1].block
        first = draw(0, 1)
        second = draw(block, 2)
        require(same(draw(0, 3), first), "the same block comes out otherwise the second time: draw from the block alone, "
                "not from torch's or numpy's random state")  # fmt: skip
        require(same(draw(block, 4), second), "a block depends on what was drawn before it; keep no state")
        spec = bench.model(model_id).sampler_spec(sampler)[1]
        if not spec.random:
            require(
                same(draw(0, 1, seed=4), first),
                "another seed gives other samples, though it declares random=False",
            )
        elif not spec.needs:
            require(not alike(draw(0, 1, seed=4), first), "another seed gives the same samples")
            require(not alike(first, second), "all blocks are the same")
            require(
                block == 1
                or bool((sounding(first, generator.output) != sounding(first, generator.output)[:1]).any()),
                "all samples of a block are the same; draw from the block's streams, a row a sample",
            )


def _alike(a: Tensor, b: Tensor, generator: Generator[Any]) -> bool:
    """Whether samples are the same; not a number is nothing like itself, but for what follows the end of a sound."""
    return torch.equal(sounding(a, generator.output), sounding(b, generator.output))


@check("neighbours", "sampler")
def neighbours(bench: Bench, model_id: str, sampler: str) -> None:
    """Sample i depends on its own index, not on its neighbours: in blocks of another size it is the same, but
    for rounding."""
    generator = bench.trained(model_id)
    block = bench.model(model_id).sampler_spec(sampler)[1].block
    count = min(block, 8)
    parts = [bench.draw(model_id, sampler, generator, start=i, size=2) for i in range(0, count, 2)]
    many, *parts = _as_long([bench.draw(model_id, sampler, generator)[:count], *parts], generator.output)
    fewer = torch.cat(parts)[:count].float()
    many = many.float()
    room = 1e-3 * (generator.output.high - generator.output.low)
    close = torch.isclose(many, fewer, rtol=1e-3, atol=room, equal_nan=True)
    if is_ragged(generator.output):
        close = close[~(many.isnan() & fewer.isnan())]
    share = float(close.float().mean())
    # One token, or one sound's end, that rounding tips changes the rest.
    need = 0.9 if generator.output.modality == "text" or is_ragged(generator.output) else 0.999
    require(share >= need, f"in blocks of 2, {1 - share:.1%} of the values differ from those in blocks of {block}: "
            "do rows see each other (batch statistics, a mean over the batch), or is the place in the block used "
            "instead of the index?")  # fmt: skip


def _as_long(parts: list[Tensor], output: Output) -> list[Tensor]:
    """Texts [n, L] filled up with zeros to the longest, and sounds of any length with NaN; the rest as it is."""
    if parts[0].ndim != 2 and not is_ragged(output):
        return parts
    longest, end = max(part.shape[-1] for part in parts), float("nan") if is_ragged(output) else 0
    return [torch.nn.functional.pad(part, (0, longest - part.shape[-1]), value=end) for part in parts]


@check("leaves-no-trace", "sampler")
def leaves_no_trace(bench: Bench, model_id: str, sampler: str) -> None:
    """Sampling changes neither the generator, nor the random streams, nor torch's settings."""
    generator = bench.trained(model_id)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    mode, stream, settings = generator.training, torch.get_rng_state(), _settings()
    numpy_state = np.random.get_state()[1].tobytes()  # type: ignore[index]
    python_state = random.getstate()
    bench.draw(model_id, sampler, generator)
    changed = [name for name, tensor in generator.state_dict().items() if not same(tensor, before[name])]
    advice = "leave it in evaluation mode, and write to none of its tensors"
    require(not changed, f"sampling changes {', '.join(changed[:3])} of the generator; {advice}")
    require(generator.training is mode, f"sampling leaves the generator in another mode; {advice}")
    streams = torch.equal(stream, torch.get_rng_state()) and python_state == random.getstate()
    untouched = streams and numpy_state == np.random.get_state()[1].tobytes()  # type: ignore[index]
    require(untouched, "sampling draws from torch's, numpy's or Python's random state; draw from the block")
    after = _settings()
    other = [name for name, value in settings.items() if after[name] != value]
    require(not other, f"sampling changes {', '.join(other)} for the whole process")


def _settings() -> dict[str, object]:
    """What a process has one of."""
    return {
        "torch's number of threads": torch.get_num_threads(),
        "whether torch keeps gradients": torch.is_grad_enabled(),
        "torch's default type": torch.get_default_dtype(),
        "whether torch insists on deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the precision of torch's products": torch.get_float32_matmul_precision(),
        "what Ctrl-C does": signal.getsignal(signal.SIGINT),
        "the current folder": os.getcwd(),
    }


@check("conditions", "sampler")
def conditions(bench: Bench, model_id: str, sampler: str) -> None:
    """What it declares to be conditioned on changes its samples."""
    generator = bench.trained(model_id)
    model = bench.model(model_id)
    spec = model.sampler_spec(sampler)[1]
    block = spec.block
    if "label" in {*spec.needs, *model.spec.conditions} and len(generator.data.classes) > 1:
        with _unless_without(spec.needs):
            a, b = (bench.draw(model_id, sampler, generator, labels=torch.full((block,), k)) for k in (0, 1))
            require(
                not _alike(a, b, generator),
                "it declares to be conditioned on labels, but they change nothing",
            )
    if "prompt" in {*spec.needs, *model.spec.conditions}:
        texts = bench.prompts(generator.data)[:2]
        a, b = (bench.draw(model_id, sampler, generator, prompts=(text,) * block) for text in texts)
        require(not same(a, b), "it declares to be conditioned on prompts, but they change nothing")
    for need, name, what in (("image", "images", "pictures"), ("sound", "sounds", "sounds")):
        if need in spec.needs:
            given, other = (
                {name: getattr(bench.block(model_id, sampler, generator, 3, start, block), name)}
                for start in (0, block)
            )
            a, b = (bench.draw(model_id, sampler, generator, **items) for items in (given, other))
            require(not _alike(a, b, generator), f"it needs {what}, but they change nothing")
    if "mask" in {*spec.needs, *spec.takes}:
        _check_masks(bench, model_id, sampler, generator)


def _check_masks(bench: Bench, model_id: str, sampler: str, generator: Generator[Any]) -> None:
    asked = bench.block(
        model_id, sampler, generator, 3, 0, bench.model(model_id).sampler_spec(sampler)[1].block
    )
    images, masks = asked.images, asked.masks
    require(images is not None, "takes masks, but not the pictures that they are of: it needs image too")
    assert images is not None
    assert masks is not None
    drawn = bench.draw(model_id, sampler, generator)
    kept = (masks == 0).expand_as(images)
    require(same(drawn[kept], images[kept]), "a mask is to keep what is black, but its pixels are changed")
    require(not same(drawn, images), "a mask is to have what is white filled in, but nothing is")
    if "mask" not in bench.model(model_id).sampler_spec(sampler)[1].needs:
        with doing("it may be given a mask, but without one it fails"):
            bench.draw(model_id, sampler, generator, masks=None)


@contextlib.contextmanager
def _unless_without(needs: tuple[str, ...]) -> Iterator[None]:
    """Within the block a generator may say that it was made without classes, where a sampler does not need them."""
    try:
        yield
    except UsageError:
        if "label" in needs:
            raise


class _Countdown(torch.overrides.TorchFunctionMode):
    """Counts what torch is asked for; is Ctrl-C at the n-th time."""

    def __init__(self, n: int = 0) -> None:
        super().__init__()
        self.seen, self.n = 0, n

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        if self.seen == self.n:
            raise KeyboardInterrupt
        return func(*args, **(kwargs or {}))


@dataclasses.dataclass(frozen=True)
class _Timed(Model):
    """A model whose samplers run under a countdown."""

    countdown: _Countdown

    def sampler(self, name: str) -> type[Sampler[Any, Any]]:
        kind, countdown = Model.sampler(self, name), self.countdown

        class Timed(kind):  # type: ignore[misc, valid-type]
            def sample(self, generator: Generator[Any], block: Block) -> Tensor:
                with countdown:
                    values: Tensor = kind.sample(self, generator, block)
                return values

        return Timed


@check("stops", "sampler")
def stops(bench: Bench, model_id: str, sampler: str) -> None:
    """Ctrl-C ends a sampling at once, wherever it falls, and no file is left behind."""
    from aigc_core.sampling.draw import sample
    from aigc_core.weights.file import Weights

    model = bench.model(model_id)
    spec = model.sampler_spec(sampler)[1]
    if spec.needs or spec.parts:
        return
    generator = bench.trained(model_id)
    record = dict.fromkeys(("model", "tensors_digest", "license", "core", "backend"), "check")
    out = bench.folder / "stopped"
    out.mkdir(exist_ok=True)

    def draw(countdown: _Countdown) -> None:
        timed = _Timed(model.spec, model.backend, countdown)
        weights = Weights(
            generator, timed, record, bench.folder, torch.device("cpu"), fitted=bench.fitted(model_id)
        )
        ending = next(iter(modality(generator.output.modality).endings))
        with bench.isolated():  # the ledger of the user is not to know of this
            sample(
                weights, count=2, block=2, sampler=sampler, out=out / f"x{ending}", registry=bench.registry
            )

    whole = _Countdown()
    draw(whole)
    for file in out.iterdir():
        file.unlink()
    for n in sorted({1, (whole.seen + 1) // 2, whole.seen} - {0}):
        try:
            with contextlib.chdir(out):
                draw(_Countdown(n))
        except KeyboardInterrupt:
            pass
        except Exception as error:
            raise Failed(f"Ctrl-C while it samples becomes {failure(error)}; let it pass") from error
        else:
            raise Failed("Ctrl-C while it samples is swallowed; catch Exception, never KeyboardInterrupt")
        left = sorted(str(file.relative_to(out)) for file in out.rglob("*"))
        require(
            not left,
            f"a stopped sampling leaves files behind: {', '.join(left)}; the core writes the samples",
        )
