"""IDX files, the format of MNIST: big-endian, a magic number, the dimensions, the bytes."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aigc_core.errors import DamagedFileError

if TYPE_CHECKING:
    import numpy.typing as npt

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, gzipped or not. Raises DamagedFileError."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFileError(f"{path}: truncated or damaged gzip: {error}") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != UNSIGNED_BYTE or not raw[3]:
        raise DamagedFileError(f"{path}: not an IDX file of unsigned bytes")
    start = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[k : k + 4], "big") for k in range(4, start, 4)]
    size = int(np.prod(shape, dtype=object))
    if len(raw) != start + size:
        raise DamagedFileError(f"{path}: says {size} bytes of data, holds {max(0, len(raw) - start)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def is_idx(path: Path) -> bool:
    """Whether a file is named as IDX files are."""
    name = path.name.removesuffix(".gz")
    return name.endswith(("-ubyte", ".idx", ".idx3", ".idx1"))


def labels_beside(path: Path) -> Path | None:
    """The labels that belong to a file of pictures, by MNIST's naming, if they are there."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    for candidate in (name, name.removesuffix(".gz"), name + ".gz"):
        if candidate != path.name and (path.parent / candidate).is_file():
            return path.parent / candidate
    return None
