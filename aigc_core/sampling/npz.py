"""An `.npz` that is put together from pieces."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_core.sampling.forms import Form, made_by

if TYPE_CHECKING:
    import numpy.typing as npt


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
