"""From text to the tokens that a language model is fitted on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aigc_core.options import Options


class Tokenizer(ABC):
    """Text to tokens; what `ModelSpec.tokenizer` names. The core makes one of the model's config and the training
    text, and keeps the tokens on the disk: texts of any length are trained on in memory that does not grow."""

    @classmethod
    @abstractmethod
    def fit(cls, config: Options, pieces: Callable[[], Iterable[str]], kept: Mapping[str, bytes]) -> Self:
        """From the training documents: each call of `pieces` goes once through them, in pieces of about 1 MB.

        kept: the assets of the weights that training starts from, if it does; then it must be their tokenizer.
        Raises UsageError or DataError where the text or the config does not fit.
        """

    @classmethod
    def sees_all(cls, config: Options) -> bool:
        """Whether `fit` goes through what is held out of the text too: to know its letters, not to learn from it."""
        return False

    @property
    @abstractmethod
    def assets(self) -> Mapping[str, bytes]:
        """What it is made of, for `DataInfo.assets`; the same for the same tokenizer."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its kind, in a word: `characters`, `bpe`."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many tokens there are; they are numbered from 0."""

    @property
    @abstractmethod
    def end(self) -> int:
        """The token after each document."""

    @property
    @abstractmethod
    def window(self) -> int:
        """The tokens of an item of data, at least 2: as many as the model predicts from at once, and one more."""

    @abstractmethod
    def encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        """[n] the tokens of a piece of a document. Pieces are cut before white space that follows other text, so
        that the tokens of the pieces are those of the whole. Raises DataError for text that has no token."""

    def encode_all(self, pieces: Sequence[tuple[str, bool]]) -> npt.NDArray[np.integer[Any]]:
        """[n] the tokens of some pieces in a row, with the end after each that ends a document; to be overridden where
        many are faster together. Raises as `encode`."""
        import numpy as np

        end = np.array([self.end])
        parts = [part for text, ends in pieces for part in (self.encode(text), end[: int(ends)])]
        return np.concatenate(parts) if parts else end[:0]
