"""An `.npz` that is put together from pieces."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from aigc_core.provenance.content import RECORD, Arrays
from aigc_core.sampling.forms import Form, made_by

if TYPE_CHECKING:
    import numpy.typing as npt


class Npz(Form):
    """One array of all samples in a compressed archive, as `numpy.savez_compressed` makes it.

    Samples of several lengths are padded to the longest, a piece at a time: it is known when all pieces are there.
    """

    def begin(self) -> bool:
        if made_by(self.out, self.record):
            self.place.clear()
            return True
        self.place.claim(self.record)
        for first, count in self.place.pieces():  # a process that was killed may not have told
            self._enter(first, np.load(self.place.piece(first, count), allow_pickle=False))
        return False

    def has(self, first: int, count: int) -> bool:
        return self.place.piece(first, count).exists()

    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        with self.place.writing(self.place.piece(first, len(samples))) as file:
            np.save(file, samples, allow_pickle=False)
        self._enter(first, samples)

    def kept(self) -> int:
        return sum(count for _, count in self.place.pieces())

    def finish(self) -> None:
        """The record comes last, since it names the content."""
        content = Arrays()
        with (
            self.place.writing(self.out, durable=True) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, shape, dtype in self._layout():
                with _member(archive, name, shape, dtype) as member:
                    content.array(name, dtype, shape, _written(self._parts(name, shape, dtype), member))
            record = np.array(json.dumps({**self.record, "content": content.digest}))
            with _member(archive, RECORD, (), record.dtype) as member:
                member.write(record.tobytes())
        self.enter(content.digest, self.start, self.end - self.start)
        self.place.clear()

    def _layout(self) -> list[tuple[str, tuple[int, ...], np.dtype[Any]]]:
        """The arrays of the file: names, shapes, types. The type of texts is as wide as the longest one, and so is
        the last axis of sounds of any length."""
        shapes: dict[str, tuple[int, ...]] = {}
        types: dict[str, np.dtype[Any]] = {}
        for arrays in self._arrays():
            for name, array in arrays.items():
                before = shapes.get(name, (0, *array.shape[1:]))[1:]
                longest = tuple(map(max, before, array.shape[1:]))
                shapes[name] = (self.end - self.start, *longest) if array.ndim else ()
                types[name] = np.result_type(types.get(name, array.dtype), array.dtype)
        return [(name, shapes[name], types[name]) for name in shapes]

    def _parts(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
        """One array of the file, a piece at a time."""
        for arrays in self._arrays():
            array = arrays[name].astype(dtype)
            if array.shape[1:] != shape[1:]:
                room = zip(array.shape[1:], shape[1:], strict=True)
                array = np.pad(array, [(0, 0), *((0, most - here) for here, most in room)])
            yield np.ascontiguousarray(array)
            if not shape:  # what is one for all samples
                return

    def _enter(self, first: int, samples: npt.NDArray[Any]) -> None:
        for index, digest in enumerate(self.kind.digests(samples, self.output), first):
            self.enter(digest, index, 1)

    def _arrays(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        for first, count in self.place.pieces():
            samples = np.load(self.place.piece(first, count), allow_pickle=False)
            yield self.kind.arrays(samples, self.output)


@contextlib.contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[IO[bytes]]:
    """Opens one array of the file, to be filled."""
    info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        yield member


def _written(parts: Iterator[npt.NDArray[Any]], file: IO[bytes]) -> Iterator[npt.NDArray[Any]]:
    for part in parts:
        file.write(part.data.tobytes())
        yield part
