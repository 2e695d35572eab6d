"""What a modality must know of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.provenance.content import Content
    from aigc_core.specs import Output

RECORD_KEY: Final = "aigc"
"""Under which a file of samples keeps the record of how they were made."""
MANY: Final = {".npz": "one array", ".tar": "an archive of files"}
"""The files that hold samples of any modality, as many as there are."""


class Encoded(NamedTuple):
    """A file of samples before it is written."""

    files: dict[str, bytes]
    """The bytes of each file beside it under what its name has more, then its own under ""."""
    content: str
    """The digest of what it decodes to, which its record says too."""


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
    golden: ClassVar[int] = 16
    """How many samples are drawn when weights are published, to be held against later."""
    beside: ClassVar[tuple[str, ...]] = ()
    """What the names of the files beside such a file have more than its own, whether or not they are there."""
    encodings: ClassVar[tuple[str, ...]] = ()
    """How the values in such a file can be kept, where there is a choice; the first one is the default. A record names
    another one as its `encoding`."""

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

    def join(self, parts: Sequence[npt.NDArray[Any]], output: Output) -> npt.NDArray[Any]:
        """Samples [N, ...] that came in parts, in their order."""
        import numpy

        return numpy.concatenate(parts)

    @abstractmethod
    def most(self, output: Output) -> int:
        """How many samples one file with the first of `endings` can hold, so that it can be opened again."""

    @abstractmethod
    def encode(
        self,
        samples: npt.NDArray[Any],
        output: Output,
        record: Mapping[str, Any],
        pictures: Sequence[npt.NDArray[np.uint8]] = (),
    ) -> Encoded:
        """A file of samples [N, ...] with the first of `endings`, its record completed by its content's digest; and
        the files beside it, one of the `pictures` that samplers gave with them, where such a file keeps any.
        Raises UsageError if so many can't be put into one file."""

    @abstractmethod
    def content(self, samples: npt.NDArray[Any], output: Output) -> Content:
        """What such a file decodes to."""

    def digests(self, samples: npt.NDArray[Any], output: Output) -> list[str]:
        """Of samples [N, ...], the content digest of each one's own file."""
        return [self.content(samples[i : i + 1], output).digest for i in range(len(samples))]

    @abstractmethod
    def record_text(self, path: Path) -> str:
        """The record in such a file, as JSON; empty if it has none. May raise anything if it is damaged."""
