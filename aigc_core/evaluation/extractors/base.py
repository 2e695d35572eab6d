"""What an extractor of features is to the metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Extractor(ABC):
    """A network that turns pictures into features; made ready, in evaluation mode."""

    name: ClassVar[str]
    """What a user writes: `--features NAME`."""
    digest: str
    """`sha256:...` of its weights: figures by other weights do not compare."""
    resize: str
    """What becomes of pictures before the network, in words: part of what figures depend on."""
    width: int
    """Features of a picture."""
    classes: tuple[str, ...] = ()
    """What it tells apart, where those are the data's own classes."""
    batch: int = 256
    """Pictures that are looked at together: their features' last bits depend on it."""

    @abstractmethod
    def to(self, device: torch.device) -> Extractor:
        """Itself, moved to a device."""

    @abstractmethod
    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features [N, width] float32, and probabilities [N, classes] where it has classes, of pictures uint8
        [N, C, H, W]."""

    def about(self) -> Mapping[str, Any]:
        """What a card says of it: plain JSON."""
        return {"name": self.name, "digest": self.digest, "resize": self.resize, "features": self.width}
