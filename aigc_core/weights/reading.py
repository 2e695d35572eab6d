"""Tensors from a weights file: what is hashed is what is parsed, read once and straight into its place."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import torch
from torch.overrides import TorchFunctionMode

from aigc_core.errors import BackendError, DamagedFileError
from aigc_core.weights.header import Header, header_of, open_file, tensor_head

if TYPE_CHECKING:
    from torch import Tensor

PIECE: Final = 4 * 2**20
"""Bytes that are read while those before them are hashed."""

DTYPES: Final = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.int64: "I64",
    torch.float64: "F64", torch.complex64: "C64",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
"""safetensors' names of torch's types"""
_TYPES: Final = {name: dtype for dtype, name in DTYPES.items()}


class Reader:
    """A weights file that is open: its header is read, its tensors can be."""

    def __init__(self, file: BinaryIO, header: Header, head: bytes) -> None:
        self.header: Final = header
        self._file: Final = file
        self._head: Final = head

    def tensors(self, digest: str | None, *, verify: bool = True) -> dict[str, Tensor]:
        """All tensors, on the CPU, in memory that nobody else can change.

        digest: what the whole file must be; without one, the tensors must be what the record says.
        `verify=False` checks neither. Raises DamagedFileError.
        """
        tensors = {
            name: torch.empty(info.end - info.start, dtype=torch.uint8)
            for name, info in self.header.tensors.items()
        }
        infos = self.header.tensors
        if strange := sorted({info.dtype for info in infos.values()} - set(_TYPES)):
            raise BackendError(
                f"{self.header.path}: holds tensors of type {strange[0]}, which this torch does not know"
            )
        whole = digest is not None
        hash = hashlib.sha256(self._head if whole else b"")
        with ThreadPoolExecutor(1) as beside:
            last: Future[None] | None = None
            hashed: Callable[[Any], None] = hash.update if verify else _nothing
            for name in sorted(infos, key=(lambda n: (infos[n].start, infos[n].end)) if whole else None):
                info = infos[name]
                if verify and not whole:
                    beside.submit(hash.update, tensor_head(name, info.dtype, info.shape))
                for piece in self._fill(tensors[name], self.header.data_start + info.start):
                    last = beside.submit(hashed, piece)
        if last is not None:
            last.result()
        if verify:
            promised = digest if whole else self.header.record.get("tensors_digest")
            if f"sha256:{hash.hexdigest()}" != promised:
                what = "it is not what the store keeps" if whole else "its tensors do not match their digest"
                raise DamagedFileError(f"{self.header.path}: altered or damaged: {what}")
        return {
            name: tensors[name].view(_TYPES[info.dtype]).reshape(info.shape) for name, info in infos.items()
        }

    def _fill(self, tensor: Tensor, offset: int) -> Iterator[memoryview]:
        """Reads the bytes of a tensor, and yields them piece by piece."""
        view = tensor.numpy().data
        self._file.seek(offset)
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done : done + PIECE])  # type: ignore[attr-defined]
            if not count:
                raise DamagedFileError(f"{self.header.path}: truncated while it was read")
            yield view[done : done + count]
            done += count


def _nothing(piece: memoryview) -> None:
    pass


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Opens a weights file. Raises NotFoundError, StorageError, DamagedFileError."""
    with open_file(path) as file:
        header, head = header_of(file, path)
        yield Reader(file, header, head)


class Uninitialised(TorchFunctionMode):
    """Within it, parameters are not filled with the values that a module begins with: they are about to be loaded.

    Only what is drawn or set in place into a `Parameter` is skipped, so that a constructor that computes something
    works as ever.
    """

    _SKIPPED: Final = {
        getattr(torch.Tensor, name)
        for name in ("uniform_", "normal_", "fill_", "zero_", "exponential_", "bernoulli_")
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if type(target) is torch.nn.Parameter and (
            func in self._SKIPPED or getattr(func, "__module__", "") == "torch.nn.init"
        ):
            return target
        return func(*args, **kwargs)


def fit(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor as it must lie in memory to take the place of another: kernels are chosen by that."""
    if tensor.stride() == like.stride() or tensor.shape != like.shape:
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
