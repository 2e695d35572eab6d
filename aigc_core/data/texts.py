"""Texts, as windows of bytes; and what their documents are, for models that take tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from aigc_core.data.corpus import SPLITS, Corpus
from aigc_core.data.dataset import Dataset, Digest
from aigc_core.data.documents import BLOCK
from aigc_core.data.reading import text_reading
from aigc_core.data.windows import IN_MEMORY, Windows
from aigc_core.errors import DataError
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.data.corpus import Sizes
    from aigc_core.data.folder import Track
    from aigc_core.data.reading import TextReading
    from aigc_core.data.windows import FileRow, Row

ENDINGS = (".txt", ".jsonl")
LENGTH = 64
"""Bytes of an item, where no size is given."""


class TextItems(Dataset):
    """Windows of the bytes of a split: all its documents, joined by a newline.

    A long text is not joined before it is asked for: who takes tokens of its `corpus` never does.
    """

    def __init__(
        self,
        corpus: Corpus,
        source: Path,
        *,
        name: str,
        split: str,
        part: str,
        length: int | None = None,
        track: Track | None = None,
    ) -> None:
        """Raises DataError for fewer bytes than an item takes; of a long text, when it is first asked for an item."""
        self.corpus: Final = corpus
        self.source: Final = source
        """What was opened, as messages name it."""
        self.part: Final = part
        """The corpus's own name for the split."""
        self.sized: Final = length is not None
        """Whether the length of an item was asked for."""
        self._track = track
        self._short: Row | None = None
        if corpus.total.bytes <= IN_MEMORY:
            self._short = np.frombuffer(b"".join(joined(corpus, part)), np.uint8)
            length = length or max(2, min(LENGTH, len(self._short)))
            self._check(self._short, length)
        length = length or LENGTH
        super().__init__(name, split, DataInfo("text", (length,), (), {"encoding": "utf-8"}), "")
        self.reading = corpus.said

    def _check(self, row: Row, length: int) -> None:
        if len(row) < length:
            raise DataError(
                f"{self.source}: holds {len(row)} bytes of text, an item takes {length}; add more text"
            )

    def parts(self) -> Mapping[str, Sizes]:
        return {part: self.corpus.sizes(part) for part in SPLITS if part == "train" or self.corpus.share}

    @cached_property
    def _items(self) -> Windows:
        row: FileRow | Row
        length = self.info.shape[0]
        if self._short is not None:
            row = self._short
        else:
            from aigc_core.data.tokens import row_of_bytes

            row = row_of_bytes(self.corpus, self.part, self._track)
            self._check(row.values, length)
        return Windows(row, length, length, name=self.name, split=self.split, info=self.info, digest="")

    @property
    def digest(self) -> str:
        if not self._digest:
            digest, count, length = Digest(self.info.shape, "text"), len(self._items.row), self.info.shape[0]
            whole = count - count % length
            for start in range(0, whole, BLOCK):
                digest.update(self._items.part(start, min(start + BLOCK, whole)))
            if whole < count:
                digest.update(self._items.part(count - length, count))
            self._digest = digest.finish(None, ())
        return self._digest

    @property
    def in_memory(self) -> bool:
        return self._items.in_memory

    def __len__(self) -> int:
        return len(self._items)

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._items.fetch(index)


def open_texts(
    paths: Sequence[Path],
    source: Path,
    *,
    name: str,
    split: str = "train",
    part: str | None = None,
    length: int | None = None,
    reading: TextReading | None = None,
    track: Track | None = None,
) -> TextItems:
    """The texts in some files, as windows of `length` bytes, one after the other; they carry their `corpus`.

    `source` names the whole of them in messages. part: which part of the text it is (see `Corpus`), where that is not
    the split. The last window ends at the last byte, so it may overlap the one before. A text that is shorter than 64
    bytes is one item, if no length is asked for.
    Raises DataError for bytes that are no UTF-8, and for fewer bytes than an item takes.
    """
    corpus = Corpus(paths, reading or text_reading(None), track)
    corpus.check(part or split, source)
    return TextItems(
        corpus, source, name=name, split=split, part=part or split, length=length, track=track
    )  # fmt: skip


def joined(corpus: Corpus, part: str, track: Track | None = None) -> Iterator[bytes]:
    """The bytes of a part's documents with a newline between them, piece by piece."""
    between = b""
    for piece in corpus.pieces(part, track):
        yield between + piece.text.encode()
        between = b"\n" if piece.ends else b""
