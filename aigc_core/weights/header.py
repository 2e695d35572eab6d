"""The header of a `.safetensors` file, read without torch and without touching the tensors.

The format: 8 bytes little-endian header length, that many bytes of JSON (`{name: {dtype, shape,
data_offsets}, "__metadata__": {text: text}}`), then the tensors' bytes, without holes.
aigc keeps its own record as canonical JSON under the one metadata key `aigc`: one key, since the format
does not fix the order of several.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError

FORMAT: Final = 1
KEY: Final = "aigc"
MAX_HEADER: Final = 100_000_000
ITEM_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself, checked against its length."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    record: Mapping[str, Any]
    """The `aigc` record; empty in a file of other origin."""
    data_start: int
    size: int


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def read_header(path: Path) -> Header:
    """Reads and checks a header. Raises NotFoundError, or DamagedFileError for anything that is not whole."""
    try:
        with open(path, "rb") as file:
            return header_of(file, path)[0]
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(f"no weights file {path}") from None


def header_of(file: BinaryIO, path: Path) -> tuple[Header, bytes]:
    """The header of a file that is open, called `path` in errors, and its bytes. Raises DamagedFileError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
        raise DamagedFileError(f"{path}: not a safetensors file, or cut off within its header")
    text = file.read(length)
    try:
        raw = json.loads(text, object_pairs_hook=unique)
        metadata = raw.pop("__metadata__", {})
        tensors = {name: _tensor_info(entry) for name, entry in raw.items()}
        record = json.loads(metadata[KEY], object_pairs_hook=unique) if KEY in metadata else {}
        if not isinstance(record, dict):
            raise TypeError("the record is no object")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{path}: unreadable header: {' '.join(str(error).split())}") from None
    header = Header(path, tensors, record, 8 + length, size)
    _check_layout(header)
    if record and record.get("format") != FORMAT:
        raise DamagedFileError(
            f"{path}: written in format {record.get('format')}, this aigc reads format {FORMAT}; upgrade aigc-core"
        )
    return header, prefix + text


def output_modality(header: Header) -> str:
    """Which modality the samples of these weights are of. Raises UsageError or DamagedFileError."""
    if not header.record:
        raise UsageError(
            f"{header.path}: a safetensors file that aigc did not write; it does not say its model"
        )
    try:
        return str(header.record["output"]["modality"])
    except (KeyError, TypeError):
        raise DamagedFileError(f"{header.path}: its record is incomplete: it names no output") from None


def tensor_head(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """What a digest of tensors takes in before the bytes of each of them."""
    return canonical([name, dtype, list(shape)]).encode()


def digest_of_parts(parts: Iterator[tuple[str, str, tuple[int, ...], Any]]) -> str:
    """`sha256:...` over (name, dtype, shape, bytes), which must come sorted by name."""
    hash = hashlib.sha256()
    for name, dtype, shape, data in parts:
        hash.update(tensor_head(name, dtype, shape))
        hash.update(data)
    return f"sha256:{hash.hexdigest()}"


def tensors_digest(header: Header) -> str:
    """The digest of the tensors as they lie in the file now; reads all of it, needs no torch."""
    import mmap

    with open(header.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            return digest_of_parts(
                (name, t.dtype, t.shape, view[header.data_start + t.start : header.data_start + t.end])
                for name, t in sorted(header.tensors.items())
            )
        finally:
            view.release()


def check_tensors(header: Header) -> None:
    """Raises DamagedFileError if the tensors are not those that the record names."""
    if "tensors_digest" not in header.record:
        raise UsageError(f"{header.path}: aigc did not write it, so it carries no digest to check")
    if tensors_digest(header) != header.record.get("tensors_digest"):
        raise DamagedFileError(f"{header.path}: altered or damaged: its tensors do not match their digest")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: raises ValueError for a key that occurs twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _tensor_info(entry: Mapping[str, Any]) -> TensorInfo:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(n) is int and 0 <= n < 2**48 for n in (*shape, start, end)):
        raise ValueError("shape or offset is no small whole number")
    return TensorInfo(str(entry["dtype"]), shape, start, end)


def _count(shape: tuple[int, ...]) -> int:
    result = 1
    for n in shape:
        result *= n
    return result


def _check_layout(header: Header) -> None:
    """Raises DamagedFileError unless the tensors fill the file exactly, one after the other."""
    position = 0
    for name, info in sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        bits = ITEM_BITS.get(info.dtype)
        if bits is None or info.start != position or info.end - info.start != _count(info.shape) * bits // 8:
            raise DamagedFileError(f"{header.path}: tensor {name!r} does not lie where the header says")
        position = info.end
    if header.data_start + position != header.size:
        missing = header.data_start + position - header.size
        state = f"truncated: {missing} bytes are missing" if missing > 0 else f"{-missing} bytes too long"
        raise DamagedFileError(f"{header.path}: {state}")
