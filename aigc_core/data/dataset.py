"""What a data set is to the rest of the house."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from aigc_core.errors import DataError
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Pixels = npt.NDArray[np.uint8]
    Labels = npt.NDArray[np.int64]


class Dataset(ABC):
    """Items of one shape, fetched by index, many at a time."""

    def __init__(self, name: str, split: str, info: DataInfo, digest: str) -> None:
        self.name: Final = name
        self.split: Final = split
        self.info: Final = info
        self.digest: Final = digest
        """`sha256:...` over shape, pixels, labels and class names; the same for the same items, whatever
        form they were stored in."""
        self.skipped: list[str] = []
        """Items that could not be read: `path: reason`."""

    @abstractmethod
    def __len__(self) -> int:
        """How many items there are, at least 1."""

    @abstractmethod
    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items [N, *shape] uint8 and labels [N] int64 or None, for index [N] int64.

        Raises DataError if an item has become unreadable.
        """

    @property
    def in_memory(self) -> bool:
        """Whether `fetch` is a matter of memory alone; otherwise it is worth doing ahead."""
        return True


class ArrayImages(Dataset):
    """Pictures that live in memory as one uint8 tensor."""

    def __init__(
        self,
        pixels: Pixels,
        labels: Labels | None = None,
        classes: Sequence[str] = (),
        *,
        name: str,
        split: str = "train",
    ) -> None:
        """pixels [N, C, H, W]; labels [N] in 0 .. len(classes) - 1. Raises DataError if they do not fit."""
        if pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise DataError(f"{name}: pictures must be uint8 [N, C, H, W], not {pixels.dtype} {pixels.shape}")
        if not len(pixels):
            raise DataError(f"{name}: holds no picture")
        if labels is not None and len(labels) != len(pixels):
            raise DataError(f"{name}: {len(pixels)} pictures but {len(labels)} labels")
        classes = tuple(classes)
        if labels is not None and not classes:
            classes = tuple(str(c) for c in range(int(labels.max()) + 1))
        if labels is not None and (labels.min() < 0 or labels.max() >= len(classes)):
            raise DataError(f"{name}: labels must lie in 0 .. {len(classes) - 1}")
        channels, height, width = pixels.shape[1:]
        digest = Digest((channels, height, width))
        digest.update(pixels)
        info = DataInfo("image", (channels, height, width), classes if labels is not None else ())
        super().__init__(name, split, info, digest.finish(labels, info.classes))
        self._pixels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        self._labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._pixels)

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._pixels[index], None if self._labels is None else self._labels[index]


class Digest:
    """sha256 of a data set, fed picture by picture or all at once."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._hash = hashlib.sha256(json.dumps(["image", *shape]).encode())

    def update(self, pixels: Pixels) -> None:
        """Takes pictures [..., C, H, W] in their order."""
        self._hash.update(np.ascontiguousarray(pixels).data)

    def finish(self, labels: Labels | None, classes: Sequence[str]) -> str:
        if labels is not None:
            self._hash.update(b"labels")
            self._hash.update(np.ascontiguousarray(labels, dtype="<i8").data)
            self._hash.update(json.dumps(list(classes)).encode())
        return f"sha256:{self._hash.hexdigest()}"
