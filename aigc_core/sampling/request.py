"""What is to be sampled."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core._version import __version__
from aigc_core.errors import UsageError
from aigc_core.launch import rank
from aigc_core.modality import modality
from aigc_core.options import Options, parse
from aigc_core.provenance import content
from aigc_core.provenance.environment import code_digest, machine
from aigc_core.provenance.private import hide, salt_of
from aigc_core.registry import Registry, blame, default
from aigc_core.sampling.given import labels_of, load_parts, read_images, read_masks, read_sounds
from aigc_core.sampling.writers import check_encoding
from aigc_core.seeds import MAX_SEED
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store
from aigc_core.weights.version import Found

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.specs import ModelSpec, SamplerSpec


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
    labels: tuple[int, ...] | None = None
    """Sample i is of label i mod K."""
    sounds: Tensor | None = None
    """[K, C, T] float32 in the output's range, NaN after the end; sample i is given sound i mod K."""
    heard: tuple[tuple[str, str], ...] = ()
    """Of each sound, its name and its content digest."""
    parts: Mapping[str, Weights] = field(default_factory=dict)
    """What the options of `spec.parts` name."""
    encoding: str | None = None
    """Of the values in files, where it is not the default."""
    masks: Tensor | None = None
    """[K, 1, H, W]: 1 where a picture is to be filled in; sample i is given mask i mod K."""
    masked: tuple[tuple[str, str], ...] = ()
    """Of each mask, its name and its content digest."""

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
        backend = self.weights.model.backend
        return {
            "format": 2,
            "weights": {**_named(self.weights), **{k: self.weights.record[k] for k in ("core", "backend")}},
            "verified": self.weights.verified,
            "backend": {"distribution": backend.distribution, "version": backend.version},
            "core": __version__,
            "code": {"core": code_digest("aigc_core"), "backend": code_digest(backend.package)},
            "sampler": self.sampler,
            "options": self._options(),
            "seed": self.seed,
            "start": self.start,
            "count": self.count,
            "block": self.block,
            "images": self._named(self.given),
            "prompts": None if self.prompts is None else [self._said(prompt) for prompt in self.prompts],
            **self._more(),
            "filters": [],
            "dtype": PRECISIONS[self.precision],
            **machine(self.weights.device),
            "threads": self.threads,
        }

    def _more(self) -> dict[str, Any]:
        """What a record says only where there is something to say."""
        classes = self.weights.generator.data.classes
        found: dict[str, Any] = {
            "labels": [classes[label] for label in self.labels or ()],
            "sounds": self._named(self.heard),
            "masks": self._named(self.masked),
            "parts": {option: _named(part) for option, part in self.parts.items()},
            "encoding": self.encoding,
        }
        return {key: value for key, value in found.items() if value}

    def _options(self) -> dict[str, Any]:
        """Of the sampler. Weights that are named by a path may say whose they are, as a picture's name does."""
        options = self.options.model_dump(mode="json")
        return {k: self._said(v) if k in self.parts else v for k, v in options.items()}

    def _named(self, given: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
        return [{"name": self._said(name), "content": digest} for name, digest in given]

    def _said(self, text: str) -> str:
        """What a record tells of something that the user gave."""
        if not self.private:
            return text
        options = self.options.model_dump(mode="json")
        return hide(text, salt_of(self.weights.tensors_digest, self.sampler, options, self.seed))


def _named(weights: Weights) -> dict[str, Any]:
    """What a record says of weights."""
    own = {key: weights.record[key] for key in ("model", "tensors_digest", "license")}
    return {"name": weights.name, "manifest": weights.manifest, **own}


def request(
    weights: str | Path | Found | Weights,
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
    parts: Mapping[str, Found] | None = None,
    encoding: str | None = None,
    precision: str = "fp32",
    block: int | None = None,
    threads: int = 1,
    device: str | None = None,
    private: bool = False,
    verify: bool = True,
    registry: Registry | None = None,
) -> Request:
    """Checks a request and loads its weights. Arguments and errors as in `aigc_core.sample`.

    parts: the weights that options of the sampler's parts mean, whatever their names mean now.
    """
    registry = registry or default()
    prompts = (prompts,) if isinstance(prompts, str) else prompts
    labels = (labels,) if isinstance(labels, str | int) else labels
    images, masks, sounds = (
        (given,) if isinstance(given, str | Path) else given for given in (images, masks, sounds)
    )
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
        count = default_count(images, sounds, prompts, labels)
    for flag, value, low, high in (
        ("-n", count, 1, 2**40), ("--start", start, 0, 2**40), ("--seed", seed, 0, MAX_SEED),
        ("--block", block if block is not None else spec.block, 1, 65536),
        ("--threads", threads, 1, 1024),
    ):  # fmt: skip
        if not low <= value <= high:
            raise UsageError(f"{flag} must lie in {low} .. {high}, not {value}")
    taken = {*spec.needs, *spec.takes}
    for need, given, what in (
        ("image", images, "works on pictures: give --image FILE"),
        ("mask", masks, "fills in what a mask says: give --mask FILE, white where it is to be filled in"),
        ("sound", sounds, "works on sounds: give --sound FILE"),
        ("prompt", prompts, "works on a prompt: give --prompt TEXT"),
        ("label", labels, "needs to be told of which class: give --label NAME"),
    ):
        if need in spec.needs and not given:
            raise UsageError(f"sampler {name!r} of {model.spec.id} {what}")
        if given and need not in {*taken, *(model.spec.conditions if need in ("prompt", "label") else ())}:
            raise UsageError(
                f"sampler {name!r} of {model.spec.id} takes no --{need}{_takers(model.spec, need)}"
            )
    if spec.fitted and name not in weights.fitted:
        raise UsageError(
            f"{weights.name or weights.path} were kept without what sampler {name!r} draws with; train again with the "
            f"option that keeps it (aigc models show {model.spec.id}), or take another sampler"
        )
    output = weights.generator.output
    check_encoding(encoding, output.modality)
    heard = read_sounds(sounds, output) if sounds else None
    return Request(
        weights, name, spec, parsed, count, start, seed, block or spec.block,
        images=read_images(images, output) if images else None,
        given=_digests(images),
        masks=read_masks(masks, output) if masks else None,
        masked=_digests(masks),
        threads=threads, private=private, prompts=tuple(prompts) or None, precision=precision,
        labels=labels_of(labels, weights) if labels else None,
        sounds=heard and heard.values,
        heard=heard.given if heard else (),
        parts=load_parts(parsed, spec, f"sampler {name!r} of {model.spec.id}", parts or {}, registry, weights.device, verify),
        encoding=None if encoding in modality(output.modality).encodings[:1] else encoding,
    )  # fmt: skip


def _takers(spec: ModelSpec, need: str) -> str:
    """Where it would be taken, for an error."""
    names = [name for name, s in spec.samplers.items() if need in (*s.needs, *s.takes)]
    return f"; {' and '.join(names)} would: --sampler {names[0]}" if names else ""


def _digests(pictures: Sequence[str | Path]) -> tuple[tuple[str, str], ...]:
    return tuple((path.name, content.read(path).digest) for path in map(Path, pictures))


def default_count(*given: Sequence[object]) -> int:
    """How many samples are drawn where no number is given: one for each thing that is."""
    return max(map(len, given)) or 64


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
