"""What is to be seen in pictures, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core.data.dataset import Dataset
from aigc_core.data.transcripts import plain_text
from aigc_core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BESIDE: Final = "metadata.jsonl"
"""The file of captions in a folder of pictures, where no other is named (as in Hugging Face's image folders)."""
LONGEST: Final = 256
"""Bytes of a caption, at most; a longer one is an error, since what is said at its end would not be heard."""
EXAMPLES: Final = 8
"""Captions that the data's description names."""
FILE_KEYS: Final = ("file_name", "file")


@dataclass(slots=True)
class Captions:
    """What a file of captions says."""

    path: Path
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the path of a picture, from the folder of the captions."""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(
        self, paths: Sequence[Path] | None, labels: Tensor | None, classes: Sequence[str]
    ) -> list[tuple[str, ...]]:
        """The captions of each item: those of its file, else of its class, else none.

        Raises DataError for a file or a class that there is not, and where no item has any.
        """
        if unknown := sorted({*self.classes} - {*classes}):
            known = (
                f"; there are: {', '.join(map(str, classes[:10]))}"
                if classes
                else ", and these data have none"
            )
            raise DataError(f"{self.path}: no class {unknown[0]!r}{known}")
        places = None
        if self.files:
            if paths is None:
                raise DataError(
                    f'{self.path}: names files, and these data are no folder; name classes: "label": ...'
                )
            places = {self._name(path): number for number, path in enumerate(paths)}
            if missing := next((name for name in self.files if name not in places), None):
                raise DataError(f"{self.path}: no picture {missing!r} beside it")
        count = len(paths) if paths is not None else 0 if labels is None else len(labels)
        found: list[tuple[str, ...]] = [()] * count
        if labels is not None and self.classes:
            by_label = [self.classes.get(name, ()) for name in classes]
            found = [by_label[label] for label in labels.tolist()]
        for name, texts in self.files.items():
            assert places is not None
            found[places[name]] = texts
        if not any(found):
            raise DataError(f"{self.path}: says nothing of any picture")
        return found

    def _name(self, path: Path) -> str:
        try:
            return path.relative_to(self.path.parent).as_posix()
        except ValueError:
            return path.name


def read_captions(path: Path) -> Captions:
    """A file of a JSON object a line: `{"file_name": "a.png", "text": "a red dress"}` of a picture, or
    `{"label": "7", "text": ["a seven", "数字七"]}` of all pictures of a class. Texts are brought to NFC, white space to single
    spaces. Raises DataError, which names the line."""
    try:
        content = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8, at byte {error.start}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    found = Captions(path)
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            _take(line, f"{path}:{number}", found)
    if not found.files and not found.classes:
        raise DataError(f'{path}: holds no captions; give lines as {{"file_name": "a.png", "text": "..."}}')
    return found


def _take(line: str, where: str, found: Captions) -> None:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f'{where}: not a JSON object, as {{"file_name": ..., "text": ...}}')
    file = next((row[key] for key in FILE_KEYS if key in row), None)
    label, texts = row.get("label"), row.get("text")
    if (file is None) == (label is None):
        raise DataError(
            f'{where}: names neither a file nor a class; give "file_name" or "label"'
            if file is None
            else f"{where}: names a file and a class; give one of both"
        )
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f'{where}: its "text" is neither a text nor a list of texts')
    said = tuple(plain_text(text) for text in texts)
    for text in said:
        if not text or "\0" in text:
            raise DataError(f"{where}: an empty caption")
        if len(text.encode()) > LONGEST:
            raise DataError(f"{where}: a caption of {len(text.encode())} bytes; there may be {LONGEST}")
    known, key = (found.classes, str(label)) if file is None else (found.files, str(file))
    known[key] = (*known.get(key, ()), *said)


class Captioned(Dataset):
    """Pictures with what is to be seen in each. `fetch_extras` gives `captions` [N, K, L] int64: of each item K captions, its
    own in turn, as the bytes of UTF-8 plus one, then zeros; nothing but zeros where there are none."""

    def __init__(
        self, pictures: Dataset, captions: Sequence[tuple[str, ...]], reading: Mapping[str, Any]
    ) -> None:
        """captions: of each item."""
        different = list(dict.fromkeys(text for texts in captions for text in texts))
        numbers = {text: number for number, text in enumerate(different, 1)}
        most = max(map(len, captions))
        longest = max(len(text.encode()) for text in different)
        self._texts = torch.zeros(len(different) + 1, longest, dtype=torch.int16)
        for text, number in numbers.items():
            encoded = text.encode()
            self._texts[number, : len(encoded)] = torch.tensor(list(encoded), dtype=torch.int16) + 1
        rows = {
            texts: [numbers[texts[k % len(texts)]] if texts else 0 for k in range(most)]
            for texts in {*captions}
        }
        self._rows = torch.tensor([rows[texts] for texts in captions], dtype=torch.int32)
        words = sorted({word for text in different for word in words_of(text)})
        info = replace(
            pictures.info,
            details={**pictures.info.details, "examples": different[:EXAMPLES]},
            assets={**pictures.info.assets, "words": "\n".join(words).encode()},
        )
        digest = hashlib.sha256(json.dumps([pictures.digest, [list(texts) for texts in captions]]).encode())
        super().__init__(pictures.name, pictures.split, info, f"sha256:{digest.hexdigest()}")
        self._pictures, self.skipped, self.reading = pictures, pictures.skipped, dict(reading)

    def __len__(self) -> int:
        return len(self._pictures)

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._pictures.fetch(index)

    def fetch_extras(self, index: Tensor) -> Mapping[str, Tensor]:
        texts = self._texts[self._rows[index].long()].long()
        return {**self._pictures.fetch_extras(index), "captions": texts}

    def labels(self) -> Tensor | None:
        return self._pictures.labels()

    @property
    def in_memory(self) -> bool:
        return self._pictures.in_memory


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case; where words are not parted by spaces, as in Chinese, each character."""
    found: list[str] = []
    word = ""
    for character in text.casefold():
        if character.isalnum() and ord(character) < 0x2E80:
            word += character
            continue
        if word:
            found.append(word)
            word = ""
        if character.isalnum():
            found.append(character)
    return [*found, word] if word else found
