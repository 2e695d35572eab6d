"""The samples that a replay is held against: a file, the arrays of an `.npz`, the members of an archive, a folder."""

from __future__ import annotations

import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.errors import AigcError, DamagedFileError, NotFoundError, UsageError
from aigc_core.modality import HOMES, modality
from aigc_core.provenance.compare import Difference, compare, compare_texts, compare_values
from aigc_core.provenance.content import PICTURE, SOUND, TEXT, Content, decode, read, unreadable
from aigc_core.provenance.trace import origin
from aigc_core.sampling.place import difference
from aigc_core.specs import Output

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS: Final = {"image": PICTURE, "audio": SOUND, "text": TEXT}


class Originals(ABC):
    """What is there. `record` is that of the request which made all of it."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self.path: Final = path
        self.record: Final = record

    @property
    def indices(self) -> Sequence[int]:
        """Of the samples, in their order."""
        return range(self.record["start"], self.record["start"] + self.record["count"])

    @abstractmethod
    def differences(self, first: int, samples: npt.NDArray[Any], output: Output) -> Iterator[Difference]:
        """What differs from samples [n, ...] that were made again."""

    def rest(self, output: Output) -> Iterator[Difference]:
        """What can be said only when all samples were handed over."""
        return iter(())


def originals(path: Path) -> Originals:
    """What lies at a path. Raises NotFoundError, UsageError where no request made it, DamagedFileError."""
    if path.is_dir():
        return Folder(path, *_request_of(path))
    record = origin(path).record
    if "picture_of" in record:
        raise UsageError(f"{path} is the picture beside a sound; replay that: {path.with_suffix('')}")
    if path.suffix == ".npz":
        return Npz(path, record)
    return Tar(path, record) if path.suffix == ".tar" else One(path, record)


class One(Originals):
    """A picture, a sheet, a sound, a text: one file of all samples."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        super().__init__(path, record)
        self._parts: Final[list[npt.NDArray[Any]]] = []

    def differences(self, first: int, samples: npt.NDArray[Any], output: Output) -> Iterator[Difference]:
        self._parts.append(samples)
        return iter(())

    def rest(self, output: Output) -> Iterator[Difference]:
        kind = modality(output.modality)
        again = kind.content(kind.join(self._parts, output), output)
        if found := compare(self.path.name, read(self.path), again):
            yield found


class Npz(Originals):
    """One array, its rows the samples."""

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def differences(self, first: int, samples: npt.NDArray[Any], output: Output) -> Iterator[Difference]:
        kind, count = KINDS[output.modality], self.record["count"]
        arrays = dict(modality(output.modality).arrays(samples, output))
        ends = arrays.pop("lengths", None)
        told = self._arrays.get("lengths", np.empty(0))
        if ends is not None and (told.shape != (count,) or told.dtype.kind not in "iu"):
            yield Difference(self.path.name, "it does not say the lengths of its samples")
            return
        for name, again in arrays.items():
            there = self._arrays.get(name)
            if there is None:
                yield Difference(self.path.name, f"it holds no array {name}")
                continue
            if not again.ndim:  # what is one for all samples
                if there.tolist() != again.tolist():
                    yield Difference(name, f"{there.tolist()} there, {again.tolist()} here")
                continue
            if there.shape[:1] != (count,):
                raise DamagedFileError(f"{self.path}: its {name} are not the {count} samples of its record")
            for index, row in enumerate(again, first):
                at, what = index - self.record["start"], f"sample {index}"
                original = there[at]
                if ends is not None:
                    end, long = int(ends[index - first]), int(told[at])
                    if long != end:
                        yield Difference(what, f"{long} samples there, {end} here")
                        continue
                    original, row = original[..., :end], row[..., :end]
                found = (
                    compare_texts(what, str(original), str(row))
                    if kind == TEXT
                    else compare_values(what, original, row, kind)
                )
                if found:
                    yield found


class _Files(Originals):
    """A file a sample."""

    def differences(self, first: int, samples: npt.NDArray[Any], output: Output) -> Iterator[Difference]:
        kind = modality(output.modality)
        wanted = set(self.indices)
        for row in range(len(samples)):
            index, name = first + row, f"{first + row:06d}{next(iter(kind.endings))}"
            if index not in wanted:
                continue
            try:
                there = self._content(name, KINDS[output.modality])
            except NotFoundError:
                yield Difference(name, "it is missing")
            except AigcError as error:
                yield Difference(name, str(error).partition(": ")[2])
            else:
                if found := compare(name, there, kind.content(samples[row : row + 1], output)):
                    yield found

    @abstractmethod
    def _content(self, name: str, kind: str) -> Content:
        """Raises NotFoundError, DamagedFileError."""


class Tar(_Files):
    """An archive, or one of several."""

    @cached_property
    def _members(self) -> dict[str, tuple[int, int]]:
        """Where each file lies, and how many bytes it has."""
        try:
            with tarfile.open(self.path, "r:") as archive:
                return {info.name: (info.offset_data, info.size) for info in archive if info.isfile()}
        except Exception as error:
            raise unreadable(self.path, error) from None

    def _content(self, name: str, kind: str) -> Content:
        if name not in self._members:
            raise NotFoundError(f"no {name} in {self.path}")
        with open(self.path, "rb") as file:
            offset, size = self._members[name]
            file.seek(offset)
            content = file.read(size)
        return decode(lambda: content, kind, self.path / name)


class Folder(_Files):
    """What `--out dir/` wrote, or what is left of it."""

    def __init__(self, path: Path, record: Mapping[str, Any], indices: Sequence[int]) -> None:
        super().__init__(path, record)
        self._indices: Final = indices

    @property
    def indices(self) -> Sequence[int]:
        return self._indices

    def _content(self, name: str, kind: str) -> Content:
        return read(self.path / name)


def _request_of(folder: Path) -> tuple[dict[str, Any], list[int]]:
    """The request that made the samples in a folder, and their indices."""
    endings = {next(iter(modality(name).endings)) for name in HOMES}
    paths = sorted(p for p in folder.iterdir() if p.stem.isdecimal() and p.suffix in endings)
    if not paths:
        raise NotFoundError(f"{folder} holds no samples, which are named 000000.png, 000001.png, ...")
    request: dict[str, Any] | None = None
    indices = []
    for path in paths:
        record = {**origin(path).record}
        index, count = int(record.get("start", 0)), record.pop("count", 1)
        if count != 1 or path.stem != f"{index:06d}":
            raise UsageError(f"{path} is not sample {int(path.stem)} of a request; replay it by itself")
        record.pop("content", None)
        record["start"] = 0
        if request is not None and (what := difference(json.loads(json.dumps(record)), request)):
            raise UsageError(
                f"{path} was made otherwise than {paths[0].name}: {what}; replay them one by one"
            )
        request = request or record
        indices.append(index)
    assert request is not None
    return {**request, "start": indices[0], "count": indices[-1] - indices[0] + 1}, indices
