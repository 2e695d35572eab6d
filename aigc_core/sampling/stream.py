"""Texts as they come."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import UsageError
from aigc_core.interfaces.sampler import Sampler
from aigc_core.registry import Registry
from aigc_core.sampling.draw import block_of, sampling
from aigc_core.sampling.request import Request, request

if TYPE_CHECKING:
    from aigc_core.weights.file import Weights


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next characters of a sample."""

    index: int
    """Of the sample."""
    text: str
    """Never a part of a character; empty at the end of a text that ends so."""
    last: bool
    """Whether the text ends with it."""


def stream(
    weights: str | Path | Weights,
    *,
    prompts: Sequence[str] = (),
    labels: Sequence[str | int] = (),
    count: int | None = None,
    start: int = 0,
    seed: int = 0,
    sampler: str | None = None,
    options: Mapping[str, Any] | None = None,
    precision: str = "fp32",
    block: int | None = None,
    threads: int = 1,
    device: str | None = None,
    registry: Registry | None = None,
) -> Iterator[Chunk]:
    """The samples of a text model in chunks, as they are made; those of a block come side by side.

    The chunks of a sample, put together, are the text that `aigc_core.sample` draws for the same arguments. Raises
    what that raises, before the first chunk; UsageError for a sampler that makes its texts as a whole.
    """
    prompts = (prompts,) if isinstance(prompts, str) else prompts
    labels = (labels,) if isinstance(labels, str | int) else labels
    request_ = request(
        weights, count=count or max(len(prompts), len(labels), 1), start=start, seed=seed, sampler=sampler, options=options,
        prompts=prompts, labels=labels, precision=precision, block=block, threads=threads, device=device, registry=registry,
    )  # fmt: skip
    return chunks(request_)


def chunks(request_: Request) -> Iterator[Chunk]:
    """Those of a request. Raises UsageError for what is no text."""
    weights = request_.weights
    if weights.generator.output.modality != "text":
        raise UsageError(
            f"--stream is for texts; {weights.model.spec.id} makes {weights.model.spec.modality}s"
        )
    kind = weights.model.sampler(request_.sampler)
    if kind.stream is Sampler.stream:
        raise UsageError(
            f"sampler {request_.sampler!r} of {weights.model.spec.id} makes a text as a whole: it can't be streamed; leave "
            "out --stream, or choose another --sampler"
        )
    sampler = kind(request_.options)
    for number in request_.blocks:
        block = block_of(request_, number)
        texts = {row: Decoder() for row in block.rows}
        source = sampler.stream(weights.generator, block)
        while True:
            with sampling(request_):  # not around the yield: what its caller does is no part of the sampler
                piece = next(source, None)
            if piece is None:
                break
            row, content = piece
            if row in texts and (text := texts[row].feed(content)):
                yield Chunk(block.start + row, text, False)
        for row, decoder in texts.items():
            yield Chunk(block.start + row, decoder.end(), True)


class Decoder:
    """Bytes of UTF-8 in pieces to the text that all of them are: what is no UTF-8 becomes U+FFFD, a 0 ends it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ended = False

    def feed(self, content: bytes) -> str:
        if self._ended:
            return ""
        content, zero, _ = content.partition(b"\0")
        self._ended = bool(zero)
        return self._decoder.decode(content)

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)
