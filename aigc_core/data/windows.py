"""Items that are windows of one long row of values, which need not fit into memory."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from aigc_core.data.dataset import Dataset
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Row = npt.NDArray[np.unsignedinteger[Any]]

IN_MEMORY: Final = 1 << 26
"""Bytes of a row up to which it is held in memory."""

RELEASE: Final = 1 << 11
"""Windows read from a file after which its pages are given back: else all that was ever read would count as memory of
this process."""


class FileRow:
    """Whole numbers in a file, from some offset to its end; mapped into memory, or read into it if they are few."""

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any]) -> None:
        """Raises OSError or ValueError."""
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            self._map: mmap.mmap | None = None
            self._read, self._lock = 0, threading.Lock()
            if size - offset <= IN_MEMORY:
                file.seek(offset)
                self.values: Row = np.frombuffer(file.read(), dtype)
                return
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):
                self._map.madvise(mmap.MADV_RANDOM)
            self.values = np.frombuffer(self._map, dtype, offset=offset)

    @property
    def in_memory(self) -> bool:
        return self._map is None

    def release(self, windows: int = RELEASE) -> None:
        """That so many windows were read: gives the pages of the file back to the system, from time to time."""
        if self._map is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        with self._lock:
            self._read += windows
            if self._read >= RELEASE:
                self._read = 0
                self._map.madvise(mmap.MADV_DONTNEED)


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
        """[stop - start] the values from `start` on, a copy."""
        found = self.row[start:stop].copy()
        if self._file is not None:
            self._file.release()
        return found

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.fetch_shifted(index, torch.zeros_like(index))

    def fetch_shifted(self, index: Tensor, phase: Tensor) -> tuple[Tensor, Tensor | None]:
        starts = (index * self.stride + phase).clamp_max_(len(self._windows) - 1)
        found = self._windows[starts.numpy()]
        if self._file is not None:
            self._file.release(len(found))
        # torch knows few unsigned types well.
        return torch.from_numpy(found if self._dtype == torch.uint8 else found.astype(np.int64)), None
