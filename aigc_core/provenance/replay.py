"""`aigc replay`: the same samples again, and whether they are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError
from aigc_core.progress import Progress
from aigc_core.provenance import content
from aigc_core.provenance.compare import UNITS, Difference
from aigc_core.provenance.environment import changes
from aigc_core.provenance.originals import KINDS, Originals, originals
from aigc_core.provenance.private import is_hidden, is_that
from aigc_core.provenance.trace import stored
from aigc_core.registry import Registry, default
from aigc_core.sampling.draw import draw
from aigc_core.sampling.given import sound_digest
from aigc_core.sampling.notes import Notes
from aigc_core.sampling.request import PRECISIONS, Request, request
from aigc_core.sampling.writers import check_count, check_target, holds_many, write
from aigc_core.weights.store import Store
from aigc_core.weights.version import Found

if TYPE_CHECKING:
    import numpy.typing as npt

NAMED: Final = 5
"""Differences that are told one by one."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it."""

    path: Path
    samples: int
    """How many were made again."""
    differing: int
    """Files or samples that came out otherwise."""
    largest: float | None
    """The largest difference of two values; None for texts, and where there is none."""
    unit: str
    """Of `largest`."""
    differences: tuple[str, ...]
    """The first of them, in words."""
    environment: tuple[str, ...]
    """What is not as it was when they were made: `torch 2.4.0 -> 2.5.0`."""
    weights: str
    """`digits@3`, or the file."""
    out: Path | None

    @property
    def exact(self) -> bool:
        return not self.differing


def replay(
    file: str | Path,
    *,
    weights: str | Path | None = None,
    images: Sequence[str | Path] = (),
    masks: Sequence[str | Path] = (),
    sounds: Sequence[str | Path] = (),
    prompts: Sequence[str] = (),
    out: str | Path | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Draws the samples of a file or folder again, as their record says, and compares what they decode to.

    weights: a name or path, where the store does not hold those that the record names. images, masks, sounds: what the
    sampler was given, in any order: they are known by their content. prompts: those that the record hides, in their
    order. out: keep what was made again.

    Raises NotFoundError where weights, pictures or sounds are missing, UsageError for others than those of the record,
    DamagedFileError, BackendError; a difference is no error.
    """
    registry, path = registry or default(), Path(file)
    there = originals(path)
    request_ = _request(there, weights, images, masks, sounds, prompts, registry)
    output = request_.weights.generator.output
    indices = there.indices
    check_count(path, output, request_.count)
    found: list[Difference] = []
    if out is not None:
        _check_out(Path(out), path)
        check_target(
            out,
            output.modality,
            indices=range(request_.start, request_.start + request_.count),
            encoding=request_.encoding,
        )
    notes = Notes()
    with (progress or Progress(False)).bar(len(indices), f"{request_.label} again", "sample") as bar:

        def drawn() -> Iterator[npt.NDArray[Any]]:
            blocks = None if out is not None else dict.fromkeys(i // request_.block for i in indices)
            for first, samples in draw(request_, blocks, notes):
                found.extend(there.differences(first, samples, output))
                yield samples
                if out is None or holds_many(out):
                    notes.clear()
                bar.update(len(samples))

        parts = drawn()
        if out is not None:
            write(out, parts, output, request_.record(), notes)
        for _ in parts:  # which nothing was left to write of
            pass
    found.extend(there.rest(output))
    return Replay(
        path=path,
        samples=len(indices),
        differing=len(found),
        largest=max((d.largest for d in found if d.largest is not None), default=None),
        unit=UNITS[KINDS[output.modality]],
        differences=tuple(map(str, found[:NAMED])),
        environment=tuple(changes(there.record, request_.record())),
        weights=request_.weights.name or str(request_.weights.path),
        out=Path(out) if out is not None else None,
    )


def _request(
    there: Originals,
    weights: str | Path | None,
    images: Sequence[str | Path],
    masks: Sequence[str | Path],
    sounds: Sequence[str | Path],
    prompts: Sequence[str],
    registry: Registry,
) -> Request:
    record = there.record
    try:
        return request(
            _weights(there, weights),
            count=record["count"],
            start=record["start"],
            seed=record["seed"],
            sampler=record["sampler"],
            options=record["options"],
            images=_given(there, images, "images", "picture", _picture_digest),
            masks=_given(there, masks, "masks", "mask", _picture_digest),
            sounds=_given(there, sounds, "sounds", "sound", sound_digest),
            labels=[str(label) for label in record.get("labels", ())],
            parts=_parts(there),
            encoding=record.get("encoding"),
            prompts=_prompts(there, prompts),
            precision=_precision(record.get("dtype")),
            block=record["block"],
            threads=record["threads"],
            device="cuda" if record["device"] == "cuda" and torch.cuda.is_available() else "cpu",
            registry=registry,
        )
    except KeyError as error:
        raise DamagedFileError(
            f"{there.path}: its record is incomplete: {error} is missing; it can't be made again"
        ) from None


def _weights(there: Originals, weights: str | Path | None) -> Found:
    """Those of the record. Raises NotFoundError; UsageError for others."""
    from aigc_core.weights.header import read_header

    wanted, name = there.record["weights"]["tensors_digest"], there.record["weights"].get("name")
    if weights is not None:
        found = Store().resolve(str(weights))
        given = read_header(found.path).record.get("tensors_digest")
        if given != wanted:
            raise UsageError(f"{there.path} was made by weights {wanted}, and {weights} are {given}")
        return found
    version = stored(there.record)
    if version is None:
        raise NotFoundError(
            f"{there.path} was made by {f'{name}, ' if name else ''}weights {wanted}, which are not in the store; pull or "
            "import them, or give the file: --weights"
        )
    return Found(version.path, version)


def _parts(there: Originals) -> dict[str, Found]:
    """The weights that options of the sampler named. Raises NotFoundError where the store does not hold them."""
    found = {}
    for option, part in there.record.get("parts", {}).items():
        named: Mapping[str, Any] = part if isinstance(part, Mapping) else {}
        version = stored({"weights": named})
        if version is None:
            raise NotFoundError(
                f"{there.path} was made with {named.get('name') or 'a file'} as its {option}, weights "
                f"{named.get('tensors_digest')}, which are not in the store; pull or import them"
            )
        found[str(option)] = Found(version.path, version)
    return found


def _given(
    there: Originals, paths: Sequence[str | Path], field: str, what: str, digest: Callable[[Path], str]
) -> list[Path]:
    """The files that the record names, in its order. Raises NotFoundError, UsageError."""
    wanted = there.record.get(field, [])
    flag = field.removesuffix("s")
    if not wanted and paths:
        raise UsageError(f"{there.path} was made without a {what}; leave out --{flag}")
    given = {digest(path): path for path in map(Path, paths)}
    found = []
    for one in wanted:
        if not isinstance(one, dict):
            raise UsageError(
                f"{there.path} was made from {what}s that its record names without a digest; it can't be replayed"
            )
        if one["content"] not in given:
            raise NotFoundError(
                f"{there.path} was made from a {what} {one['name']!r} ({one['content']}), which is none of the "
                f"{len(given)} given; give it by --{flag} FILE, unchanged"
            )
        found.append(given[one["content"]])
    return found


def _picture_digest(path: Path) -> str:
    return content.read(path).digest


def _prompts(there: Originals, prompts: Sequence[str]) -> list[str]:
    """Those of the record, or those given that it hides. Raises UsageError, NotFoundError."""
    wanted = there.record.get("prompts") or []
    if not any(map(is_hidden, wanted)):
        if prompts:
            raise UsageError(f"{there.path} says its own prompts, or was made without; leave out --prompt")
        return [str(prompt) for prompt in wanted]
    if len(prompts) != len(wanted):
        raise NotFoundError(
            f"{there.path} hides its {len(wanted)} prompts, and {len(prompts)} are given; give each by --prompt TEXT"
        )
    for number, (hidden, prompt) in enumerate(zip(wanted, prompts, strict=True), 1):
        if not is_that(hidden, prompt):
            raise UsageError(f"{there.path}: prompt {number} was another one than {prompt!r}")
    return list(prompts)


def _precision(dtype: object) -> str:
    return next((name for name, called in PRECISIONS.items() if called == dtype), "fp32")


def _check_out(out: Path, path: Path) -> None:
    if out.resolve() == path.resolve():
        raise UsageError(f"--out {out} is what is to be replayed; name another place")
