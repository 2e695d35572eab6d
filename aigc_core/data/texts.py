"""Texts, as windows of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aigc_core.data.dataset import ArrayItems
from aigc_core.errors import DataError

ENDINGS = (".txt",)
LENGTH = 64
"""Bytes of an item, where no size is given."""


def open_texts(
    paths: Sequence[Path], source: Path, *, name: str, split: str = "train", length: int | None = None
) -> ArrayItems:
    """Windows of `length` bytes, one after the other, of all the texts joined by a newline.

    `source` names the whole of them in messages. The last window ends at the last byte, so it may overlap
    the one before. A text that is shorter than 64 bytes is one item, if no length is asked for.
    Raises DataError for bytes that are no UTF-8, and for fewer bytes than an item takes.
    """
    content = np.frombuffer(b"\n".join(map(_read, paths)), np.uint8)
    length = length or max(2, min(LENGTH, len(content)))
    if len(content) < length:
        raise DataError(
            f"{source}: holds {len(content)} bytes of text, an item takes {length}; add more text"
        )
    whole = content[: len(content) - len(content) % length].reshape(-1, length)
    if len(content) % length:
        whole = np.concatenate([whole, content[None, -length:]])
    return ArrayItems(whole, kind="text", name=name, split=split, details={"encoding": "utf-8"})


def _read(path: Path) -> bytes:
    """The bytes of a file of UTF-8; a mark of the byte order is no part of the text."""
    try:
        content = path.read_bytes()
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start}; convert it first"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    return content.removeprefix(b"\xef\xbb\xbf")
