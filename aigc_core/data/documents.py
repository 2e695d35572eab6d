"""The documents in a file of text, read as a stream: no file need fit into memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from aigc_core.data.reading import TextReading
from aigc_core.errors import DataError

BLOCK: Final = 1 << 20
"""Bytes that are read at once, and characters from which on a document comes in parts."""

LONGEST_LINE: Final = 1 << 28
"""Bytes of one line of a `.jsonl`, which is read as a whole."""

LONGEST_BLANK: Final = 1 << 26
"""Characters of a line of white space alone, from which on it is taken for text."""

MARK: Final = "\ufeff"
"""Of the byte order, at the start of a file: no part of the text."""


class Part(NamedTuple):
    """A part of a document, or all of it."""

    text: str
    ends: bool
    """Whether the document ends with it."""


def documents(path: Path, reading: TextReading) -> Iterator[Part]:
    """The documents of a `.txt` or `.jsonl` in their order, in parts of about 1 MB; empty ones are left out.

    Raises DataError, with file and offset or line, for what is not UTF-8, or no object with a text.
    """
    try:
        if path.suffix.lower() == ".jsonl":
            yield from _rows(path, reading)
        elif reading.documents == "file":
            yield from _whole(_blocks(path, reading))
        elif reading.documents == "line":
            for part in _lines(_blocks(path, reading)):
                if not part.ends or part.text.strip():
                    yield part
        else:
            yield from _paragraphs(_lines(_blocks(path, reading)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _blocks(path: Path, reading: TextReading) -> Iterator[str]:
    """The text of a file, in blocks that are not empty."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict" if reading.invalid == "refuse" else "replace")
    offset, first = 0, True
    with open(path, "rb", buffering=0) as file:
        while True:
            raw = file.read(BLOCK)
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, error, offset - waiting) from None
            offset += len(raw)
            if first and text:
                text, first = text.removeprefix(MARK), False
            if text:
                yield text
            if not raw:
                return


def _not_utf8(path: Path, error: UnicodeDecodeError, start: int) -> DataError:
    return DataError(
        f"{path}: not UTF-8: byte {error.object[error.start]:#04x} at offset {start + error.start}; "
        "convert it first, or take U+FFFD for such bytes: -d invalid=replace"
    )


def _whole(blocks: Iterable[str]) -> Iterator[Part]:
    """All of a file as one document."""
    before = ""
    for block in blocks:
        if before:
            yield Part(before, False)
        before = block
    if before:
        yield Part(before, True)


def _lines(blocks: Iterable[str]) -> Iterator[Part]:
    """Lines without their ends, empty ones too; only a very long one comes in parts, the last of them not empty."""
    rest = ""
    for block in blocks:
        head, *tail = (rest + block).split("\n")
        for line in tail:
            yield Part(head.removesuffix("\r"), True)
            head = line
        rest = head
        if len(rest) > BLOCK and (not rest.isspace() or len(rest) > LONGEST_BLANK):
            yield Part(rest[:-1], False)
            rest = rest[-1:]
    if rest:
        yield Part(rest.removesuffix("\r"), True)


def _paragraphs(lines: Iterable[Part]) -> Iterator[Part]:
    """What stands between lines that are empty, or white."""
    parts: list[str] = []
    size, begun, inside = 0, False, False  # `inside`: of a line that comes in parts
    for line in lines:
        if line.ends and not inside and not line.text.strip():
            if parts:
                yield Part("".join(parts), True)
            parts, size, begun = [], 0, False
            continue
        if size > BLOCK:
            yield Part("".join(parts), False)
            parts, size = [], 0
        parts.append(f"\n{line.text}" if begun and not inside else line.text)
        size += len(line.text)
        begun, inside = True, not line.ends
    if parts:
        yield Part("".join(parts), True)


def _rows(path: Path, reading: TextReading) -> Iterator[Part]:
    """The texts of a `.jsonl`, a document each."""
    offset, number = 0, 0
    with open(path, "rb") as file:
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise DataError(f"{path}: line {number}: longer than {LONGEST_LINE} bytes; split its text")
            try:
                content = line.decode("utf-8", "strict" if reading.invalid == "refuse" else "replace")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, error, offset) from None
            if not offset:
                content = content.removeprefix(MARK)
            offset += len(line)
            if content.strip() and (text := _text_of(content, f"{path}: line {number}", reading)):
                yield Part(text, True)


def _text_of(line: str, where: str, reading: TextReading) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: no JSON object, but {type(row).__name__}; each line must be one")
    if reading.field not in row:
        known = ", ".join(list(row)[:8]) or "none"
        raise DataError(
            f"{where}: has no field {reading.field!r}; say which holds the text: -d field=NAME; it has: {known}"
        )
    text = row[reading.field]
    if not isinstance(text, str):
        raise DataError(f"{where}: its field {reading.field!r} is no text, but {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair
        if reading.invalid == "refuse":
            raise DataError(
                f"{where}: its text has half of a surrogate pair, which is no character; correct it, or take U+FFFD: "
                "-d invalid=replace"
            ) from None
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
