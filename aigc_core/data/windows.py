"""Items that are windows of one long row of values, which need not fit into memory."""

from __future__ import annotations

import errno
import mmap
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from aigc_core.data.dataset import Dataset
from aigc_core.errors import DataError
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Row = npt.NDArray[np.unsignedinteger[Any]]

IN_MEMORY: Final = 1 << 26
"""Bytes of a row up to which it is held in memory."""


class FileRow:
    """Whole numbers in a file, from some offset to its end; mapped into memory, or read into it if they are few."""

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any]) -> None:
        """Raises OSError or ValueError."""
        self._number, self._offset = os.open(path, os.O_RDONLY), offset
        weakref.finalize(self, os.close, self._number)
        size = os.fstat(self._number).st_size - offset
        self.in_memory: Final = size <= IN_MEMORY
        content = os.pread(self._number, size, offset) if self.in_memory else self._mapped()[offset:]
        self.values: Final[Row] = np.frombuffer(content, dtype)

    def _mapped(self) -> memoryview:
        return memoryview(mmap.mmap(self._number, 0, access=mmap.ACCESS_READ))

    def windows(self, starts: npt.NDArray[np.int64], window: int) -> Row:
        """[N, window] what begins at some places, read and not looked up in the map: there every page that was ever
        looked at counts as memory of this process, and costs more the first time. Raises OSError."""
        found = np.empty((len(starts), window), self.values.dtype)
        size = found.itemsize
        for row, start in zip(found, starts.tolist(), strict=True):
            if os.preadv(self._number, [row.data], self._offset + start * size) != row.nbytes:
                raise OSError(errno.EIO, "the file has become shorter")
        return found


class Windows(Dataset):
    """Windows of a row [T], `stride` apart; the last one ends where the row ends, so it may overlap the one before."""

    def __init__(
        self,
        row: FileRow | Row,
        window: int,
        stride: int,
        *,
        name: str,
        split: str,
        info: DataInfo,
        digest: str,
        phases: int = 1,
        dtype: torch.dtype = torch.uint8,
    ) -> None:
        """The row holds at least one window. dtype: of the items; phases: see `Dataset.phases`."""
        super().__init__(name, split, info, digest)
        self._file = row if isinstance(row, FileRow) else None
        self.row: Final = row.values if isinstance(row, FileRow) else row
        """[T], all the values."""
        self._windows = np.lib.stride_tricks.sliding_window_view(self.row, window)
        self.window: Final = window
        self.stride: Final = stride
        self._phases, self._dtype = phases, dtype

    def __len__(self) -> int:
        return 1 + -(-(len(self.row) - self.window) // self.stride)

    @property
    def in_memory(self) -> bool:
        return self._file is None or self._file.in_memory

    @property
    def phases(self) -> int:
        return self._phases

    def part(self, start: int, stop: int) -> Row:
        """[stop - start] the values from `start` on."""
        if self._file is None:
            return self.row[start:stop]
        return self._file.windows(np.array([start]), stop - start).reshape(-1)

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.fetch_shifted(index, torch.zeros_like(index))

    def fetch_shifted(self, index: Tensor, phase: Tensor) -> tuple[Tensor, Tensor | None]:
        starts = (index * self.stride + phase).clamp_max_(len(self._windows) - 1)
        if self._file is None or self._file.in_memory:
            found = self._windows[starts.numpy()]
        else:
            try:
                found = self._file.windows(starts.numpy(), self.window)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise DataError(f"{self.name}: its file in the cache cannot be read: {reason}") from None
        # torch knows few unsigned types well.
        return torch.from_numpy(found if self._dtype == torch.uint8 else found.astype(np.int64)), None
