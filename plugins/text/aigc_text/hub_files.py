"""Files of a folder that may come from anyone: JSON and tensors, read so that nothing in them can do harm."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from aigc_core.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    from torch import Tensor

SMALL: Final = 1 << 20
"""Bytes of a settings file, at most."""
LARGE: Final = 64 << 20
"""Bytes of a vocabulary or of an index, at most."""
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
SHARD: Final = 5 * 10**9
"""Bytes of tensors in one file, at most, unless one tensor alone is larger."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
FLOATS: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The types of tensors that are taken, and what they are called."""


def read_json(path: Path, most: int = SMALL) -> dict[str, Any]:
    """The object in a file; an empty one where there is no file. Raises DamagedFileError for anything else."""
    if not path.is_file():
        return {}
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(content) > most:
        raise DamagedFileError(f"{path}: larger than {most} bytes, which no such file is")
    try:
        found = json.loads(content.decode(), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path}: is no UTF-8, from byte {error.start} on") from None
    except RecursionError:
        raise DamagedFileError(f"{path}: cannot be read as JSON: it is nested too deeply") from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedFileError(f"{path}: cannot be read as JSON: {reason}") from None
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path}: holds no JSON object")
    if _SURROGATE.search(content):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DamagedFileError(f"{path}: holds half of a surrogate pair, which is no text") from None
    return found


def write_json(path: Path, value: Mapping[str, Any], *, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


class Shards:
    """The tensors of a folder: what they are, and, one by one, their values."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError where there are none that can be read, DamagedFileError."""
        self.files: Final = _files(folder)
        """The names of the files that tensors come from; the index among them."""
        self.shapes: Final[dict[str, tuple[int, ...]]] = {}
        self.types: Final[dict[str, str]] = {}
        self._homes: Final[dict[str, Path]] = {}
        for name in self.files:
            if name != INDEX:
                self._survey(folder / name)
        if INDEX in self.files:
            self._check_index(folder)

    def _survey(self, path: Path) -> None:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118, it is no dict
                if name in self.shapes:
                    raise DamagedFileError(f"{path}: holds {name[:80]!r}, which another file holds too")
                part = file.get_slice(name)
                self.shapes[name], self.types[name] = tuple(part.get_shape()), str(part.get_dtype())
                self._homes[name] = path

    def _check_index(self, folder: Path) -> None:
        for name, home in read_json(folder / INDEX, LARGE)["weight_map"].items():
            if self._homes.get(name) != folder / home:
                raise DamagedFileError(f"{folder / INDEX}: {name[:80]!r} is not in {home}")

    def tensor(self, name: str) -> Tensor:
        """float32, in memory of its own. Raises DataError for a tensor of a type that is not taken."""
        if self.types[name] not in FLOATS:
            raise DataError(
                f"{self._homes[name]}: {name} is of type {self.types[name]}; taken are {', '.join(FLOATS.values())}"
            )
        with _opened(self._homes[name]) as file:
            return torch.empty(self.shapes[name]).copy_(file.get_tensor(name))


def _files(folder: Path) -> list[str]:
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if not (folder / INDEX).is_file():
        pickled = [
            name for name in ("pytorch_model.bin", "pytorch_model.bin.index.json") if (folder / name).exists()
        ]
        if pickled:
            raise DataError(
                f"{folder}: holds its weights as {pickled[0]} alone, a pickle, which runs whatever code is in it and is "
                f"not read; have them saved again as {SINGLE}"
            )
        raise DataError(f"{folder}: holds no {SINGLE} and no {INDEX}")
    table = read_json(folder / INDEX, LARGE).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise DamagedFileError(f"{folder / INDEX}: has no weight_map of names and files")
    names = sorted(set(table.values()))
    for name in names:
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise DamagedFileError(f"{folder / INDEX}: {name[:80]!r} is no .safetensors file beside it")
        if not (folder / name).is_file():
            raise DamagedFileError(f"{folder / INDEX}: names {name}, which is not there")
    return [INDEX, *names]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, ValueError) as error:
        raise DamagedFileError(f"{path}: damaged: {' '.join(str(error).split())[:200]}") from None


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, limit: int = SHARD) -> None:
    """One file, or several with an index where all together are larger than `limit` bytes. Raises OSError."""
    shards: list[dict[str, Tensor]] = [{}]
    room = limit
    for name, tensor in tensors.items():
        if shards[-1] and tensor.nbytes > room:
            shards.append({})
            room = limit
        shards[-1][name] = tensor
        room -= tensor.nbytes
    if len(shards) == 1:
        _save(shards[0], folder / SINGLE)
        return
    table = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _save(shard, folder / file)
        table.update(dict.fromkeys(shard, file))
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": table})


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        code = re.search(r"os error (\d+)|code: (\d+)", str(error))
        raise OSError(int(code[1] or code[2]) if code else 0, str(error), str(path)) from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
