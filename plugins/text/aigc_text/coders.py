"""What a token is: a character, a byte, or a piece of the text that is frequent in it."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from aigc_core.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    Tokens = npt.NDArray[np.int64]

CODE_POINTS: Final = 0x110000


class Coder(ABC):
    """One kind of tokens: what they stand for, and how a text becomes them."""

    kind: ClassVar[str]
    """As a user writes it: `-o tokenizer=KIND`."""
    table: Sequence[bytes]
    """The bytes that each token stands for; none for what marks an end or a place."""
    end: int
    """The token after each document."""

    @abstractmethod
    def encode(self, text: str) -> Tokens:
        """[n] the tokens of a text. Raises DataError for a character that has none."""

    @abstractmethod
    def encode_all(self, pieces: Sequence[tuple[str, bool]]) -> Tokens:
        """[n] the tokens of some texts in a row, with the end after each that says so."""

    @abstractmethod
    def record(self) -> Mapping[str, Any]:
        """What it is made of, as JSON."""


class Bytes(Coder):
    """The 256 bytes of UTF-8, and an end."""

    kind = "bytes"

    def __init__(self) -> None:
        self.table = [*(bytes([value]) for value in range(256)), b""]
        self.end = 256

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(utf8(text), np.uint8).astype(np.int64)

    def encode_all(self, pieces: Sequence[tuple[str, bool]]) -> Tokens:
        return _with_ends(
            self.encode("".join(text for text, _ in pieces)),
            [len(utf8(t)) for t, _ in pieces],
            pieces,
            self.end,
        )

    def record(self) -> Mapping[str, Any]:
        return {}


class Characters(Coder):
    """The characters (code points) of the training text, and an end."""

    kind = "characters"

    def __init__(self, characters: str) -> None:
        """characters: each once; they are the tokens 0, 1, ... in this order."""
        self._characters = characters
        self.table = [*(character.encode() for character in characters), b""]
        self.end = len(characters)
        codes = code_points(characters)
        self._tokens = np.full(int(codes.max(initial=0)) + 2, -1, np.int64)
        self._tokens[codes] = np.arange(len(codes))

    @classmethod
    def fit(cls, pieces: Callable[[], Iterable[str]]) -> Characters:
        """All characters of a text, in the order of Unicode."""
        seen = np.zeros(CODE_POINTS, bool)
        for piece in pieces():
            seen[code_points(piece)] = True
        return cls("".join(map(chr, np.flatnonzero(seen))))

    @classmethod
    def load(cls, record: Mapping[str, Any]) -> Characters:
        characters = record.get("characters")
        if not isinstance(characters, str) or len(set(characters)) != len(characters):
            raise DamagedFileError("the tokenizer's characters are no text of characters that differ")
        utf8(characters)
        return cls(characters)

    def encode(self, text: str) -> Tokens:
        # What lies beyond the table is looked up at its last place, which no character has.
        tokens = self._tokens[np.minimum(code_points(text), len(self._tokens) - 1)]
        if len(tokens) and tokens.min() < 0:
            character = text[int(np.argmin(tokens))]
            raise DataError(
                f"{called(character)} has no token: it was not in the training text of this tokenizer of "
                f"{self.end} characters; leave it out, or train with -o tokenizer=bytes or -o tokenizer=bpe"
            )
        return tokens

    def encode_all(self, pieces: Sequence[tuple[str, bool]]) -> Tokens:
        return _with_ends(
            self.encode("".join(text for text, _ in pieces)), [len(t) for t, _ in pieces], pieces, self.end
        )

    def record(self) -> Mapping[str, Any]:
        return {"characters": self._characters}


def _with_ends(tokens: Tokens, lengths: list[int], pieces: Sequence[tuple[str, bool]], end: int) -> Tokens:
    """Tokens of pieces of some lengths, with an end after each that says so."""
    stops = np.cumsum(lengths, dtype=np.int64)[[ends for _, ends in pieces]] if pieces else ()
    return np.insert(tokens, stops, end)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """[n] the characters of a text as numbers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def utf8(text: str) -> bytes:
    """The bytes of a text. Raises DataError for half of a surrogate pair, which has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{called(text[error.start])} at character {error.start} is no text: it stands for bytes that are not "
            "UTF-8; leave it out"
        ) from None


def called(character: str) -> str:
    """A character as a message names it: `'夏' (U+590F, CJK UNIFIED IDEOGRAPH-590F)`."""
    name = unicodedata.name(character, "")
    return f"character {character!r} (U+{ord(character):04X}{', ' if name else ''}{name})"
