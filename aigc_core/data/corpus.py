"""A text of any length as documents, some of which are held out; read in pieces, in memory that does not grow."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from aigc_core.data.documents import Part, documents
from aigc_core.data.reading import TextReading
from aigc_core.errors import DataError

if TYPE_CHECKING:
    from aigc_core.data.folder import Track

_T = TypeVar("_T")

SPLITS: Final = ("train", "validation")
PIECE: Final = 1 << 20
"""Characters of a piece of a document, about."""
LONGEST: Final = 1 << 24
"""Characters of a piece without white space, at which it is cut all the same."""
PATIENCE: Final = 2.0
"""Seconds of work after which it is shown how far it has come."""

BREAK: Final = re.compile(r"(?<=\S)[ \t\r\n]")
"""Where a text is cut: before white space that follows other text."""


class Sizes(NamedTuple):
    """How much text there is."""

    documents: int
    characters: int
    bytes: int


class Corpus:
    """The text in some files: a first pass checks and counts it, later ones read it piece by piece.

    A document is held out by the hash of its content: equal ones are all held out, or none, and their order does not
    matter. Where there is but one, its last characters are held out.
    """

    def __init__(self, paths: Sequence[Path], reading: TextReading, track: Track | None = None) -> None:
        """Reads all of it. Raises DataError for what is no text (see `documents`)."""
        self.paths, self.reading = tuple(paths), reading
        self._stamps = self._stamp()
        self._long: list[int] = []
        """The hashes of the documents that come in parts; those of others are taken anew in each pass."""
        content, low, high = hashlib.sha256(), 1 << 64, -1
        count = characters = size = 0
        document = hashlib.blake2b(digest_size=8)
        part_of = 0
        for part in self._parts(track, "reading text"):
            raw = part.text.encode()
            content.update(raw)
            document.update(raw)
            characters, part_of = characters + len(part.text), part_of + len(raw)
            if part.ends:
                number = int.from_bytes(document.digest(), "little")
                low, high = min(low, number), max(high, number)
                if part_of != len(raw):
                    self._long.append(number)
                content.update(part_of.to_bytes(8, "little"))
                count, size = count + 1, size + part_of
                document, part_of = hashlib.blake2b(digest_size=8), 0
        self.total: Final = Sizes(count, characters, size)
        self.share: Final = reading.share(size)
        self.said: Final = reading.said(size)
        self._divide(low, high)
        self.digest: Final = f"sha256:{self._key(content.digest())}"
        """Of documents and split: the same for the same documents in the same order, whatever files they lie in."""
        self._sizes: dict[str, Sizes] = {}

    def _divide(self, low: int, high: int) -> None:
        """From the lowest and the highest hash: `_bound`, below which a document's hash is if it is held out; or
        `_cut`, the number of characters that are not."""
        self._bound, self._cut = 0, None if self.share else self.total.characters
        if self.share and low >= high:
            self._cut = min(int(self.total.characters * (1 - self.share)), max(0, self.total.characters - 1))
        elif self.share:
            self._bound = int(self.share * (1 << 64))
            if low >= self._bound:
                self._bound = low + 1  # at least one document on each side
            elif high < self._bound:
                self._bound = high

    def _key(self, content: bytes) -> str:
        divided = json.dumps(["documents", self._bound, self._cut])
        return hashlib.sha256(divided.encode() + content).hexdigest()

    def sizes(self, split: str) -> Sizes:
        """How much of the text a split has; takes a pass over it the first time."""
        if split not in self._sizes:
            count = characters = size = 0
            for piece in self.pieces(split):
                count += piece.ends
                characters += len(piece.text)
                size += len(piece.text.encode())
            cut = bool(characters) and not piece.ends
            self._sizes[split] = Sizes(count + cut, characters, size)
        return self._sizes[split]

    def check(self, split: str, source: Path) -> None:
        """Raises DataError if there is no such split, or nothing in it."""
        if split not in SPLITS:
            raise DataError(f"{source}: a text has no split {split!r}; it has: {', '.join(SPLITS)}")
        if split == "validation" and not self.share:
            why = "" if self.reading.validation is not None else f" of {self.total.bytes} bytes"
            raise DataError(
                f"{source}: nothing is held out for validation{why}; say how much: -d validation=0.1"
            )

    def pieces(self, split: str, track: Track | None = None, text: str = "reading text") -> Iterator[Part]:
        """The documents of a split in pieces of about 1 MB, cut only before white space that follows other text
        (after 16 MB at any character); a document that is shorter is one piece.

        A document whose end is held out ends with no piece. Raises DataError if a file has changed since it was opened.
        """
        rest = ""
        for part in self._of(split, track, text):
            rest += part.text
            while len(rest) > PIECE:
                found = BREAK.search(rest, PIECE, LONGEST)
                if found is None and len(rest) < LONGEST and not part.ends:
                    break
                at = found.start() if found else min(LONGEST, len(rest))
                if at == len(rest):
                    break
                yield Part(rest[:at], False)
                rest = rest[at:]
            if part.ends:
                yield Part(rest, True)
                rest = ""
        if rest:
            yield Part(rest, False)

    def texts(self, split: str) -> Iterator[str]:
        """The same, the text alone."""
        return (piece.text for piece in self.pieces(split))

    def _of(self, split: str, track: Track | None, text: str) -> Iterator[Part]:
        """The parts of the documents of a split."""
        held_out, cut, position = split == "validation", self._cut, 0
        long, wanted, begun = iter(self._long), False, False
        for part in self._parts(track, text):
            if cut is not None:
                stop = position + len(part.text)
                kept = (
                    part.text[max(0, cut - position) :] if held_out else part.text[: max(0, cut - position)]
                )
                position = stop
                # A document that is cut has no end in either part: the one lacks it, the other its beginning.
                whole = not self.share or self.total.documents > 1
                if kept:
                    yield Part(kept, part.ends and whole and (held_out or stop <= cut))
                continue
            if not begun:
                number = next(long, -1) if not part.ends else _number(part.text)
                if number < 0:
                    raise self._changed()
                wanted = (number < self._bound) == held_out
            begun = not part.ends
            if wanted:
                yield part

    def _parts(self, track: Track | None, text: str) -> Iterator[Part]:
        """All documents, part by part."""
        files = iter(self.paths)
        total = sum(size for size, _ in self._stamps) // PIECE + len(self.paths)

        def read() -> Iterator[Part]:
            for path in files:
                yield from documents(path, self.reading)

        yield from _by_pieces(read(), total, text, track)
        if self._stamp() != self._stamps:
            raise self._changed()

    def _stamp(self) -> list[tuple[int, int]]:
        found = []
        for path in self.paths:
            try:
                status = path.stat()
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
            if not stat.S_ISREG(status.st_mode):  # a pipe can be read but once
                raise DataError(
                    f"{path}: is no regular file, and a text is read more than once; save it as one"
                )
            found.append((status.st_size, status.st_mtime_ns))
        return found

    def _changed(self) -> DataError:
        now = self._stamp()
        path = next(
            (p for p, a, b in zip(self.paths, self._stamps, now, strict=True) if a != b), self.paths[0]
        )
        return DataError(f"{path}: has changed while it was read; run the same command again")


def _number(text: str) -> int:
    """The hash of a document, 0 .. 2^64 - 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _by_pieces(parts: Iterable[Part], total: int, text: str, track: Track | None) -> Iterator[Part]:
    """Parts as they come; after a while a bar shows how many megabytes are still to come."""
    if track is None:
        yield from parts
        return
    heaps = _heaps(parts)
    began, done = time.monotonic(), 0
    for heap in heaps:
        yield from heap
        done += 1
        if time.monotonic() - began > PATIENCE:
            break
    for heap in track(heaps, max(1, total - done), text) if time.monotonic() - began > PATIENCE else ():
        yield from heap


def _heaps(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts, about 1 MB at a time."""
    heap: list[Part] = []
    size = 0
    for part in parts:
        heap.append(part)
        size += len(part.text)
        if size >= PIECE:
            yield heap
            heap, size = [], 0
    if heap:
        yield heap
