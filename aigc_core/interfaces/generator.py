"""A network that makes things, with its config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

from aigc_core.errors import UsageError
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

    def as_int8(self) -> Generator[C]:
        """The same with matrices of 8 bits and a scale a row, for sampling alone: what a model that declares
        `int8-weights` has. Its config says so, so that it can be kept as weights."""
        raise UsageError(f"{type(self).__name__} has no form of 8 bits; leave out --precision int8")
