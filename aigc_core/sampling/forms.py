"""Outputs that hold as many samples as there are. This one is a folder; see `npz` and `tar`.

Each is written in pieces, in any order and by any number of processes, and then put together.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aigc_core.errors import AigcError, UsageError
from aigc_core.modality import modality
from aigc_core.sampling.notes import Notes
from aigc_core.sampling.place import NAME, Place, difference
from aigc_core.sampling.records import is_ours, read_record

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.modality.base import Encoded, Modality
    from aigc_core.specs import Output


Sign = Callable[[bytes, str, Mapping[str, Any]], bytes]
"""Signs the bytes of a file, given its ending and its record."""


class Form(ABC):
    """One output. `begin` in one process, `has` and `put` in any, `finish` in one when all pieces are there."""

    is_folder: ClassVar = False

    def __init__(self, out: Path, output: Output, record: Mapping[str, Any]) -> None:
        self.out: Final = out
        self.output: Final = output
        self.record: Final = record
        self.kind: Final[Modality] = modality(output.modality)
        self.start, self.end = int(record["start"]), int(record["start"]) + int(record["count"])
        self.place: Final = Place(out, self.is_folder)
        self.enter: Callable[[str, int, int], None] = _nowhere
        """Told the content digest, first index and count of each file and sample that is kept here."""
        self.sign: Sign | None = None
        self.notes = Notes()
        """Of the samples that are to be put."""

    @abstractmethod
    def begin(self) -> bool:
        """Looks at what is there already; True if it is all. Raises UsageError if it is something else."""

    @abstractmethod
    def has(self, first: int, count: int) -> bool:
        """Whether these samples were put."""

    @abstractmethod
    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        """Keeps samples [n, ...], the first of which has that index. Raises StorageError."""

    @abstractmethod
    def finish(self) -> None:
        """Puts the pieces together. Raises StorageError."""

    @abstractmethod
    def kept(self) -> int:
        """How many samples are there."""

    def encoded(self, index: int, sample: npt.NDArray[Any]) -> Encoded:
        """The file of one sample [1, ...], and those beside it."""
        record = self.record_of(index)
        encoded = self.kind.encode(sample, self.output, record, self.notes.shown((index,)))
        if self.sign is not None:
            signed = {**record, "content": encoded.content}
            encoded.files[""] = self.sign(encoded.files[""], self.ending(), signed)
        self.enter(encoded.content, index, 1)
        return encoded

    def record_of(self, index: int) -> dict[str, Any]:
        return {**self.record, **self.notes.said((index,)), "start": index, "count": 1}

    def ending(self) -> str:
        """Of the file of one sample."""
        return next(iter(self.kind.endings))


class Folder(Form):
    """`000007.png` is sample 7. The pieces are the samples themselves: they need no putting together."""

    is_folder = True

    def begin(self) -> bool:
        check_names(self.out, self.kind, range(self.start, self.end))
        self._check_beside()
        there = 0
        for index in self._there():
            path = self._path(index)
            try:
                found = read_record(path)
            except AigcError as error:
                raise type(error)(f"{error}; remove it, or choose another --out") from None
            if what := difference(found, self.record_of(index)):
                raise UsageError(
                    f"{path} was made otherwise: {what}; choose another --out, or empty the folder"
                )
            if found.get("content"):  # a process that was killed may not have told
                self.enter(str(found["content"]), index, 1)
            there += 1
        return there == self.end - self.start

    def has(self, first: int, count: int) -> bool:
        return all(os.path.exists(self._path(index)) for index in range(first, first + count))

    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        for row in range(len(samples)):
            path, files = self._path(first + row), self.encoded(first + row, samples[row : row + 1]).files
            for more in self.kind.beside:
                if more not in files:  # of a sample that was there before
                    path.with_name(path.name + more).unlink(missing_ok=True)
            for more, content in files.items():
                with self.place.writing(path.with_name(path.name + more)) as file:
                    file.write(content)

    def finish(self) -> None:
        pass

    def kept(self) -> int:
        return sum(1 for _ in self._there())

    def _check_beside(self) -> None:
        """Raises UsageError if what is to lie beside a sample that is still to come is there, and is not ours."""
        names = set(os.listdir(self.out)) if self.out.is_dir() else set()
        for more in self.kind.beside:
            for name in sorted(name for name in names if name.endswith(self.ending() + more)):
                if name.removesuffix(more) not in names and not is_ours(self.out / name):
                    raise UsageError(
                        f"{self.out / name} is there already, and aigc did not make it; choose another --out"
                    )

    def _there(self) -> Iterator[int]:
        ending = self.ending()
        names = os.listdir(self.out) if self.out.is_dir() else []
        return iter(sorted(int(name.removesuffix(ending)) for name in names if name.endswith(ending)))

    def _path(self, index: int) -> Path:
        return self.out / f"{index:06d}{self.ending()}"


def _nowhere(content: str, start: int, count: int) -> None:
    pass


def check_names(out: Path, kind: Modality, indices: range) -> None:
    """Raises UsageError if a folder holds anything but samples of these indices."""
    ending = next(iter(kind.endings))
    tails = (ending, *(ending + more for more in kind.beside))
    for name in os.listdir(out) if out.is_dir() else []:
        number = next((name.removesuffix(t) for t in tails if name.endswith(t)), "")
        if name == NAME or (number.isdecimal() and int(number) in indices and f"{int(number):06d}" == number):
            continue
        raise UsageError(
            f"--out {out} is a folder with files in it that are none of these samples ({name}); name a new one, or "
            "empty it"
        )


def made_by(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a file of samples is there and carries that record."""
    try:
        return path.is_file() and not difference(read_record(path), record)
    except AigcError:
        return False
