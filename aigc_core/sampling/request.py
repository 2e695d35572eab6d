"""What is to be sampled."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from aigc_core._version import __version__
from aigc_core.errors import DataError, NotFoundError, UsageError
from aigc_core.launch import rank
from aigc_core.options import Options, parse
from aigc_core.provenance import content
from aigc_core.provenance.environment import code_digest, machine
from aigc_core.provenance.private import hide, salt_of
from aigc_core.registry import Registry, blame, default
from aigc_core.seeds import MAX_SEED
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store
from aigc_core.weights.version import Found

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.specs import Output, SamplerSpec


PRECISIONS: Final = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
"""What a user can ask for, and what a record calls it."""
_NEEDED: Final = {"bf16": "bfloat16-weights", "int8": "int8-weights"}
"""The capabilities that they take."""


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
    given: tuple[tuple[str, str], ...] = ()
    """Of each picture, its name and its content digest."""
    threads: int = 1
    """That a block is computed with. Sums over several threads differ in their last bits from those over one."""
    private: bool = False
    """Whether the record hides the names of the pictures, and the prompts."""
    prompts: tuple[str, ...] | None = None
    """Sample i is given prompt i mod K."""
    precision: str = "fp32"
    """Of PRECISIONS: what the network computes in, or how its matrices are kept."""

    @property
    def blocks(self) -> range:
        """The numbers of the blocks that hold these samples: block k is samples k * size .. (k + 1) * size - 1."""
        return range(self.start // self.block, (self.start + self.count - 1) // self.block + 1)

    def rows(self, number: int) -> range:
        """The indices of the samples that are asked for of a block."""
        first = number * self.block
        return range(max(self.start, first), min(self.start + self.count, first + self.block))

    @property
    def label(self) -> str:
        """For a progress bar."""
        return f"{self.weights.model.spec.id} {self.sampler}"

    def record(self) -> dict[str, Any]:
        """What made these samples, and makes them again: plain JSON, kept with every sample."""
        weights, backend = self.weights.record, self.weights.model.backend
        return {
            "format": 2,
            "weights": {
                "name": self.weights.name,
                "manifest": self.weights.manifest,
                **{key: weights[key] for key in ("model", "tensors_digest", "license", "core", "backend")},
            },
            "verified": self.weights.verified,
            "backend": {"distribution": backend.distribution, "version": backend.version},
            "core": __version__,
            "code": {"core": code_digest("aigc_core"), "backend": code_digest(backend.package)},
            "sampler": self.sampler,
            "options": self.options.model_dump(mode="json"),
            "seed": self.seed,
            "start": self.start,
            "count": self.count,
            "block": self.block,
            "images": [{"name": self._said(name), "content": digest} for name, digest in self.given],
            "prompts": None if self.prompts is None else [self._said(prompt) for prompt in self.prompts],
            "filters": [],
            "dtype": PRECISIONS[self.precision],
            **machine(self.weights.device),
            "threads": self.threads,
        }

    def _said(self, text: str) -> str:
        """What a record tells of something that the user gave."""
        if not self.private:
            return text
        options = self.options.model_dump(mode="json")
        return hide(text, salt_of(self.weights.tensors_digest, self.sampler, options, self.seed))


def request(
    weights: str | Path | Found | Weights,
    *,
    count: int | None = None,
    start: int = 0,
    seed: int = 0,
    sampler: str | None = None,
    options: Mapping[str, Any] | None = None,
    images: Sequence[str | Path] = (),
    prompts: Sequence[str] = (),
    precision: str = "fp32",
    block: int | None = None,
    threads: int = 1,
    device: str | None = None,
    private: bool = False,
    verify: bool = True,
    registry: Registry | None = None,
) -> Request:
    """Checks a request and loads its weights. Arguments and errors as in `aigc_core.sample`."""
    registry = registry or default()
    prompts = (prompts,) if isinstance(prompts, str) else prompts
    if not isinstance(weights, Weights):
        if device is None:
            device = f"cuda:{_gpu()}" if torch.cuda.is_available() else "cpu"
        found = weights if isinstance(weights, Found) else Store().resolve(str(weights))
        weights = load(found, registry, device, verify=verify)
    weights = in_precision(weights, precision)
    model = weights.model
    name, spec = model.sampler_spec(sampler)
    parsed = parse({"sampler": model.sampler_config(name)}, options or {}, f"sampler {name!r}")["sampler"]
    if count is None:
        count = len(images) or len(prompts) or 64
    for flag, value, low, high in (
        ("-n", count, 1, 2**40), ("--start", start, 0, 2**40), ("--seed", seed, 0, MAX_SEED),
        ("--block", block if block is not None else spec.block, 1, 65536),
        ("--threads", threads, 1, 1024),
    ):  # fmt: skip
        if not low <= value <= high:
            raise UsageError(f"{flag} must lie in {low} .. {high}, not {value}")
    if unknown := [need for need in spec.needs if need not in ("image", "prompt")]:
        raise UsageError(
            f"sampler {name!r} of {model.spec.id} needs a {unknown[0]}, which can't be given yet"
        )
    if "image" in spec.needs and not images:
        raise UsageError(f"sampler {name!r} of {model.spec.id} works on pictures: give --image FILE")
    if images and "image" not in spec.needs:
        raise UsageError(f"sampler {name!r} of {model.spec.id} takes no --image")
    taken = {*spec.needs, *model.spec.conditions}
    if "prompt" in spec.needs and not prompts:
        raise UsageError(f"sampler {name!r} of {model.spec.id} works on a prompt: give --prompt TEXT")
    if prompts and "prompt" not in taken:
        raise UsageError(f"sampler {name!r} of {model.spec.id} takes no --prompt")
    pictures = _read_images(images, weights.generator.output) if images else None
    given = tuple((path.name, content.read(path).digest) for path in map(Path, images))
    return Request(
        weights,
        name,
        spec,
        parsed,
        count,
        start,
        seed,
        block or spec.block,
        pictures,
        given,
        threads,
        private,
        tuple(prompts) or None,
        precision,
    )


def in_precision(weights: Weights, precision: str) -> Weights:
    """The weights as they are to be computed with. Raises UsageError where the model can't."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "fp32":
        return weights
    needed, spec = _NEEDED[precision], weights.model.spec
    if needed not in spec.capabilities:
        raise UsageError(
            f"{spec.id} can't be sampled in {precision}: it does not declare {needed!r}; leave out --precision"
        )
    if precision == "bf16":
        generator = copy.deepcopy(weights.generator).to(torch.bfloat16)
    elif weights.generator.config.model_dump().get("weights") == "int8":
        return weights
    else:
        with blame(weights.model.backend, "to make weights of 8 bits"), torch.random.fork_rng():
            generator = weights.generator.as_int8()
    return replace(weights, generator=generator.eval().requires_grad_(False))


def _gpu() -> int:
    """Processes of one job share the GPUs of the machine."""
    return rank() % torch.cuda.device_count()


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
