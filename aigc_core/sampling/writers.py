"""Files of samples: the ending says which kind. Each carries the record of how it was made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import UsageError
from aigc_core.files import write_atomically
from aigc_core.modality import modality
from aigc_core.modality.base import MANY

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.sampling.forms import Form, Sign
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
    out: str | Path, name: str = "image", *, indices: range | None = None, shard: int | None = None
) -> None:
    """Raises UsageError, before anything is computed, if samples of that modality can't be written to `out`.

    indices: of the samples, where they are known; a folder may hold no others. shard: `--shard-size`.
    """
    path, kind = Path(out), modality(name)
    if shard is not None and (is_folder(out) or path.suffix != ".tar"):
        raise UsageError(f"--shard-size is for .tar, not for --out {out}")
    if shard is not None and shard < 1:
        raise UsageError(f"--shard-size must be at least 1, not {shard}")
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
    out: str | Path, parts: Iterable[npt.NDArray[Any]], output: Output, record: Mapping[str, Any]
) -> None:
    """Writes samples that come in parts, in their order.

    Raises UsageError for an ending that does not fit or too many samples, StorageError.
    """
    check_target(out, output.modality)
    if holds_many(out):
        form = form_of(out, output, record)
        with form.place.alone():
            if form.begin():
                return
            first = form.start
            for part in parts:
                form.put(first, part)
                first += len(part)
            form.finish()
        return
    write_one(out, parts, output, record)


def write_one(
    out: str | Path,
    parts: Iterable[npt.NDArray[Any]],
    output: Output,
    record: Mapping[str, Any],
    sign: Sign | None = None,
    told: Callable[[], Mapping[str, Any]] = dict,
) -> str:
    """Puts samples together to one file; returns its content digest. `told`: of the record, what is known at the end.

    Raises UsageError, StorageError.
    """
    import numpy as np

    samples = np.concatenate(list(parts))
    record = {**record, **told()}
    check_count(out, output, len(samples))
    files, content = modality(output.modality).encode(samples, output, record)
    if sign is not None:
        files[""] = sign(files[""], Path(out).suffix, {**record, "content": content})
    with ExitStack() as stack:  # a record beside its file: both are written before either gets its name
        for more, data in files.items():
            stack.enter_context(write_atomically(Path(f"{out}{more}"))).write(data)
    return content
