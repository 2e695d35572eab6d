"""From weights and a request to samples."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aigc_core._version import __version__
from aigc_core.errors import BackendError, DataError, NotFoundError, UsageError
from aigc_core.events import Event
from aigc_core.interfaces.sampler import Block
from aigc_core.modality import modality
from aigc_core.modality.image import to_pixels as to_pixels
from aigc_core.options import Options, parse
from aigc_core.progress import Progress
from aigc_core.registry import Registry, blame, default
from aigc_core.seeds import MAX_SEED
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output, SamplerSpec


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sampled; `request` makes and checks one."""

    weights: Weights
    sampler: str
    spec: SamplerSpec
    options: Options
    count: int
    start: int
    seed: int
    block: int
    images: Tensor | None
    """[K, C, H, W] float32 in the output's range; sample i is given picture i mod K."""
    image_names: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What made these samples, and makes them again: plain JSON, kept with every sample."""
        weights = self.weights.record
        return {
            "format": 1,
            "weights": {
                key: weights[key] for key in ("model", "tensors_digest", "license", "core", "backend")
            },
            "backend": {
                "distribution": self.weights.model.backend.distribution,
                "version": self.weights.model.backend.version,
            },
            "core": __version__,
            "sampler": self.sampler,
            "options": self.options.model_dump(mode="json"),
            "seed": self.seed,
            "start": self.start,
            "count": self.count,
            "block": self.block,
            "images": list(self.image_names),
            "dtype": "float32",
            "device": str(self.weights.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples in memory, with the record of how they were made."""

    array: npt.NDArray[Any]
    """Pictures: uint8 [N, H, W, C]; sounds: float32 [N, C, T] in -1 .. 1; texts: `<U` [N]."""
    record: Mapping[str, Any]
    output: Output

    def __len__(self) -> int:
        return len(self.array)

    def save(self, out: str | Path) -> None:
        """Writes them as `aigc sample --out` does. Raises UsageError or StorageError."""
        from aigc_core.sampling.writers import write

        write(out, iter([self.array]), self.output, self.record)


def request(
    weights: str | Path | Weights,
    *,
    count: int | None = None,
    start: int = 0,
    seed: int = 0,
    sampler: str | None = None,
    options: Mapping[str, Any] | None = None,
    images: Sequence[str | Path] = (),
    block: int | None = None,
    device: str | None = None,
    registry: Registry | None = None,
) -> Request:
    """Checks a request and loads its weights. Arguments and errors as in `sample`."""
    registry = registry or default()
    if not isinstance(weights, Weights):
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        weights = load(Store().find(str(weights)), registry, device)
    model = weights.model
    name, spec = model.sampler_spec(sampler)
    parsed = parse({"sampler": model.sampler_config(name)}, options or {}, f"sampler {name!r}")["sampler"]
    if count is None:
        count = len(images) if images else 64
    for flag, value, low, high in (
        ("-n", count, 1, 2**40), ("--start", start, 0, 2**40), ("--seed", seed, 0, MAX_SEED),
        ("--block", block if block is not None else spec.block, 1, 65536),
    ):  # fmt: skip
        if not low <= value <= high:
            raise UsageError(f"{flag} must lie in {low} .. {high}, not {value}")
    if unknown := [need for need in spec.needs if need != "image"]:
        raise UsageError(
            f"sampler {name!r} of {model.spec.id} needs a {unknown[0]}, which can't be given yet"
        )
    if "image" in spec.needs and not images:
        raise UsageError(f"sampler {name!r} of {model.spec.id} works on pictures: give --image FILE")
    if images and "image" not in spec.needs:
        raise UsageError(f"sampler {name!r} of {model.spec.id} takes no --image")
    given = _read_images(images, weights.generator.output) if images else None
    return Request(
        weights, name, spec, parsed, count, start, seed, block or spec.block, given,
        tuple(Path(p).name for p in images),
    )  # fmt: skip


def draw(request: Request) -> Iterator[npt.NDArray[Any]]:
    """Samples start .. start + count - 1, as arrays [n, ...] of a block's worth or less, in order.

    Their types are those of `Samples.array`. Whole blocks are computed, whatever part of them is asked for.
    Raises BackendError where the sampler fails or returns what the generator's output does not describe.
    """
    weights = request.weights
    sampler = weights.model.sampler(request.sampler)(request.options)
    output = weights.generator.output
    kind, device = modality(output.modality), weights.device
    end = request.start + request.count
    for first in range(request.start - request.start % request.block, end, request.block):
        block = Block(request.seed, first, request.block, device, images=_images_of(request, first, device))
        with blame(weights.model.backend, f"in sampler {request.sampler!r}"), torch.inference_mode():
            values = sampler.sample(weights.generator, block)
        if tuple(values.shape) != (request.block, *output.shape):
            raise BackendError(
                f"sampler {request.sampler!r} of {weights.model.spec.id} returned {tuple(values.shape)}, "
                f"not {(request.block, *output.shape)}"
            )
        rows = slice(max(request.start - first, 0), min(end - first, request.block))
        if problem := kind.problem(values[rows], output):
            raise BackendError(f"sampler {request.sampler!r} of {weights.model.spec.id} returned {problem}")
        yield kind.samples(values[rows], output)


def sample(
    weights: str | Path | Weights,
    *,
    count: int | None = None,
    start: int = 0,
    seed: int = 0,
    sampler: str | None = None,
    options: Mapping[str, Any] | None = None,
    images: Sequence[str | Path] = (),
    block: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Samples | None:
    """Draws samples from weights: `name`, `name@version`, a path, or what `load` returned.

    count: how many; 64, or one for each picture that is given. start: the index of the first one.
    seed: sample i of a seed is always the same one, alone, in a batch, or from any start.
    sampler, options: one of the model's samplers and its options (`aigc models show MODEL`).
    images: pictures for samplers that work on pictures; sample i is given picture i mod K.
    block: samples computed together. It decides a sample's last bits, so keep it to see the same ones.
    out: write there instead (`x.png` a sheet, `x.txt`, `x.wav`, `x.npz`, `dir/` a file a sample) and
    return None.

    Raises the errors of `aigc_core.errors`: NotFoundError, UsageError, DamagedFileError, BackendError,
    DataError for pictures that don't fit, StorageError.
    """
    registry = registry or default()
    request_ = request(
        weights, count=count, start=start, seed=seed, sampler=sampler, options=options, images=images,
        block=block, device=device, registry=registry,
    )  # fmt: skip
    record, output = request_.record(), request_.weights.generator.output
    if out is not None:
        from aigc_core.sampling.writers import check_target

        check_target(out, output.modality)
    registry.emit(Event("sample.start", record))
    text = f"{request_.weights.model.spec.id} {request_.sampler}"
    with (progress or Progress(False)).bar(request_.count, text, "sample") as bar:

        def parts() -> Iterator[npt.NDArray[Any]]:
            for part in draw(request_):
                yield part
                bar.update(len(part))

        if out is None:
            result = Samples(np.concatenate(list(parts())), record, output)
        else:
            from aigc_core.sampling.writers import write

            write(out, parts(), output, record)
            result = None
    registry.emit(Event("sample.end", record))
    return result


def _images_of(request: Request, first: int, device: torch.device) -> Tensor | None:
    if request.images is None:
        return None
    index = torch.arange(first, first + request.block) % len(request.images)
    return request.images[index].to(device)


def _read_images(paths: Sequence[str | Path], output: Output) -> Tensor:
    """Pictures as [K, C, H, W] in the output's range. Raises NotFoundError or DataError."""
    from aigc_core.data.folder import decode

    channels, height, width = output.shape
    pictures = []
    for path in map(Path, paths):
        if not path.is_file():
            raise NotFoundError(f"no picture {path}")
        pixels = decode(path, None, grey=channels == 1).pixels
        if pixels is None:
            raise DataError(f"{path}: not a picture that can be read")
        if pixels.shape[1:] != (height, width):
            raise DataError(
                f"{path}: {pixels.shape[1]}x{pixels.shape[2]}, but the weights make {height}x{width}; resize it"
            )
        if len(pixels) != channels:
            raise DataError(f"{path}: has {len(pixels)} channels, but the weights make {channels}")
        pictures.append(pixels)
    scale = (output.high - output.low) / 255.0
    return torch.from_numpy(np.stack(pictures)).float().mul_(scale).add_(output.low)
