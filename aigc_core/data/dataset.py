"""What a data set is to the rest of the house."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import torch

from aigc_core.errors import DataError
from aigc_core.modality import modality
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.data.corpus import Sizes

    Items = npt.NDArray[np.generic[Any]]
    Pixels = npt.NDArray[np.uint8]
    Labels = npt.NDArray[np.int64]


class Dataset(ABC):
    """Items of one shape, fetched by index, many at a time."""

    def __init__(self, name: str, split: str, info: DataInfo, digest: str) -> None:
        self.name: Final = name
        self.split: Final = split
        self.info: Final = info
        self._digest = digest
        self.skipped: list[str] = []
        """Items that could not be read: `path: reason`."""
        self.files: Sequence[Path] | None = None
        """Of each item the file that it came from, where it has one of its own."""
        self.reading: Mapping[str, Any] = {}
        """How items were read, where that was not by default; plain JSON."""

    @abstractmethod
    def __len__(self) -> int:
        """How many items there are, at least 1."""

    @abstractmethod
    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items [N, *shape] and labels [N] int64 or None, for index [N] int64.

        Pictures [N, C, H, W] and the bytes of texts [N, length] are uint8, sounds [N, C, T] int16.
        Raises DataError if an item has become unreadable.
        """

    def fetch_extras(self, index: Tensor) -> Mapping[str, Tensor]:
        """What there is to items beside themselves and labels: see `Batch.extras`."""
        return {}

    def labels(self) -> Tensor | None:
        """[len(self)] int64: the labels of all items, or None."""
        return self.fetch(torch.arange(len(self)))[1]

    def described(self, **details: Any) -> Self:
        """The same items, of which `info.details` say more."""
        found = copy.copy(self)
        vars(found)["info"] = replace(self.info, details={**self.info.details, **details})
        return found

    @property
    def digest(self) -> str:
        """`sha256:...` over shape, items, labels and class names; the same for the same items, whatever form they were
        stored in."""
        return self._digest

    def parts(self) -> Mapping[str, Sizes]:
        """How much text is trained on, and how much held out, of a set that is made of documents; else nothing."""
        return {}

    @property
    def phases(self) -> int:
        """In how many ways the data can be cut into its items: 1, or for windows of a text each place of the first.
        Training takes another way each epoch, so that nothing always lies at the edge of an item."""
        return 1

    def fetch_shifted(self, index: Tensor, phase: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `fetch`, each item in one of the ways that the data can be cut, phase [N] in 0 .. phases - 1; 0 is the one
        of `fetch`."""
        return self.fetch(index)

    @property
    def in_memory(self) -> bool:
        """Whether `fetch` is a matter of memory alone; otherwise it is worth doing ahead."""
        return True


class ArrayItems(Dataset):
    """Items that live in memory as one tensor."""

    def __init__(
        self,
        items: Items,
        labels: Labels | None = None,
        classes: Sequence[str] = (),
        *,
        kind: str,
        name: str,
        split: str = "train",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Items of one modality (`kind`), as its data are: pictures uint8 [N, C, H, W], texts uint8
        [N, length], sounds int16 [N, C, T] with `{"sample_rate": ...}` as details.

        labels [N] in 0 .. len(classes) - 1. Raises DataError if anything does not fit.
        """
        wanted = modality(kind)
        if items.ndim != 1 + len(wanted.axes) or items.dtype != wanted.dtype:
            form = f"{np.dtype(wanted.dtype)} [N, {', '.join(wanted.axes)}]"
            raise DataError(f"{name}: {wanted.items} must be {form}, not {items.dtype} {items.shape}")
        if not len(items):
            raise DataError(f"{name}: holds no {wanted.items}")
        if labels is not None and len(labels) != len(items):
            raise DataError(f"{name}: {len(items)} {wanted.items} but {len(labels)} labels")
        classes = tuple(classes)
        if labels is not None and not classes:
            classes = tuple(str(c) for c in range(int(labels.max()) + 1))
        if labels is not None and (labels.min() < 0 or labels.max() >= len(classes)):
            raise DataError(f"{name}: labels must lie in 0 .. {len(classes) - 1}")
        info = DataInfo(kind, items.shape[1:], classes if labels is not None else (), details or {})
        digest = Digest(info.shape, kind)
        digest.update(items)
        super().__init__(name, split, info, digest.finish(labels, info.classes))
        self._items = torch.from_numpy(np.require(items, requirements=["C", "W"]))
        self._labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._items)

    def labels(self) -> Tensor | None:
        return self._labels

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        # index_select copies whole items; indexing, byte by byte, takes thirty times as long.
        labels = None if self._labels is None else self._labels.index_select(0, index)
        return self._items.index_select(0, index), labels


class ArrayImages(ArrayItems):
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
        super().__init__(pixels, labels, classes, kind="image", name=name, split=split)


class Digest:
    """sha256 of a data set, fed item by item or all at once."""

    def __init__(self, shape: Sequence[int], kind: str = "image") -> None:
        self._hash = hashlib.sha256(json.dumps([kind, *shape]).encode())

    def update(self, items: Items) -> None:
        """Takes items [..., *shape] in their order."""
        self._hash.update(np.ascontiguousarray(items, items.dtype.newbyteorder("<")).data)

    def add(self, name: str, numbers: Labels, names: Sequence[str] = ()) -> None:
        """Takes what else there is to the items, a number each, and the names of the numbers."""
        self._hash.update(name.encode())
        self._hash.update(np.ascontiguousarray(numbers, dtype="<i8").data)
        self._hash.update(json.dumps(list(names)).encode())

    def finish(self, labels: Labels | None, classes: Sequence[str]) -> str:
        if labels is not None:
            self.add("labels", labels, classes)
        return f"sha256:{self._hash.hexdigest()}"
