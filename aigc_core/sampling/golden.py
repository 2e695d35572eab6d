"""The golden sample of a version: what one request drew when the weights were published, so that what they do can be
checked later, and not only their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from aigc_core.errors import AigcError, NotFoundError
from aigc_core.modality import default_ending, modality
from aigc_core.provenance.environment import ENVIRONMENT, changes
from aigc_core.sampling.draw import draw
from aigc_core.sampling.request import Request, request
from aigc_core.weights.file import Weights, load
from aigc_core.weights.header import canonical
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.manifest import digest_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from aigc_core.registry import Registry
    from aigc_core.weights.store import Store
    from aigc_core.weights.version import Version

SEED: Final = 0


def golden(weights: Weights, registry: Registry) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """The first samples of seed 0: the request and the digest of what it drew, and a file of them to look at.

    By the model's first sampler that needs nothing but a seed; None if there is none. Raises BackendError.
    """
    samplers = weights.model.spec.samplers.items()
    able = (n for n, spec in samplers if not spec.needs and (n in weights.fitted or not spec.fitted))
    sampler = next(able, None)
    if sampler is None:
        return None
    output = weights.generator.output
    count = modality(output.modality).golden
    request_ = request(weights, count=count, seed=SEED, sampler=sampler, registry=registry)
    drawn = _draw(request_)
    # Without the digests of the code: they change with a comment, and the same training is to be the same manifest.
    record = {key: value for key, value in request_.record().items() if key != "code"}
    encoded = modality(output.modality).encode(drawn, output, record)
    ending = default_ending(output.modality)
    fields = ("sampler", "options", "seed", "start", "count", "block", "threads")
    return (
        {
            **{key: record[key] for key in fields},
            "content": _digest(drawn, weights),
            "environment": {key: record[key] for key in ENVIRONMENT if key in record and key not in fields},
        },
        {f"samples{ending}{more}": content for more, content in encoded.files.items()},
    )


def publish(
    store: Store,
    name: str,
    content: bytes | Path,
    more: Mapping[str, bytes | Path],
    registry: Registry,
    remarks: list[str],
    alias: str | None = None,
) -> Version:
    """Keeps a weights file, with its golden sample and more files. That nothing could be drawn is remarked.

    Raises StorageError.
    """
    with store.using(write=True):  # from here on: no gc takes the file away before it has its version
        store.remove_unfinished()
        kept = store.add_blob(content)
        request_, portrait = _portrait(store.layout.blob(kept.digest), registry, remarks)
        files = {WEIGHTS_FILE: kept, **portrait, **more}
        return store.publish(name, files, golden=request_, alias=alias)


def _portrait(
    path: Path, registry: Registry, remarks: list[str]
) -> tuple[Mapping[str, Any] | None, Mapping[str, bytes]]:
    try:
        return golden(load(path, registry), registry) or (None, {})
    except AigcError as error:  # the weights are worth keeping all the same
        remarks.append(f"no golden sample is kept: {error}")
        return None, {}


def drawn_again(weights: Weights, golden: Mapping[str, Any], registry: Registry) -> tuple[bool, list[str]]:
    """Whether the weights still draw what they drew when they were published, and what has changed since around them.

    Raises NotFoundError where the sampler is no more, UsageError where it takes the options no more, BackendError.
    """
    if golden["sampler"] not in weights.model.spec.samplers:
        raise NotFoundError(f"{weights.model.spec.id} has no sampler {golden['sampler']!r} any more")
    again = request(
        weights, count=golden["count"], start=golden["start"], seed=golden["seed"], sampler=golden["sampler"],
        options=golden["options"], block=golden["block"], threads=golden["threads"], registry=registry,
    )  # fmt: skip
    same = _digest(_draw(again), weights) == golden["content"]
    return same, changes(golden["environment"], again.record())


def _draw(request_: Request) -> npt.NDArray[Any]:
    output = request_.weights.generator.output
    return modality(output.modality).join([samples for _, samples in draw(request_)], output)


def _digest(samples: npt.NDArray[Any], weights: Weights) -> str:
    """Over the content digests of all samples."""
    output = weights.generator.output
    return digest_of(canonical(modality(output.modality).digests(samples, output)).encode())
