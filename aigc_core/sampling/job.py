"""`aigc sample`: from a request to files, by one process or by several that share the blocks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import AigcError, InterruptedRun
from aigc_core.events import Event
from aigc_core.launch import launched, rank, world
from aigc_core.progress import Progress
from aigc_core.provenance.ledger import Ledger
from aigc_core.sampling.draw import draw
from aigc_core.sampling.notes import Notes
from aigc_core.sampling.writers import check_count, check_target, form_of, holds_many, write_one

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.progress import Bar
    from aigc_core.provenance.ledger import Entries
    from aigc_core.registry import Registry
    from aigc_core.sampling.forms import Form, Sign
    from aigc_core.sampling.request import Request


def save(
    request: Request,
    out: str | Path,
    *,
    shard_size: int | None = None,
    sign: Sign | None = None,
    registry: Registry,
    progress: Progress,
) -> bool:
    """Draws samples into `out`; False if the very same samples are there already.

    A folder, an `.npz` and a `.tar` are written as the samples come, in memory that does not grow with their
    number. Cut off at any moment, the same call goes on from there, to the same bytes. In processes that
    `aigc_core.launch.launch` started, each computes a share of the blocks.

    What is written is entered into the ledger. Raises the errors of `aigc_core.sample`; in all of them what is whole
    is kept.
    """
    output, record = request.weights.generator.output, request.record()
    indices = range(request.start, request.start + request.count)
    check_target(out, output.modality, indices=indices, shard=shard_size, encoding=record.get("encoding"))
    check_count(out, output, request.count)
    main = rank() == 0
    with (
        Ledger().of(record, _remark) as entries,
        (progress if main else Progress(False)).bar(request.count, request.label, "sample") as bar,
    ):
        if not holds_many(out):
            registry.emit(Event("sample.start", record))
            notes = Notes()
            content = write_one(out, _shown(request, bar, notes), output, record, notes, sign)
            entries.add(content, request.start, request.count)
            registry.emit(Event("sample.end", record))
            return True
        form = form_of(out, output, record, shard_size)
        form.enter, form.sign = entries.add, sign
        if launched():  # the launching process keeps others away
            return _fill(request, form, bar, registry, entries)
        with form.place.alone():
            return _fill(request, form, bar, registry, entries)


def signer(out: str | Path, request: Request, files: tuple[str | Path, str | Path] | None) -> Sign | None:
    """What signs the files of a request with a certificate and its key.

    Raises UsageError, before anything is computed, where they can't be signed; NotFoundError, BackendError.
    """
    if files is None:
        return None
    from aigc_core.provenance.credentials import Signer, check_signable

    check_signable(out, request.weights.generator.output.modality)
    return Signer(*files)


def _remark(text: str) -> None:
    """One line on stderr; of several processes the first one speaks."""
    if rank() == 0:
        sys.stderr.write(f"aigc: {text}\n")


def _shown(request: Request, bar: Bar, notes: Notes) -> Iterator[npt.NDArray[Any]]:
    for _, samples in draw(request, notes=notes):
        yield samples
        bar.update(len(samples))


def _fill(request: Request, form: Form, bar: Bar, registry: Registry, entries: Entries) -> bool:
    main, shared = rank() == 0, world() > 1 and launched()
    blocks = request.blocks
    if main:
        finished = form.begin()
        if shared:
            form.place.open_deal(len(blocks) if finished else 0)
        if finished:
            return False
        registry.emit(Event("sample.start", request.record()))
    dealt = (blocks[n] for n in form.place.deal(len(blocks))) if shared else iter(blocks)
    try:
        for first, samples in draw(request, _missing(request, form, dealt, bar), form.notes):
            form.put(first, samples)
            form.notes.clear()
        if main:
            _wait(request, form)
            entries.flush()  # a command that is killed after the next line has nothing left to do
            form.finish()
    except (AigcError, KeyboardInterrupt) as error:
        kept = form.kept()
        if not kept:
            raise
        there = f"{kept} of {request.count} samples are kept: the same command goes on from there"
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedRun(f"stopped; {there}") from None
        raise type(error)(f"{error}; {there}") from None
    if main:
        registry.emit(Event("sample.end", request.record()))
    return True


def _missing(request: Request, form: Form, blocks: Iterator[int], bar: Bar) -> Iterator[int]:
    """Those of the blocks whose samples are not there yet. The bar shows all that lie before the present one:
    of several processes, the others are at work on blocks near it."""
    shown = request.start
    for number in blocks:
        rows = request.rows(number)
        bar.update(rows.start - shown)
        shown = rows.start
        if not form.has(rows.start, len(rows)):
            yield number
    bar.update(request.start + request.count - shown)


def _wait(request: Request, form: Form) -> None:
    """Until the other processes have put what they are at work on. If one fails, this one is ended, too."""
    for number in request.blocks:
        rows = request.rows(number)
        while not form.has(rows.start, len(rows)):
            time.sleep(0.02)
