"""Files of samples: the ending says which kind. Each carries the record of how it was made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError
from aigc_core.files import storage_errors, write_atomically
from aigc_core.modality import HOMES, modality

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.specs import Output

    Parts = Iterator[npt.NDArray[Any]]


def is_folder(out: str | Path) -> bool:
    """Whether `out` means a folder: it is one, ends in a slash, or has no ending."""
    return str(out).endswith(("/", os.sep)) or Path(out).is_dir() or not Path(out).suffix


def check_target(out: str | Path, name: str = "image") -> None:
    """Raises UsageError, before anything is computed, if samples of that modality can't be written to `out`."""
    path, kind = Path(out), modality(name)
    if is_folder(out):
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {out} is a file, not a folder")
        if path.is_dir() and any(path.iterdir()):
            raise UsageError(f"--out {out} is a folder with files in it; name a new one, or empty it")
    elif path.suffix not in kind.endings:
        endings = ", ".join(f"{ending} ({what})" for ending, what in kind.endings.items())
        raise UsageError(
            f"--out {out}: the samples are {kind.items}; end it in {endings} or / (a file a sample)"
        )


def write(out: str | Path, parts: Parts, output: Output, record: Mapping[str, Any]) -> None:
    """Writes samples that come in parts, in their order; whole or not at all.

    Raises UsageError for an ending that does not fit, StorageError.
    """
    import numpy as np

    kind, path = modality(output.modality), Path(out)
    if is_folder(out):
        _write_folder(path, parts, output, record)
        return
    if path.suffix not in kind.endings:
        check_target(out, output.modality)
    samples = np.concatenate(list(parts))
    if path.suffix == ".npz":
        with write_atomically(path) as file:
            np.savez_compressed(file, **kind.arrays(samples, output), record=np.array(json.dumps(record)))  # type: ignore[arg-type]
        return
    contents = kind.encode(samples, output, record)
    with ExitStack() as stack:  # a record beside its file: both are written before either gets its name
        for more, content in contents.items():
            stack.enter_context(write_atomically(Path(f"{path}{more}"))).write(content)


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file that aigc wrote samples to. Raises NotFoundError, DamagedFileError, or
    UsageError for a file without a record."""
    if not path.is_file():
        raise NotFoundError(f"no file {path}")
    try:
        text = _record_text(path)
        record = json.loads(text) if text else None
    except Exception as error:
        raise DamagedFileError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(record, dict):
        raise UsageError(f"{path}: carries no record of aigc")
    return record


def _record_text(path: Path) -> str:
    if path.suffix == ".npz":
        import numpy as np

        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return str(archive["record"]) if "record" in archive.files else ""
    kinds = [kind for kind in map(modality, HOMES) if path.suffix in kind.endings]
    return kinds[0].record_text(path) if kinds else ""


def _write_folder(out: Path, parts: Parts, output: Output, record: Mapping[str, Any]) -> None:
    """`000007.png` is sample 7. If it cannot be finished, what was written is taken away again."""
    kind = modality(output.modality)
    ending = next(iter(kind.endings))
    index = record["start"]
    written: list[Path] = []
    existed = out.is_dir()
    try:
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        for part in parts:
            for i in range(len(part)):
                contents = kind.encode(part[i : i + 1], output, {**record, "start": index, "count": 1})
                for more, content in contents.items():
                    path = out / f"{index:06d}{ending}{more}"
                    with storage_errors(path):
                        written.append(path)
                        path.write_bytes(content)
                index += 1
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
