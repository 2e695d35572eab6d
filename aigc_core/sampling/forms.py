"""The outputs that hold as many samples as there are: a folder, an `.npz`, `.tar` archives.

Each is written in pieces, in any order and by any number of processes, and then put together.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.errors import AigcError, UsageError
from aigc_core.modality import modality
from aigc_core.sampling.place import NAME, Place, difference
from aigc_core.sampling.records import read_record

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.modality.base import Modality
    from aigc_core.specs import Output


class Form(ABC):
    """One output. `begin` in one process, `has` and `put` in any, `finish` in one when all pieces are there."""

    def __init__(self, out: Path, output: Output, record: Mapping[str, Any]) -> None:
        self.out: Final = out
        self.output: Final = output
        self.record: Final = record
        self.kind: Final[Modality] = modality(output.modality)
        self.start, self.end = int(record["start"]), int(record["start"]) + int(record["count"])
        self.place: Final = Place(out, isinstance(self, Folder))

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

    def files(self, index: int, sample: npt.NDArray[Any]) -> dict[str, bytes]:
        """The file of one sample [1, ...], and those beside it."""
        return self.kind.encode(sample, self.output, self.record_of(index))

    def record_of(self, index: int) -> dict[str, Any]:
        return {**self.record, "start": index, "count": 1}

    def ending(self) -> str:
        """Of the file of one sample."""
        return next(iter(self.kind.endings))


class Folder(Form):
    """`000007.png` is sample 7. The pieces are the samples themselves: they need no putting together."""

    def begin(self) -> bool:
        check_names(self.out, self.kind, range(self.start, self.end))
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
            there += 1
        return there == self.end - self.start

    def has(self, first: int, count: int) -> bool:
        return all(os.path.exists(self._path(index)) for index in range(first, first + count))

    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        for row in range(len(samples)):
            for more, content in self.files(first + row, samples[row : row + 1]).items():
                path = self._path(first + row)
                with self.place.writing(path.with_name(path.name + more)) as file:
                    file.write(content)

    def finish(self) -> None:
        pass

    def kept(self) -> int:
        return sum(1 for _ in self._there())

    def _there(self) -> Iterator[int]:
        ending = self.ending()
        names = os.listdir(self.out) if self.out.is_dir() else []
        return iter(sorted(int(name.removesuffix(ending)) for name in names if name.endswith(ending)))

    def _path(self, index: int) -> Path:
        return self.out / f"{index:06d}{self.ending()}"


class Npz(Form):
    """One array of all samples in a compressed archive, as `numpy.savez_compressed` makes it."""

    def begin(self) -> bool:
        if made_by(self.out, self.record):
            self.place.clear()
            return True
        self.place.claim(self.record)
        return False

    def has(self, first: int, count: int) -> bool:
        return self.place.piece(first, count).exists()

    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        with self.place.writing(self.place.piece(first, len(samples))) as file:
            np.save(file, samples, allow_pickle=False)

    def kept(self) -> int:
        return sum(count for _, count in self.place.pieces())

    def finish(self) -> None:
        with (
            self.place.writing(self.out, durable=True) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, whole, dtype in self._layout():
                info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(dtype),
                        "fortran_order": False,
                        "shape": whole,
                    }
                    np.lib.format.write_array_header_1_0(member, header)
                    for arrays in self._arrays():
                        member.write(np.ascontiguousarray(arrays[name].astype(dtype)).data.tobytes())
                        if not whole:  # what is one for all samples
                            break
        self.place.clear()

    def _layout(self) -> list[tuple[str, tuple[int, ...], np.dtype[Any]]]:
        """The arrays of the file: names, shapes, types. The type of texts is as wide as the longest one."""
        shapes: dict[str, tuple[int, ...]] = {}
        types: dict[str, np.dtype[Any]] = {}
        for arrays in self._arrays():
            for name, array in arrays.items():
                shapes[name] = (self.end - self.start, *array.shape[1:]) if array.ndim else ()
                types[name] = np.result_type(types.get(name, array.dtype), array.dtype)
        return [(name, shapes[name], types[name]) for name in shapes]

    def _arrays(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        for first, count in self.place.pieces():
            samples = np.load(self.place.piece(first, count), allow_pickle=False)
            record = np.array(json.dumps(self.record))
            yield {**self.kind.arrays(samples, self.output), "record": record}


class Tar(Form):
    """The files of a folder, and of each sample's record, in archives that any tar reads and WebDataset streams.

    `000007.png` and `000007.json` are sample 7. With `shard`, so many samples go into each of `x-000000.tar`,
    `x-000001.tar`, ..., and each is what the same request makes of its samples alone.
    """

    def __init__(
        self, out: Path, output: Output, record: Mapping[str, Any], shard: int | None = None
    ) -> None:
        super().__init__(out, output, record)
        self.shard: Final = shard
        self._step: Final = shard or self.end - self.start
        self._archives: Final = range(-(-(self.end - self.start) // self._step))
        self._finished: Final[dict[int, bool]] = {}

    def begin(self) -> bool:
        if self.shard is not None:
            self._check_shards()
        if all(map(self._is_finished, self._archives)):
            self.place.clear()
            return True
        self.place.claim({**self.record, "shard": self.shard})
        return False

    def has(self, first: int, count: int) -> bool:
        return all(
            self.place.piece(begin, end - begin).exists() or self._is_finished(number)
            for number, begin, end in self._cut(first, count)
        )

    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        for _, begin, end in self._cut(first, len(samples)):
            with self.place.writing(self.place.piece(begin, end - begin)) as file:
                for index in range(begin, end):
                    content = self.files(index, samples[index - first : index - first + 1])[""]
                    record = json.dumps(self.record_of(index), ensure_ascii=False)
                    file.write(_member(f"{index:06d}{self.ending()}", content))
                    file.write(_member(f"{index:06d}.json", record.encode()))

    def kept(self) -> int:
        whole = [range(*self._bounds(number)) for number in self._archives if self._is_finished(number)]
        return sum(map(len, whole)) + sum(count for _, count in self.place.pieces())

    def finish(self) -> None:
        pieces = self.place.pieces()
        for number in self._archives:
            begin, end = self._bounds(number)
            own = [self.place.piece(*piece) for piece in pieces if begin <= piece[0] < end]
            if not self._is_finished(number):
                with self.place.writing(self.path(number), durable=True) as file:
                    # As in the archives of git: a comment that readers skip.
                    comment = json.dumps(self._record(begin, end), sort_keys=True)
                    file.write(tarfile.TarInfo.create_pax_global_header({"comment": comment}))
                    for path in own:
                        with open(path, "rb") as piece:
                            shutil.copyfileobj(piece, file, 1 << 20)
                    file.write(bytes(2 * tarfile.BLOCKSIZE))
                    file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
            for (
                path
            ) in own:  # a shard's pieces go as it comes, so that the disk needs no room for all of it twice
                path.unlink()

    def path(self, number: int) -> Path:
        return self.out if self.shard is None else self.out.with_stem(f"{self.out.stem}-{number:06d}")

    def _bounds(self, number: int) -> tuple[int, int]:
        """The first sample of an archive, and the one after its last."""
        begin = self.start + number * self._step
        return begin, min(begin + self._step, self.end)

    def _cut(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Samples at the bounds of archives: the archive's number, the first sample, the one after the last."""
        begin = first
        while begin < first + count:
            number = (begin - self.start) // self._step
            end = min(first + count, self._bounds(number)[1])
            yield number, begin, end
            begin = end

    def _record(self, begin: int, end: int) -> dict[str, Any]:
        return {**self.record, "start": begin, "count": end - begin}

    def _is_finished(self, number: int) -> bool:
        if number not in self._finished:
            self._finished[number] = made_by(self.path(number), self._record(*self._bounds(number)))
        return self._finished[number]

    def _check_shards(self) -> None:
        """Raises UsageError if there are shards of that name that are not of this request."""
        stem = self.out.stem
        for path in self.out.parent.glob(f"{stem}-*.tar") if self.out.parent.is_dir() else []:
            number = path.stem.removeprefix(f"{stem}-")
            if not (number.isdecimal() and len(number) >= 6):
                continue
            if int(number) not in self._archives or not self._is_finished(int(number)):
                raise UsageError(f"{path} is of another sampling; remove it, or choose another --out")


def form_of(out: Path, output: Output, record: Mapping[str, Any], *, folder: bool, shard: int | None) -> Form:
    """What writes many samples to `out`."""
    if folder:
        return Folder(out, output, record)
    return Npz(out, output, record) if out.suffix == ".npz" else Tar(out, output, record, shard)


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


def _member(name: str, content: bytes) -> bytes:
    """One file in a tar: nothing in its header but the name and the size depends on anything."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
