"""Texts as tokens: made once, kept in a file, read from there in windows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from aigc_core.data.texts import TextItems, joined
from aigc_core.data.windows import FileRow, Windows
from aigc_core.errors import BackendError, DataError, StorageError, UsageError
from aigc_core.files import make_folder, remove_unfinished, storage_errors, write_atomically
from aigc_core.home import home
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.corpus import Corpus
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Track
    from aigc_core.interfaces import Tokenizer
    from aigc_core.options import Options

HEADER: Final = 4096
"""Bytes before the tokens: a line of JSON, blanks, and the sha256 of both in hexadecimal digits."""

HELD_OUT: Final = "validation"
"""The part of a text that is not trained on."""

TOGETHER: Final = 1 << 22
"""Characters that are given to a tokenizer at once, about."""


class Tokens(Windows):
    """The tokens of a split: all its documents one after the other, each with the tokenizer's end behind it.

    An item is `window` tokens, int64; the last of one is the first of the next, so that each but the very first is to
    be predicted once.
    """

    def __init__(
        self, row: FileRow, content: str, tokenizer: Tokenizer, corpus: Corpus, *, name: str, split: str
    ) -> None:
        """content: the digest of the tokens. Raises DataError for fewer than an item takes."""
        count, window, assets = len(row.values), tokenizer.window, tokenizer.assets
        if count < window:
            advice = f"lower that: -o context={count - 1}" if count > 1 else "add more text"
            what = f"its {split} text is {count} tokens, an item takes {window} (the context and one more)"
            raise DataError(f"{what}; {advice}")
        details = {"encoding": "utf-8", "tokenizer": tokenizer.name, "tokens": tokenizer.size}
        info = DataInfo("text", (window,), (), details, assets)
        super().__init__(
            row, window, window - 1, name=name, split=split, info=info, phases=window - 1, dtype=torch.int64,
            digest=f"sha256:{_sha256('tokens', window, content, tokenizer.end, _digest_of(assets))}",
        )  # fmt: skip
        self.corpus: Final = corpus
        self.reading = corpus.said


def for_model(
    dataset: Dataset,
    tokenizer_class: type[Tokenizer],
    config: Options,
    kept: Mapping[str, bytes],
    track: Track | None,
) -> Tokens:
    """The tokens of a text that was opened, by a tokenizer made of it, or of the assets `kept` in weights.

    Raises DataError for a set that is not a text of documents, for text that the tokenizer has no tokens for, and for
    fewer tokens than an item takes; UsageError where the config does not fit; StorageError.
    """
    if not isinstance(dataset, TextItems):
        raise DataError(
            f"{dataset.name!r} holds no documents of text, which this model takes; give it a .txt, a .jsonl or a folder "
            "of them"
        )
    if dataset.sized:
        raise UsageError("--size does not apply: how many tokens an item has is the model's -o context=N")
    corpus, source = dataset.corpus, dataset.source
    parts = [dataset.part if kept else "train"]
    try:
        if not kept and tokenizer_class.sees_all(config) and corpus.share:
            parts.append(HELD_OUT)
        tokenizer = tokenizer_class.fit(config, lambda: chain.from_iterable(map(corpus.texts, parts)), kept)
        return tokenised(
            corpus, tokenizer, dataset.part, name=dataset.name, split=dataset.split, track=track
        )  # fmt: skip
    except (DataError, UsageError) as error:
        raise type(error)(f"{source}: {error}") from None


def tokenised(
    corpus: Corpus,
    tokenizer: Tokenizer,
    part: str,
    *,
    name: str,
    split: str | None = None,
    track: Track | None = None,
) -> Tokens:
    """The tokens of a part of a corpus, from the file that keeps them, which is written first if there is none.

    split: what to call the part. Raises DataError and StorageError.
    """
    key = _sha256("tokens", corpus.digest, part, tokenizer.end, tokenizer.size, _digest_of(tokenizer.assets))
    row, content = _kept(key, _dtype(tokenizer.size), lambda: _encoded(corpus, tokenizer, part, track))
    return Tokens(row, content, tokenizer, corpus, name=name, split=split or part)


def row_of_bytes(corpus: Corpus, part: str, track: Track | None = None) -> FileRow:
    """The bytes of a part's documents with a newline between them, from a file, which is written first."""
    key = _sha256("bytes", corpus.digest, part)
    values = np.dtype(np.uint8)
    return _kept(key, values, lambda: (np.frombuffer(b, np.uint8) for b in joined(corpus, part, track)))[0]


def _encoded(
    corpus: Corpus, tokenizer: Tokenizer, part: str, track: Track | None
) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """The tokens of a part, about 4 million characters at a time."""
    waiting: list[tuple[str, bool]] = []
    size = 0
    for piece in corpus.pieces(part, track, "making tokens"):
        waiting.append(piece)
        size += len(piece.text)
        if size >= TOGETHER:
            yield _checked(tokenizer, waiting)
            waiting, size = [], 0
    yield _checked(tokenizer, waiting)


def _checked(tokenizer: Tokenizer, pieces: list[tuple[str, bool]]) -> npt.NDArray[np.integer[Any]]:
    tokens = tokenizer.encode_all(pieces)
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < tokenizer.size:
        raise BackendError(
            f"the tokenizer {type(tokenizer).__name__} gave tokens outside 0 .. {tokenizer.size - 1}"
        )
    return tokens


def _kept(
    key: str, dtype: np.dtype[Any], make: Callable[[], Iterable[npt.NDArray[np.integer[Any]]]]
) -> tuple[FileRow, str]:
    """Numbers from the file of a key, and the digest of them; made and written first if there is no whole one.

    Processes that need the same wait for the one that makes it. Raises StorageError, and what `make` does.
    """
    from filelock import FileLock

    folder = home() / "cache" / "tokens"
    path = folder / f"{key}.bin"
    if found := _opened(path, dtype):
        return found
    with storage_errors(path):
        make_folder(folder)
        remove_unfinished(folder)
        lock = FileLock(folder / f".{key}.lock")
        lock.acquire()
    try:
        if not _opened(path, dtype):
            _write(path, dtype, make())
    finally:
        lock.release()
    if found := _opened(path, dtype):
        return found
    raise StorageError(f"{path}: cannot be read again after it was written; look after the disk")


def _write(path: Path, dtype: np.dtype[Any], parts: Iterable[npt.NDArray[np.integer[Any]]]) -> None:
    content, count = hashlib.sha256(), 0
    with write_atomically(path) as file:
        file.write(bytes(HEADER))
        for part in parts:
            raw = np.ascontiguousarray(part, dtype).data
            content.update(raw)
            file.write(raw)
            count += len(part)
        file.seek(0)
        file.write(_header({"dtype": dtype.str, "count": count, "content": content.hexdigest()}))


def _header(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record).encode().ljust(HEADER - 65) + b"\n"
    return text + hashlib.sha256(text).hexdigest().encode()


def _opened(path: Path, dtype: np.dtype[Any]) -> tuple[FileRow, str] | None:
    """What a file holds, if it is whole."""
    try:
        with open(path, "rb") as file:
            header, size = file.read(HEADER), file.seek(0, 2)
        record = json.loads(header[: HEADER - 65])
        if header != _header(record) or record["dtype"] != dtype.str:
            return None
        if size != HEADER + record["count"] * dtype.itemsize:
            return None
        return FileRow(path, HEADER, dtype), str(record["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _dtype(size: int) -> np.dtype[Any]:
    """The smallest whole numbers, lowest byte first, for so many tokens."""
    return np.dtype("<u1" if size <= 1 << 8 else "<u2" if size <= 1 << 16 else "<u4")


def _digest_of(assets: Mapping[str, bytes]) -> str:
    return _sha256(
        *(part for name in sorted(assets) for part in (name, hashlib.sha256(assets[name]).hexdigest()))
    )


def _sha256(*parts: str | int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
