"""Tensors from a file that `torch.save` wrote, without running what is in it.

Such a file is a pickle: a program for a machine with a stack, which may call anything. Here its instructions are
listed (`pickletools.genops` takes them apart and runs none), and only those are followed that put together a table of
names and tensors; what would be a call becomes a note of which name was to be called, and only notes of known names are
understood. Both forms are read: the zip archive of torch 1.6 and later, and the one before.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickletools
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import torch

from aigc_core.errors import DamagedFileError, NotFoundError, StorageError

if TYPE_CHECKING:
    from torch import Tensor

_TYPES: Final[Mapping[str, Any]] = {
    "torch FloatStorage": "<f4", "torch DoubleStorage": "<f8", "torch HalfStorage": "<f2", "torch LongStorage": "<i8",
    "torch IntStorage": "<i4", "torch ShortStorage": "<i2", "torch CharStorage": "<i1", "torch ByteStorage": "<u1",
}  # fmt: skip
_MAGIC: Final = 0x1950A86A20F9469CFC6C
_TABLE: Final = "collections OrderedDict"
_TENSOR: Final = "torch._utils _rebuild_tensor_v2"


@dataclass(frozen=True, slots=True)
class _Name:
    """What a pickle would import."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """A row of numbers that lies elsewhere in the file."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor, as a part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Strange(Exception):
    """What is not put together of names, numbers and tensors."""


def read(path: Path, digest: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file, by name, and its sha256 in hexadecimal digits.

    digest: those that it must begin with. Raises NotFoundError, StorageError, DamagedFileError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(digest):
        raise DamagedFileError(f"{path}: truncated or altered: its sha256 does not begin with {digest[:16]}")
    try:
        file = io.BytesIO(content)
        return (_of_zip(file) if zipfile.is_zipfile(file) else _of_stream(file)), found
    except (_Strange, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{path}: no table of tensors: {' '.join(str(error).split())}") from None


def _of_zip(file: BinaryIO) -> dict[str, Tensor]:
    with zipfile.ZipFile(file) as archive:
        (listing,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        table = _value(io.BytesIO(archive.read(listing)))
        folder = listing.removesuffix("data.pkl")
        return _filled(table, lambda storage: archive.read(f"{folder}data/{storage.key}"))


def _of_stream(file: BinaryIO) -> dict[str, Tensor]:
    """The older form: a mark, a version, a description of the machine, the table, the keys of the storages, and then
    each of them, its length before it."""
    file.seek(0)
    if _value(file) != _MAGIC or _value(file) != 1001 or _value(file).get("little_endian") is not True:
        raise _Strange("it does not begin as files of torch do")
    table, keys = _value(file), _value(file)
    kinds = {view.storage.key: view.storage.kind for view in table.values() if isinstance(view, _View)}
    found: dict[str, bytes] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        size = count * np.dtype(_TYPES[kinds[key]]).itemsize
        found[key] = file.read(size)
    return _filled(table, lambda storage: found[storage.key])


def _filled(table: Any, storage: Callable[[_Storage], bytes]) -> dict[str, Tensor]:
    """The tensors of a table of views."""
    if not isinstance(table, dict) or not all(
        isinstance(name, str) and isinstance(view, _View) for name, view in table.items()
    ):
        raise _Strange("it holds more than names and tensors")
    made = {}
    for name, view in table.items():
        numbers = np.frombuffer(storage(view.storage), _TYPES[view.storage.kind])
        reach = view.offset + sum((n - 1) * step for n, step in zip(view.shape, view.strides, strict=True))
        if len(numbers) != view.storage.count or (math.prod(view.shape) and not 0 <= reach < len(numbers)):
            raise _Strange(f"tensor {name!r} does not fit its storage")
        whole = torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=True))
        made[name] = whole.as_strided(view.shape, view.strides, view.offset).clone()
    return made


def _value(file: BinaryIO) -> Any:
    """What the next pickle of a file stands for. Raises _Strange for any that is no plain data with tensors."""
    machine = _Machine()
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "STOP":
            return machine.stack.pop()
        machine.follow(operation.name, argument)
    raise _Strange("it ends too early")


class _Machine:
    """Follows the instructions that plain data take, and no others."""

    def __init__(self) -> None:
        self.stack: Final[list[Any]] = []
        self._marks: Final[list[int]] = []
        self._memo: Final[dict[int, Any]] = {}

    def follow(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PLAIN:
            stack.append(_PLAIN[name])
        elif name in _GIVEN:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name == "GLOBAL":
            stack.append(_Name(argument))
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("APPEND", "APPENDS"):
            new = [stack.pop()] if name == "APPEND" else self._since_mark()
            stack[-1].extend(new)
        elif name in ("SETITEM", "SETITEMS"):
            new = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._since_mark()
            stack[-1].update(zip(new[::2], new[1::2], strict=True))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            given = stack.pop()
            stack.append(_called(stack.pop(), given))
        elif name == "BUILD":  # attributes of a table: notes on versions of layers
            stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _Strange(f"its instruction {name} is none that a table of tensors takes")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found


_PLAIN: Final[Mapping[str, Any]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Final[Mapping[str, Callable[[], Any]]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_GIVEN: Final = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT"}


def _storage(given: Any) -> _Storage:
    kind, name, key, _, count = given[:5] if isinstance(given, tuple) and len(given) >= 5 else (None,) * 5
    if (
        kind != "storage"
        or not isinstance(name, _Name)
        or name.name not in _TYPES
        or not isinstance(key, str)
        or not _is_count(count)
    ):
        raise _Strange("a storage is not described as torch does")
    return _Storage(name.name, key, count)


def _called(what: Any, given: Any) -> Any:
    """What a call would give, of the two that are understood."""
    if what == _Name(_TABLE) and given == ():
        return {}
    if what == _Name(_TENSOR) and isinstance(given, tuple) and len(given) >= 4:
        storage, offset, shape, strides = given[:4]
        numbers = (offset, *shape, *strides)
        if isinstance(storage, _Storage) and len(shape) == len(strides) and all(map(_is_count, numbers)):
            return _View(storage, offset, shape, strides)
    raise _Strange(f"it would call {what.name if isinstance(what, _Name) else 'what it made itself'}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize
