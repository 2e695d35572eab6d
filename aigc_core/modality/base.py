"""What a modality must know of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output

RECORD_KEY: Final = "aigc"
"""Under which a file of samples keeps the record of how they were made."""
MANY: Final = {".npz": "one array", ".tar": "an archive of files"}
"""The files that hold samples of any modality, as many as there are."""


class Modality(ABC):
    """One kind of thing that is generated. Stateless; imports no torch.

    Items come from a data set as `dtype`, go to a trainer as `batch` makes them, come from a sampler in
    the generator's range, and go to the user as `samples` makes them.
    """

    name: ClassVar[str]
    items: ClassVar[str]
    """What a message calls several of them."""
    dtype: ClassVar[type[np.generic[Any]]]
    """Of the items of a data set."""
    axes: ClassVar[tuple[str, ...]]
    """What the axes of one item are, in their order."""
    resize: ClassVar[str]
    """How a user brings data to another shape, to end a message with."""
    endings: ClassVar[Mapping[str, str]]
    """The files that samples are written to, and what is in them; the first one is the default, and what a
    folder holds a sample each of."""
    beside: ClassVar[tuple[str, ...]] = ()
    """What the names of the files beside such a file have more than its own."""

    def legend(self, details: Mapping[str, Any]) -> str:
        """What the numbers of a shape count, for a reader."""
        return " x ".join(self.axes)

    @abstractmethod
    def batch(self, items: Tensor, output: Output) -> Tensor:
        """Items of a data set [N, *shape] as a trainer is given them."""

    def problem(self, values: Tensor, output: Output) -> str:
        """What makes a sampler's values [N, *shape] no samples of this modality; empty if nothing does."""
        return ""

    @abstractmethod
    def samples(self, values: Tensor, output: Output) -> npt.NDArray[Any]:
        """A sampler's values [N, *shape] as the user gets them, [N, ...]."""

    @abstractmethod
    def arrays(self, samples: npt.NDArray[Any], output: Output) -> dict[str, npt.NDArray[Any]]:
        """What an `.npz` of such samples holds, beside their record."""

    @abstractmethod
    def most(self, output: Output) -> int:
        """How many samples one file with the first of `endings` can hold, so that it can be opened again."""

    @abstractmethod
    def encode(
        self, samples: npt.NDArray[Any], output: Output, record: Mapping[str, Any]
    ) -> dict[str, bytes]:
        """A file of samples [N, ...] with the first of `endings`: the bytes of each file beside it under what
        its name has more, then its own under "". Raises UsageError if so many can't be put into one file."""

    @abstractmethod
    def record_text(self, path: Path) -> str:
        """The record in such a file, as JSON; empty if it has none. May raise anything if it is damaged."""
