"""A network that makes things, with its config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

from aigc_core.options import Options

if TYPE_CHECKING:
    from aigc_core.specs import DataInfo, Output

C = TypeVar("C", bound=Options)


class Generator(nn.Module, ABC, Generic[C]):
    """A network built from (config, data description) alone, so that a weights file can rebuild it.

    `state_dict()` is all that is saved: what the output depends on must be a parameter or a persistent
    buffer. What is thrown away after fitting (critics, optimizers) belongs to the `Trainer`. `forward` is
    the family's own (latent to picture, tokens to logits); only the family's trainers and samplers call it.
    """

    def __init__(self, config: C, data: DataInfo) -> None:
        """Raises aigc_core.errors.DataError if it can't be built for such data."""
        super().__init__()
        self.config = config
        self.data = data

    @property
    @abstractmethod
    def output(self) -> Output:
        """What the samplers emit: modality, shape of one item, range of its values.

        Training batches come in this range too.
        """
