"""Weights in the form of another library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces.generator import Generator
    from aigc_core.specs import DataInfo


@dataclass(frozen=True)
class Foreign:
    """What was read of a foreign folder: all that a generator is built from."""

    model: str
    """The id of the model that takes it."""
    config: Mapping[str, Any]
    info: DataInfo
    tensors: Mapping[str, Tensor]
    """By the names of the generator's `state_dict`."""
    origin: str
    """What it is, in a word, as the record's data set: the folder's name."""
    license: str | None = None
    """Of the weights, as an SPDX identifier, where the folder says it."""
    files: tuple[str, ...] = ()
    """The names of the files that it was read of: their digest stands in the record for the unknown data."""
    remarks: tuple[str, ...] = ()
    """What the user is to be told, a line each: what was converted."""


class Format(ABC):
    """Reads and writes folders of another library; what `FormatSpec.format` names."""

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Whether a folder is of this form, by the names of its files."""

    @abstractmethod
    def read(self, folder: Path) -> Foreign:
        """Raises DamagedFileError for what is broken, DataError, naming it, for what can't be honoured."""

    @abstractmethod
    def write(self, generator: Generator[Any], record: Mapping[str, Any], folder: Path) -> None:
        """Writes into an empty folder, which the core puts in its place when all is written. record: that of the
        weights file. Raises UsageError, naming it, for what the form can't hold."""
