"""From weights and a request to samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aigc_core.errors import BackendError
from aigc_core.events import Event
from aigc_core.interfaces.sampler import Block
from aigc_core.modality import modality
from aigc_core.modality.stack import problem as picture_problem
from aigc_core.progress import Progress
from aigc_core.registry import Registry, blame, default
from aigc_core.sampling.notes import Notes
from aigc_core.sampling.request import Request, request

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output
    from aigc_core.weights.file import Weights


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples in memory, with the record of how they were made."""

    array: npt.NDArray[Any]
    """Pictures: uint8 [N, H, W, C]; sounds: float32 [N, C, T] in -1 .. 1, NaN after the end of one that is shorter than
    others; texts: `<U` [N]."""
    record: Mapping[str, Any]
    output: Output
    notes: Notes = field(default_factory=Notes)
    """By index, the facts that the record says too, and the pictures that the sampler gave."""

    def __len__(self) -> int:
        return len(self.array)

    def save(self, out: str | Path) -> None:
        """Writes them as `aigc sample --out` does. Raises UsageError or StorageError."""
        from aigc_core.sampling.writers import write

        record = {key: value for key, value in self.record.items() if key != "notes"}  # a file says its own
        write(out, iter([self.array]), self.output, record, self.notes)


def draw(
    request: Request, blocks: Iterable[int] | None = None, notes: Notes | None = None
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The samples of a request, a block's worth or less at a time: the first one's index, and [n, ...].

    blocks: the numbers of those to compute, in that order; by default all of `request.blocks`. notes: is given what the
    sampler notes and shows, before the samples that it is about are yielded.
    The arrays' types are those of `Samples.array`. Whole blocks are computed, whatever part of them is asked for.
    Raises BackendError where the sampler fails or returns what the generator's output does not describe.
    """
    weights = request.weights
    sampler = weights.model.sampler(request.sampler)(request.options)
    output = weights.generator.output
    kind = modality(output.modality)
    for number in request.blocks if blocks is None else blocks:
        block, rows = block_of(request, number), request.rows(number)
        with sampling(request):
            values = sampler.sample(weights.generator, block)
        if len(values) != request.block or not output.fits(tuple(values.shape[1:])):
            raise BackendError(
                f"sampler {request.sampler!r} of {weights.model.spec.id} returned {tuple(values.shape)}, "
                f"not {(request.block, *output.shape)}"
            )
        values = values[block.rows.start : block.rows.stop]
        if problem := kind.problem(values, output):
            raise BackendError(f"sampler {request.sampler!r} of {weights.model.spec.id} returned {problem}")
        for row, picture in (block.pictures or {}).items():
            if problem := picture_problem(picture):
                raise BackendError(
                    f"sampler {request.sampler!r} of {weights.model.spec.id} shows, of row {row}, {problem}"
                )
        if notes is not None:
            notes.take(block, private=request.private)
        yield rows.start, kind.samples(values, output)


def block_of(request: Request, number: int) -> Block:
    """A block of a request, as its sampler is handed it."""
    first, size, device = number * request.block, request.block, request.weights.device
    rows, prompts, labels = request.rows(number), request.prompts, request.labels
    return Block(
        request.seed, first, size, device,
        labels=None if labels is None else _in_turn(torch.tensor(labels), first, size, device),
        prompts=prompts and tuple(prompts[i % len(prompts)] for i in range(first, first + size)),
        images=None if request.images is None else _in_turn(request.images, first, size, device),
        masks=None if request.masks is None else _in_turn(request.masks, first, size, device),
        sounds=None if request.sounds is None else _in_turn(request.sounds, first, size, device),
        parts={option: part.generator for option, part in request.parts.items()},
        fitted=request.weights.fitted.get(request.sampler, {}),
        wanted=range(rows.start - first, rows.stop - first),
        notes=tuple({} for _ in range(size)),
        pictures={},
    )  # fmt: skip


@contextmanager
def sampling(request: Request) -> Iterator[None]:
    """Within it a sampler computes: without gradients, with the request's threads; what it raises is its backend's."""
    with (
        blame(request.weights.model.backend, f"in sampler {request.sampler!r}"),
        torch.inference_mode(),
        _threads(request.threads),
    ):
        yield


def sample(
    weights: str | Path | Weights,
    *,
    count: int | None = None,
    start: int = 0,
    seed: int = 0,
    sampler: str | None = None,
    options: Mapping[str, Any] | None = None,
    images: Sequence[str | Path] = (),
    masks: Sequence[str | Path] = (),
    sounds: Sequence[str | Path] = (),
    prompts: Sequence[str] = (),
    labels: Sequence[str | int] = (),
    encoding: str | None = None,
    precision: str = "fp32",
    block: int | None = None,
    threads: int = 1,
    device: str | None = None,
    private: bool = False,
    verify: bool = True,
    out: str | Path | None = None,
    sign: tuple[str | Path, str | Path] | None = None,
    shard_size: int | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Samples | None:
    """Draws samples from weights: `name`, `name@version`, a path, or what `load` returned.

    count: how many; 64, or one for each picture, sound, prompt or label that is given. start: the index of the first one.
    seed: sample i of a seed is always the same one, alone, in a batch, or from any start.
    sampler, options: one of the model's samplers and its options (`aigc models show MODEL`). An option of its parts
    names weights, as `weights` does.
    images: pictures for samplers that work on pictures; sample i is given picture i mod K.
    masks: likewise, for samplers that fill in: white where a picture is to be filled in, black where it is to be kept.
    sounds: likewise, `.wav` files; another sample rate is converted to that of the weights.
    prompts: texts to go on from, or to speak; sample i is given prompt i mod K.
    labels: names of classes, or their numbers; sample i is of label i mod K.
    encoding: of the values in files of sounds: `pcm16`, or `float32`.
    precision: `fp32`; `bf16` or `int8` where the model has the capability.
    block: samples computed together. It decides a sample's last bits, so keep it to see the same ones.
    threads: that a block is computed with. It decides a sample's last bits, too.
    private: the record holds the names of pictures and sounds, and the prompts, as salted hashes
    (`aigc_core.provenance.private`).
    verify: False loads the weights without a check of their bytes, which the record says.
    out: write there instead (`x.png` a sheet, `x.txt`, `x.wav`; `x.npz`, `x.tar`, `dir/` a file a sample) and
    return None. What is cut off while it writes one of the last three goes on when it is called again.
    sign: PEM files of a certificate and its key, to sign the pictures or sounds that are written (C2PA).
    shard_size: samples in each of `x-000000.tar`, `x-000001.tar`, ...; by default all are in `x.tar`.

    Raises the errors of `aigc_core.errors`: NotFoundError, UsageError, DamagedFileError, BackendError,
    DataError for pictures and sounds that don't fit, StorageError; InterruptedRun after Ctrl-C where samples were kept.
    """
    registry = registry or default()
    request_ = request(
        weights, count=count, start=start, seed=seed, sampler=sampler, options=options, images=images,
        masks=masks, sounds=sounds, prompts=prompts, labels=labels, encoding=encoding,
        precision=precision, block=block, threads=threads, device=device, private=private, verify=verify, registry=registry,
    )  # fmt: skip
    progress = progress or Progress(False)
    if out is not None:
        from aigc_core.sampling.job import save, signer

        save(
            request_,
            out,
            shard_size=shard_size,
            sign=signer(out, request_, sign),
            registry=registry,
            progress=progress,
        )
        return None
    record = request_.record()
    registry.emit(Event("sample.start", record))
    drawn, notes = [], Notes()
    with progress.bar(request_.count, request_.label, "sample") as bar:
        for _, samples in draw(request_, notes=notes):
            drawn.append(samples)
            bar.update(len(samples))
    registry.emit(Event("sample.end", record))
    output = request_.weights.generator.output
    said = notes.said(range(request_.start, request_.start + request_.count))
    return Samples(modality(output.modality).join(drawn, output), {**record, **said}, output, notes)


def _in_turn(given: Tensor, first: int, size: int, device: torch.device) -> Tensor:
    """[size, ...]: of what was given [K, ...], what the samples of a block are given."""
    return given[torch.arange(first, first + size) % len(given)].to(device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Within the block torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
