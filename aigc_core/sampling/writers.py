"""Files of samples: the ending says which kind. Each carries the record of how it was made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import UsageError
from aigc_core.files import write_atomically
from aigc_core.modality import modality
from aigc_core.modality.base import MANY

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.modality.base import Modality
    from aigc_core.sampling.forms import Form, Sign
    from aigc_core.sampling.notes import Notes
    from aigc_core.specs import Output


def is_folder(out: str | Path) -> bool:
    """Whether `out` means a folder: it is one, ends in a slash, or has no ending."""
    return str(out).endswith(("/", os.sep)) or Path(out).is_dir() or not Path(out).suffix


def holds_many(out: str | Path) -> bool:
    """Whether `out` is written in pieces, by any number of processes, in memory that does not grow."""
    return is_folder(out) or Path(out).suffix in MANY


def shards(out: str | Path, count: int, size: int) -> str:
    """The archives that `count` samples fill, as a shell and WebDataset expand it: `x-{000000..000009}.tar`."""
    stem, last = str(out).removesuffix(".tar"), (count - 1) // size
    return f"{stem}-{{000000..{last:06d}}}.tar" if last else f"{stem}-000000.tar"


def check_target(
    out: str | Path,
    name: str = "image",
    *,
    indices: range | None = None,
    shard: int | None = None,
    encoding: str | None = None,
) -> None:
    """Raises UsageError, before anything is computed, if samples of that modality can't be written to `out`, or if a
    file is there that aigc did not make: the text that was trained on, perhaps.

    indices: of the samples, where they are known; a folder may hold no others. shard: `--shard-size`. encoding: of
    the values in files, where it is not the default.
    """
    path, kind = Path(out), modality(name)
    if shard is not None and (is_folder(out) or path.suffix != ".tar"):
        raise UsageError(f"--shard-size is for .tar, not for --out {out}")
    if shard is not None and shard < 1:
        raise UsageError(f"--shard-size must be at least 1, not {shard}")
    check_encoding(encoding, name)
    if encoding is not None and not is_folder(out) and path.suffix == ".npz":
        raise UsageError(
            f"--encoding is of the sounds in .wav, .tar or a folder; --out {out} holds an array of floats"
        )
    if is_folder(out):
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {out} is a file, not a folder")
        if indices is not None and path.is_dir():
            from aigc_core.sampling.forms import check_names

            check_names(path, kind, indices)
    elif path.suffix not in kind.endings:
        endings = ", ".join(f"{ending} ({what})" for ending, what in kind.endings.items())
        raise UsageError(
            f"--out {out}: the samples are {kind.items}; end it in {endings} or / (a file a sample)"
        )
    elif shard is None:  # the names of shards are looked at one by one
        _check_foreign(path, kind)


def _check_foreign(path: Path, kind: Modality) -> None:
    """Raises UsageError rather than write over a file, or one beside it, that aigc did not make."""
    from aigc_core.sampling.records import is_ours

    beside = () if path.suffix in MANY else kind.beside
    for there in (path, *(path.with_name(path.name + more) for more in beside)):
        if there.is_file() and there.stat().st_size and not is_ours(there):
            raise UsageError(f"{there} is there already, and aigc did not make it; choose another --out")


def check_encoding(encoding: str | None, name: str) -> None:
    """Raises UsageError if files of that modality can't keep their values so."""
    if encoding is None:
        return
    known = modality(name).encodings
    if not known:
        raise UsageError(f"--encoding is for sounds, and these weights make {name}s; leave it out")
    if encoding not in known:
        raise UsageError(f"--encoding must be one of {', '.join(known)}, not {encoding!r}")


def check_count(out: str | Path, output: Output, count: int) -> None:
    """Raises UsageError if one file that is put together in memory can't hold so many."""
    if holds_many(out):
        return
    kind = modality(output.modality)
    if count > (most := kind.most(output)):
        raise UsageError(
            f"--out {out}: at most {most} of these {kind.items} go into one such file, not {count}; end it in .npz, "
            ".tar or / (a file a sample)"
        )


def form_of(out: str | Path, output: Output, record: Mapping[str, Any], shard: int | None = None) -> Form:
    """What writes to an `out` that holds many."""
    if is_folder(out):
        from aigc_core.sampling.forms import Folder

        return Folder(Path(out), output, record)
    if Path(out).suffix == ".npz":
        from aigc_core.sampling.npz import Npz

        return Npz(Path(out), output, record)
    from aigc_core.sampling.tar import Tar

    return Tar(Path(out), output, record, shard)


def write(
    out: str | Path,
    parts: Iterable[npt.NDArray[Any]],
    output: Output,
    record: Mapping[str, Any],
    notes: Notes | None = None,
) -> None:
    """Writes samples that come in parts, in their order. `notes` must hold those of a part when it comes.

    Raises UsageError for an ending that does not fit, too many samples or a file that aigc did not make, StorageError.
    """
    check_target(out, output.modality, encoding=record.get("encoding"))
    if holds_many(out):
        form = form_of(out, output, record)
        form.notes = notes or form.notes
        with form.place.alone():
            if form.begin():
                return
            first = form.start
            for part in parts:
                form.put(first, part)
                first += len(part)
            form.finish()
        return
    write_one(out, parts, output, record, notes)


def write_one(
    out: str | Path,
    parts: Iterable[npt.NDArray[Any]],
    output: Output,
    record: Mapping[str, Any],
    notes: Notes | None = None,
    sign: Sign | None = None,
) -> str:
    """Puts samples together to one file, and those beside it; returns its content digest. `notes` are read when all
    parts have come.

    Raises UsageError, StorageError.
    """
    kind = modality(output.modality)
    samples = kind.join(list(parts), output)
    indices = range(int(record["start"]), int(record["start"]) + len(samples))
    record = {**record, **(notes.said(indices) if notes else {})}
    check_count(out, output, len(samples))
    files, content = kind.encode(samples, output, record, notes.shown(indices) if notes else ())
    if sign is not None:
        files[""] = sign(files[""], Path(out).suffix, {**record, "content": content})
    with ExitStack() as stack:  # a record beside its file: both are written before either gets its name
        for more, data in files.items():
            stack.enter_context(write_atomically(Path(f"{out}{more}"))).write(data)
    for more in kind.beside:
        if more not in files:  # of what was there before
            Path(f"{out}{more}").unlink(missing_ok=True)
    return content
