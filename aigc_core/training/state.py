"""Training state as safetensors and JSON: what torch.save would pickle, kept without pickle.

A nested state (dicts, lists, tuples, tensors, numbers, text) is split into a flat table of tensors and a
JSON skeleton that refers to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from aigc_core.errors import DamagedFileError
from aigc_core.files import write_atomically
from aigc_core.weights.header import canonical, read_header

KEY: Final = "aigc-state"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a nested state, whole or not at all. Raises TypeError for what is no plain value or tensor,
    StorageError where the file system refuses."""
    tensors: dict[str, Tensor] = {}
    skeleton = _split(state, tensors)
    content = save(tensors, metadata={KEY: canonical(skeleton)})
    with write_atomically(path) as file:
        file.write(content)


def check_state(value: Any) -> None:
    """Raises TypeError if `save_state` could not write a value; copies nothing."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            check_state(item)
    elif not isinstance(value, Tensor):
        _split(value, {})


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


def _split(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The JSON for a value; tensors go into the table. Dicts become lists of pairs: their keys may be ints."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        # Fused optimizers run over memory as it lies: a moment must come back in the layout of its parameter.
        return (
            {"t": name} if value.is_contiguous() or not _is_dense(value) else {"t": name, "s": value.stride()}
        )
    if isinstance(value, Mapping):
        return {"d": [[_split(k, tensors), _split(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"u": [_split(v, tensors) for v in value]}
    if isinstance(value, list):
        return {"l": [_split(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"f": value.hex()}  # exact, and JSON has no infinity
    raise TypeError(f"training state can't hold a {type(value).__name__}; use tensors, numbers and text")


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
