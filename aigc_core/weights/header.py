"""The header of a `.safetensors` file, read without torch and without touching the tensors.

The format: 8 bytes little-endian header length, that many bytes of JSON (`{name: {dtype, shape,
data_offsets}, "__metadata__": {text: text}}`), then the tensors' bytes, without holes.
aigc keeps its own record as canonical JSON under the one metadata key `aigc`: one key, since the format
does not fix the order of several.

The file may come from anyone. Its outer JSON is therefore read by a grammar that knows nothing but such
headers: what it takes is a few times the file's size, whatever is in it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from aigc_core.errors import DamagedFileError, NotFoundError, StorageError, UsageError
from aigc_core.weights import grammar, outline, strict
from aigc_core.weights.grammar import Entry

FORMAT: Final = 1
KEY: Final = "aigc"
MAX_HEADER: Final = 100_000_000
PIECE: Final = 2**20
ITEM_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip
NO_SUCH_FILE: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself, checked against its length."""

    path: Path
    tensors: Mapping[str, Entry]
    record: Mapping[str, Any]
    """The `aigc` record; empty in a file of other origin."""
    data_start: int
    size: int


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def read_header(path: Path) -> Header:
    """Reads and checks a header. Raises what `opened` raises, and DamagedFileError."""
    with opened(path) as file:
        return header_of(file, path)[0]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[FileIO]:
    """A file to be read within the block. Raises NotFoundError, StorageError where the file system refuses."""
    with _readable(path), open_file(path) as file:
        yield file


def open_file(path: Path) -> FileIO:
    """Opens a file to read it. Raises NotFoundError for what is none, StorageError where that is refused."""
    if "\0" in os.fspath(path):
        raise NotFoundError(f"no file {os.fspath(path)!r}")
    with _readable(path):
        # Of a pipe, which is no file, one would wait for the other end.
        file = FileIO(path, opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK))
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise NotFoundError(f"{path} is no file")
    return file


def header_of(file: BinaryIO | FileIO, path: Path) -> tuple[Header, bytes]:
    """The header of a file that is open, called `path` in errors, and its bytes. Raises DamagedFileError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    fits = len(prefix) == 8 and 2 <= length <= min(MAX_HEADER, size - 8)
    if not fits or len(text := file.read(length)) < length:
        raise DamagedFileError(f"{path}: not a safetensors file, or cut off within its header")
    try:
        tensors, own = grammar.read(text.decode(), KEY)
    except ValueError as error:
        raise DamagedFileError(f"{path}: unreadable header: {' '.join(str(error).split())}") from None
    header = Header(path, tensors, _record(own, path), 8 + length, size)
    _check_layout(header)
    return header, prefix + text


def output_modality(header: Header) -> str:
    """Which modality the samples of these weights are of. Raises UsageError or DamagedFileError."""
    if not header.record:
        raise UsageError(
            f"{header.path}: a safetensors file that aigc did not write; it does not say its model"
        )
    outline.check(header.record, header.path)
    return str(header.record["output"]["modality"])


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
    hash = hashlib.sha256()
    with opened(header.path) as file:
        for name, t in sorted(header.tensors.items()):
            hash.update(tensor_head(name, t.dtype, t.shape))
            file.seek(header.data_start + t.start)
            left = t.end - t.start
            while left:
                piece = file.read(min(left, PIECE))
                if not piece:
                    raise DamagedFileError(f"{header.path}: truncated while it was read")
                hash.update(piece)
                left -= len(piece)
    return f"sha256:{hash.hexdigest()}"


def check_tensors(header: Header) -> None:
    """Raises DamagedFileError if the tensors are not those that the record names."""
    if "tensors_digest" not in header.record:
        raise UsageError(f"{header.path}: aigc did not write it, so it carries no digest to check")
    if tensors_digest(header) != header.record.get("tensors_digest"):
        raise DamagedFileError(f"{header.path}: altered or damaged: its tensors do not match their digest")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            raise NotFoundError(f"no file {path}") from None
        raise StorageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def _record(text: str | None, path: Path) -> dict[str, Any]:
    """aigc's own record. Raises DamagedFileError."""
    if text is None:
        return {}
    try:
        record = strict.parse(text)
    except ValueError as error:
        raise DamagedFileError(f"{path}: unreadable record: {' '.join(str(error).split())}") from None
    if not isinstance(record, dict):
        raise DamagedFileError(f"{path}: unreadable record: it is no object")
    found = record.get("format")
    if record and (type(found) is not int or found != FORMAT):
        raise DamagedFileError(
            f"{path}: written in format {found!r:.20}, this aigc reads format {FORMAT}; upgrade aigc-core"
        )
    return record


def _bits(info: Entry) -> int:
    """The size of a tensor, or -1 if no file can hold it."""
    result = ITEM_BITS[info.dtype]
    for n in info.shape:
        result *= n
        if result >= 2**64:
            return -1
    return result


def _check_layout(header: Header) -> None:
    """Raises DamagedFileError unless the tensors fill the file exactly, one after the other."""
    position = 0
    for name, info in sorted(header.tensors.items(), key=_place):
        if (
            info.dtype not in ITEM_BITS
            or info.start != position
            or (info.end - info.start) * 8 != _bits(info)
        ):
            raise DamagedFileError(f"{header.path}: tensor {name[:50]!r} does not lie where the header says")
        position = info.end
    if header.data_start + position != header.size:
        missing = header.data_start + position - header.size
        state = f"truncated: {missing} bytes are missing" if missing > 0 else f"{-missing} bytes too long"
        raise DamagedFileError(f"{header.path}: {state}")


def _place(item: tuple[str, Entry]) -> tuple[int, int]:
    return item[1].start, item[1].end
