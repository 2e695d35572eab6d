"""Training state as safetensors and JSON: what torch.save would pickle, kept without pickle.

A nested state (dicts, lists, tuples, tensors, numbers, text) is split into a flat table of tensors and a
JSON skeleton that refers to them. The table is copied into one buffer that is laid out as the file is, so that
taking a snapshot is one pass over memory, and writing it one call that needs no lock of Python's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from aigc_core.errors import DamagedFileError
from aigc_core.files import write_atomically
from aigc_core.training.parallel import local, whole
from aigc_core.weights.header import canonical, read_header
from aigc_core.weights.reading import DTYPES

KEY: Final = "aigc-state"


@dataclass(frozen=True)
class Layout:
    """Where everything of a state lies in its file."""

    header: bytes
    tensors: list[Tensor]
    """In the file's order: by falling size of their elements, so that each lies aligned; of those of four
    bytes, the float32 first."""
    floats: slice
    """The bytes of the float32."""
    size: int


@dataclass(frozen=True)
class Snapshot:
    """A copy of a state, as the bytes of its file: a header, and one buffer for all tensors."""

    header: bytes
    buffer: Tensor
    """uint8 [bytes], on the CPU"""
    floats: slice

    def finite(self) -> bool:
        """Whether all float32 in it are finite numbers: if so, their sum is."""
        return bool(torch.isfinite(self.buffer[self.floats].view(torch.float32).sum()))

    def write(self, path: Path) -> None:
        """Writes it, whole or not at all. Raises StorageError."""
        with write_atomically(path) as file:
            file.write(self.header)
            file.write(self.buffer.numpy().data)


def snapshot(state: Mapping[str, Any], into: Tensor | None = None) -> Snapshot:
    """A copy of a nested state. Raises TypeError for what is no plain value or tensor.

    into: the buffer of an earlier snapshot that is needed no longer; taken if it is large enough, since
    fresh memory costs as much as the copy.
    """
    layout = _layout(state)
    if into is None or len(into) < layout.size:
        into = torch.empty(layout.size, dtype=torch.uint8)
    buffer, begin, targets = into[: layout.size], 0, []
    for tensor in layout.tensors:
        end = begin + tensor.nbytes
        targets.append(buffer[begin:end].view(tensor.dtype).view(tensor.shape))
        begin = end
    if targets:
        torch._foreach_copy_(targets, layout.tensors)
    return Snapshot(layout.header, buffer, layout.floats)


def write_gathered(path: Path | None, state: Mapping[str, Any]) -> bool:
    """Writes a state whose tensors are shared out over processes, gathering one after the other, so that no
    process ever holds them all. All processes call it, and one gives a path. Returns whether all float32 in it
    are finite; otherwise nothing is kept. Raises as `save_state`."""
    layout = _layout(state)
    finite = True
    with write_atomically(path) if path else contextlib.nullcontext() as file:
        if file is not None:
            file.write(layout.header)
        for tensor in layout.tensors:
            full = whole(tensor)
            finite = finite and (full.dtype != torch.float32 or bool(torch.isfinite(full).all()))
            if file is not None:
                file.write(full.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if not finite and path is not None:
        path.unlink()
    return finite


def _layout(state: Mapping[str, Any]) -> Layout:
    table: dict[str, Tensor] = {}
    header: dict[str, Any] = {"__metadata__": {KEY: canonical(_split(state, table, {}))}}
    order = sorted(table, key=lambda n: (-table[n].element_size(), table[n].dtype != torch.float32))
    begin, floats = 0, slice(0, 0)
    for name in order:
        tensor = table[name]
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": tuple(tensor.shape),
            "data_offsets": (begin, end),
        }
        if tensor.dtype == torch.float32:
            floats = slice(floats.start if floats.stop else begin, end)
        begin = end
    text = canonical(header).encode()
    text += b" " * (-len(text) % 8)
    return Layout(len(text).to_bytes(8, "little") + text, [table[n] for n in order], floats, begin)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a nested state, whole or not at all. Raises TypeError for what is no plain value or tensor,
    StorageError where the file system refuses."""
    snapshot(state).write(path)


def check_state(value: Any) -> None:
    """Raises TypeError if `save_state` could not write a value; copies nothing."""
    _split(value, {}, {})


def load_state(path: Path) -> dict[str, Any]:
    """Reads it again. Raises NotFoundError or DamagedFileError."""
    read_header(path)
    try:
        tensors = load_file(path)
        skeleton = json.loads(_metadata(path)[KEY])
        joined = _join(skeleton, tensors)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{path}: not a checkpoint: {error}") from None
    if not isinstance(joined, dict):
        raise DamagedFileError(f"{path}: not a checkpoint")
    return joined


def _metadata(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _split(value: Any, tensors: dict[str, Tensor], seen: dict[tuple[Any, ...], str]) -> Any:
    """The JSON for a value; tensors go into the table, each once however often it is met. Dicts become lists
    of pairs: their keys may be ints."""
    if isinstance(value, Tensor):
        return _split_tensor(value.detach(), tensors, seen)
    if isinstance(value, Mapping):
        return {"d": [[_split(k, tensors, seen), _split(v, tensors, seen)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"u": [_split(v, tensors, seen) for v in value]}
    if isinstance(value, list):
        return {"l": [_split(v, tensors, seen) for v in value]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"f": value.hex()}  # exact, and JSON has no infinity
    raise TypeError(f"training state can't hold a {type(value).__name__}; use tensors, numbers and text")


def _split_tensor(tensor: Tensor, tensors: dict[str, Tensor], seen: dict[tuple[Any, ...], str]) -> Any:
    if tensor.dtype not in DTYPES:
        raise TypeError(f"training state can't hold a tensor of {tensor.dtype}")
    held = local(tensor)
    place = (held.data_ptr(), held.dtype, held.shape, held.stride(), held.device)
    name = seen.get(place) if held.numel() else None
    if name is None:
        name = str(len(tensors))
        tensors[name] = tensor
        seen[place] = name
    # Fused optimizers run over memory as it lies: a moment must come back in the layout of its parameter.
    if held is not tensor or tensor.is_contiguous() or not _is_dense(tensor):
        return {"t": name}
    return {"t": name, "s": tensor.stride()}


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory without holes or overlaps, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "t" in value:
        tensor = tensors[value["t"]]
        if "s" not in value:
            return tensor
        return torch.empty_strided(tensor.shape, value["s"], dtype=tensor.dtype).copy_(tensor)
    ((kind, content),) = value.items()
    if kind == "f":
        return float.fromhex(content)
    if kind == "d":
        return {_join(k, tensors): _join(v, tensors) for k, v in content}
    items = [_join(v, tensors) for v in content]
    return tuple(items) if kind == "u" else items
