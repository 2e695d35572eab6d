"""Byte pair encoding over bytes, as GPT-2 has it (Radford et al., 2019; Sennrich et al., 2016, arXiv:1508.07909)."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.errors import DamagedFileError
from aigc_text.coders import Coder, utf8

if TYPE_CHECKING:
    import tokenizers

    from aigc_text.coders import Tokens

SAMPLE: Final = 16 << 20
"""Characters that merges are learned from, at most: what is frequent shows in a part, and counting every word of a
large text takes memory that grows with it."""

PART: Final = 1 << 12
"""Characters that the library is given at once, about: it takes the parts of a text in parallel."""

WORDS: Final = 1 << 17
"""Words whose tokens are remembered."""

_WORD: Final = re.compile(
    r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\t-\r A-Za-z0-9]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"
)
"""GPT-2's way to split a text into words, in ASCII; the library's does it in all of Unicode, more slowly."""

_BREAK: Final = re.compile(r"(?<=\S)[ \t\r\n]")
"""Where a text can be cut: GPT-2's words end before white space."""


def _alphabet() -> dict[str, int]:
    """GPT-2's way to write bytes: printable ones as themselves, the others as characters from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    shifted = [value for value in range(256) if value not in plain]
    return {chr(v): v for v in plain} | {chr(256 + i): v for i, v in enumerate(shifted)}


ALPHABET: Final = _alphabet()


class BytePairs(Coder):
    """Merges of bytes into pieces of words. Any text has tokens; what only looks like the end's name is plain text."""

    kind = "bpe"

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Sequence[tuple[str, str]],
        end: int,
        special: Iterable[int] = (),
    ) -> None:
        """vocabulary: the tokens in GPT-2's writing (see `ALPHABET`), 0, 1, ... in order; merges: in order of their
        rank; special: the tokens that stand for no text and that no text has, beside the end.

        Raises DamagedFileError if they do not fit together.
        """
        self.vocabulary, self.merges, self.end = tuple(vocabulary), tuple(merges), end
        self.special = tuple(sorted({*special, end}))
        if not 0 <= self.special[0] <= self.special[-1] < len(self.vocabulary):
            raise DamagedFileError(
                f"the tokenizer's special tokens {self.special} are not all in its vocabulary"
            )
        numbers = {
            piece: number for number, piece in enumerate(self.vocabulary) if number not in self.special
        }
        if len(numbers) != len(self.vocabulary) - len(self.special):
            raise DamagedFileError("the tokenizer's vocabulary has a token twice")
        self.table = [self._bytes(number) for number in range(len(self.vocabulary))]
        if missing := [value for character, value in ALPHABET.items() if character not in numbers]:
            raise DamagedFileError(f"the tokenizer's vocabulary has no token for byte {missing[0]:#04x}")
        for pair in self.merges:
            if any(piece not in numbers for piece in (*pair, "".join(pair))):
                raise DamagedFileError(
                    f"the tokenizer merges {' + '.join(pair)!r}, which is not in its vocabulary"
                )
        self._library = _library(numbers, list(self.merges))
        self._known: dict[str, list[int]] = {}
        """The tokens of words that were met."""

    def _bytes(self, number: int) -> bytes:
        if number in self.special:
            return b""
        try:
            return bytes(ALPHABET[character] for character in self.vocabulary[number])
        except KeyError as error:
            raise DamagedFileError(
                f"the tokenizer's token {number}, {self.vocabulary[number]!r}, is not written in bytes: {error}"
            ) from None

    @classmethod
    def fit(cls, size: int, pieces: Callable[[], Iterable[str]]) -> BytePairs:
        """Learns at most size - 257 merges, fewer if the text has no more pairs that occur twice."""
        from tokenizers import trainers

        library = _library({}, [])
        trainer = trainers.BpeTrainer(
            vocab_size=size - 1, min_frequency=2, initial_alphabet=list(ALPHABET), show_progress=False
        )
        library.train_from_iterator(_sample(pieces), trainer)
        numbers: dict[str, int] = library.get_vocab(with_added_tokens=False)
        vocabulary = sorted(numbers, key=numbers.__getitem__)
        merges = [(a, b) for a, b in json.loads(library.to_str())["model"]["merges"]]
        return cls([*vocabulary, "<|endoftext|>"], merges, len(vocabulary))

    @classmethod
    def load(cls, record: Mapping[str, Any]) -> BytePairs:
        """From what `record` gave."""
        vocabulary, merges = record.get("vocabulary"), record.get("merges")
        end, special = record.get("end"), record.get("special")
        texts = (vocabulary, merges)
        if not all(isinstance(part, list) and all(isinstance(t, str) for t in part) for part in texts):
            raise DamagedFileError("the tokenizer's vocabulary or merges are no lists of texts")
        if (
            not isinstance(end, int)
            or not isinstance(special, list)
            or not all(type(t) is int for t in special)
        ):
            raise DamagedFileError("the tokenizer's special tokens are no whole numbers")
        assert isinstance(vocabulary, list)
        return cls(vocabulary, pairs(merges or []), end, special)

    def record(self) -> Mapping[str, Any]:
        merges = [" ".join(pair) for pair in self.merges]
        return {
            "vocabulary": list(self.vocabulary), "merges": merges, "end": self.end, "special": list(self.special),
        }  # fmt: skip

    def encode(self, text: str) -> Tokens:
        return self.encode_all([(text, False)])

    def encode_all(self, pieces: Sequence[tuple[str, bool]]) -> Tokens:
        found: list[Iterable[int]] = []
        others: list[tuple[int, str]] = []  # where the tokens of a part belong that is not in ASCII
        for text, ends in pieces:
            utf8(text)
            for part in cut(text):
                if not part.isascii():
                    others.append((len(found), part))
                found.append(self._of_ascii(part) if part.isascii() else ())
            if ends:
                found.append((self.end,))
        encodings = self._library.encode_batch_fast([part for _, part in others])
        for (place, _), encoding in zip(others, encodings, strict=True):
            found[place] = encoding.ids
        return np.fromiter(itertools.chain.from_iterable(found), np.int64)

    def _of_ascii(self, text: str) -> list[int]:
        words = _WORD.findall(text)
        known = self._known
        if new := [word for word in set(words) if word not in known]:
            if len(known) + len(new) > WORDS:
                known = {}
                new = list(set(words))
            encodings = self._library.encode_batch_fast(new)
            known.update((word, encoding.ids) for word, encoding in zip(new, encodings, strict=True))
            self._known = known
        return [token for word in words for token in known[word]]


def pairs(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Merges from their lines, `a b`. Raises DamagedFileError."""
    found = []
    for line in lines:
        left, gap, right = line.partition(" ")
        if not (left and gap and right) or " " in right:
            raise DamagedFileError(f"the tokenizer's merge {line!r} is not two pieces with a space between")
        found.append((left, right))
    return found


def cut(text: str, size: int = PART) -> Iterator[str]:
    """A text in parts of about so many characters, cut where no token reaches across."""
    start = 0
    while start < len(text):
        found = _BREAK.search(text, min(start + size, len(text)))
        stop = found.start() if found else len(text)
        yield text[start:stop]
        start = stop


def _library(vocabulary: Mapping[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    # The library warns on standard error of every fork after its threads have started, unless it was told this.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import tokenizers
    from tokenizers import models, pre_tokenizers

    library = tokenizers.Tokenizer(models.BPE(vocab=dict(vocabulary), merges=merges))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return library


def _sample(pieces: Callable[[], Iterable[str]]) -> Iterator[str]:
    """A text in parts; of a large one every n-th piece alone."""
    total = sum(map(len, pieces()))
    every = max(1, -(-total // SAMPLE))
    for number, piece in enumerate(pieces()):
        if number % every == 0:
            yield from cut(piece)
