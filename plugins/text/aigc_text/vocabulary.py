"""Text to tokens and back, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from aigc_core.errors import DamagedFileError, DataError, UsageError
from aigc_core.interfaces import Tokenizer
from aigc_core.options import Options
from aigc_text.bytepairs import BytePairs
from aigc_text.coders import Bytes, Characters, Coder
from aigc_text.config import LanguageConfig

if TYPE_CHECKING:
    import numpy.typing as npt

ASSET: Final = "tokenizer"
"""The name of the one file that a tokenizer is kept as."""


class TextTokenizer(Tokenizer):
    """Characters, bytes or byte pairs, and a token that ends a document.

    No text is ever given the end's token: what is written `<|endoftext|>` is thirteen characters.
    """

    def __init__(self, coder: Coder, window: int = 2) -> None:
        self.coder = coder
        self._window = window

    @classmethod
    def fit(cls, config: Options, pieces: Callable[[], Iterable[str]], kept: Mapping[str, bytes]) -> Self:
        """See `Tokenizer.fit`. Merges are learned from at most 16 million characters, spread over the text."""
        assert isinstance(config, LanguageConfig)
        window = config.context + 1
        if kept:
            found = cls.load(kept, window)
            if found.name != config.tokenizer:
                raise UsageError(
                    f"the weights to go on from have a tokenizer of {found.name}, not of {config.tokenizer}; "
                    f"leave it out, or say -o tokenizer={found.name}"
                )
            found._check(pieces)
            return found
        coder: Coder
        if config.tokenizer == "bytes":
            coder = Bytes()
        elif config.tokenizer == "characters":
            coder = Characters.fit(pieces)
        else:
            coder = BytePairs.fit(config.vocabulary, pieces)
        if all(not piece for piece in pieces()):
            raise DataError("the training text is empty; give some text to learn from")
        return cls(coder, window)

    def _check(self, pieces: Callable[[], Iterable[str]]) -> None:
        """That a tokenizer that was there before the text knows all of it. Raises UsageError."""
        if not isinstance(self.coder, Characters):
            return
        try:
            for piece in pieces():
                self.coder.encode(piece)
        except DataError as error:
            raise UsageError(f"the text does not fit the tokenizer of the weights: {error}") from None

    @classmethod
    def load(cls, assets: Mapping[str, bytes], window: int = 2) -> Self:
        """From what `assets` gave. Raises DamagedFileError for anything else."""
        if ASSET not in assets:
            raise DamagedFileError("the weights hold no tokenizer; publish or import them again")
        try:
            record = json.loads(assets[ASSET].decode())
        except (ValueError, RecursionError):
            raise DamagedFileError(
                "the weights' tokenizer is no JSON; publish or import them again"
            ) from None
        kind = record.get("kind") if isinstance(record, dict) else None
        if kind == Bytes.kind:
            return cls(Bytes(), window)
        if kind == Characters.kind:
            return cls(Characters.load(record), window)
        if kind == BytePairs.kind:
            return cls(BytePairs.load(record), window)
        raise DamagedFileError(
            f"the weights' tokenizer is of the unknown kind {kind!r}; update aigc-text, or publish them again"
        )

    @classmethod
    def from_huggingface(cls, folder: Path, window: int = 2) -> Self:
        """From `tokenizer.json`, or `vocab.json` and `merges.txt`, of a folder of GPT-2's form.

        Raises DataError or DamagedFileError for what can't be honoured, by name.
        """
        from aigc_text.hub_tokenizer import read

        return cls(read(folder), window)

    @property
    def assets(self) -> Mapping[str, bytes]:
        record = {"kind": self.coder.kind, **self.coder.record()}
        return {ASSET: json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()}

    @property
    def name(self) -> str:
        return self.coder.kind

    @property
    def size(self) -> int:
        return len(self.coder.table)

    @property
    def end(self) -> int:
        return self.coder.end

    @property
    def window(self) -> int:
        return self._window

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        return self.coder.encode(text)

    def encode_all(self, pieces: Sequence[tuple[str, bool]]) -> npt.NDArray[np.int64]:
        return self.coder.encode_all(pieces)

    def decode(self, tokens: Sequence[int] | npt.NDArray[np.integer[Any]]) -> bytes:
        """The bytes of any sequence of tokens, be they whole characters or not; the end has none.

        Raises DataError for a number that is no token.
        """
        return b"".join(map(self.token_bytes, np.asarray(tokens, np.int64).reshape(-1).tolist()))

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one token stands for; none for the end. Raises DataError as `decode`."""
        if not 0 <= token < self.size:
            raise DataError(f"token {token}: this tokenizer has the tokens 0 .. {self.size - 1}")
        return self.coder.table[token]
