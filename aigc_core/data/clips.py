"""A data set of sounds, each of a length of its own, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch

from aigc_core.data.dataset import Dataset, Digest
from aigc_core.errors import DataError
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.data.dataset import Labels
    from aigc_core.data.reading import SoundReading

    Sound = npt.NDArray[np.int16]

EXAMPLES: Final = 10
"""Transcripts that weights are told of, for a reader."""
EXAMPLE: Final = 200
"""Characters of each, at most."""
CHUNK: Final = 256
"""Sounds that are read at once where all are gone through."""


class Clips(Protocol):
    """Where sounds come from."""

    lengths: npt.NDArray[np.int64]
    """[N] samples of each."""
    channels: int
    in_memory: bool

    def rows(self, index: Sequence[int]) -> list[Sound]:
        """[C, T] each. Raises DataError for one that has become unreadable."""


class Held:
    """Sounds in memory, one after the other."""

    in_memory = True

    def __init__(self, sounds: Sound, lengths: npt.NDArray[np.int64]) -> None:
        """sounds: [C, T] of all, whose lengths come to T."""
        self.lengths, self.channels = lengths, len(sounds)
        self._ends, self._buffer = np.cumsum(lengths), sounds

    @classmethod
    def of(cls, sounds: Sequence[Sound]) -> Held:
        """Of [C, T] each."""
        lengths = np.array([sound.shape[1] for sound in sounds], np.int64)
        return cls(np.concatenate(list(sounds), axis=1), lengths)

    def rows(self, index: Sequence[int]) -> list[Sound]:
        return [self._buffer[:, self._ends[i] - self.lengths[i] : self._ends[i]] for i in index]


class Filed:
    """Sounds that are decoded when they are asked for, by a few threads."""

    in_memory, channels = False, 1

    def __init__(self, decoders: Sequence[Callable[[], Sound]], lengths: Sequence[int], threads: int) -> None:
        """decoders: they give [T]."""
        self.lengths, self._decoders = np.array(lengths, np.int64), decoders
        self._pool = ThreadPoolExecutor(threads, "aigc-decode")

    def rows(self, index: Sequence[int]) -> list[Sound]:
        return list(self._pool.map(self._row, index))

    def _row(self, index: int) -> Sound:
        found = self._decoders[index]()
        if len(found) != self.lengths[index]:
            raise DataError("a sound has another length since the run began; run the same command again")
        return found[None]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the sounds of a set, beside what they sound like."""

    labels: Labels | None = None
    """[N] in 0 .. len(classes) - 1"""
    classes: tuple[str, ...] = ()
    speakers: Labels | None = None
    """[N] in 0 .. len(speaker_names) - 1"""
    speaker_names: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    characters: str = ""
    """Of the texts, sorted; by default just those that occur."""


class Sounds(Dataset):
    """Sounds int16 [C, T], T that of the longest, or what was asked for: shorter ones are followed by zeros, longer ones
    cropped. `fetch_extras` gives their `length`, and the `speaker` and `text` of each where those are known."""

    def __init__(
        self,
        clips: Clips,
        rate: int,
        known: Known,
        *,
        name: str,
        split: str = "train",
        length: int | None = None,
        content: Digest | None = None,
    ) -> None:
        """content: of the shape of the items, and fed with all sounds as `digest` feeds one, where that was done before.
        Raises DataError for what does not fit together."""
        length = length or int(clips.lengths.max())
        details: dict[str, Any] = {"sample_rate": rate}
        assets = {}
        if known.speakers is not None:
            details["speakers"] = list(known.speaker_names)
        if known.texts is not None:
            there = "".join(sorted(set().union(*known.texts)))
            different = list(dict.fromkeys(known.texts))
            known = replace(known, characters=known.characters or there)
            details["examples"] = [text[:EXAMPLE] for text in different[:EXAMPLES]]
            assets["characters"] = known.characters.encode()
        for what, numbers, names in (
            ("labels", known.labels, known.classes), ("speakers", known.speakers, known.speaker_names),
        ):  # fmt: skip
            if numbers is not None and len(numbers) != len(clips.lengths):
                raise DataError(f"{name}: {len(clips.lengths)} sounds but {len(numbers)} {what}")
            if numbers is not None and (numbers.min() < 0 or numbers.max() >= len(names)):
                raise DataError(f"{name}: {what} must lie in 0 .. {len(names) - 1}")
        classes = known.classes if known.labels is not None else ()
        info = DataInfo("audio", (clips.channels, length), classes, details, assets)
        super().__init__(name, split, info, "")
        self.clips, self.known, self._content = clips, known, content
        self.lengths: Final = torch.from_numpy(np.minimum(clips.lengths, length))
        self.reread: Callable[[SoundReading], Sounds] | None = None
        """Reads the same sounds in another way, where that can be done."""
        self._labels = None if known.labels is None else torch.from_numpy(known.labels.astype(np.int64))
        self._speakers = None if known.speakers is None else torch.from_numpy(known.speakers.astype(np.int64))
        self._codes = None if known.texts is None else _codes(known.texts, known.characters)
        self._longest = 0 if self._codes is None else max(map(len, self._codes))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def in_memory(self) -> bool:
        return self.clips.in_memory

    def labels(self) -> Tensor | None:
        return self._labels

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        items = np.zeros((len(index), *self.info.shape), np.int16)
        for item, sound in zip(items, self.clips.rows(index.tolist()), strict=True):
            count = min(sound.shape[1], items.shape[2])
            item[:, :count] = sound[:, :count]
        return torch.from_numpy(items), None if self._labels is None else self._labels[index]

    def fetch_extras(self, index: Tensor) -> Mapping[str, Tensor]:
        extras = {"length": self.lengths[index]}
        if self._speakers is not None:
            extras["speaker"] = self._speakers[index]
        if self._codes is not None:
            text = np.zeros((len(index), self._longest), np.int64)
            for row, i in zip(text, index.tolist(), strict=True):
                row[: len(self._codes[i])] = self._codes[i]
            extras["text"] = torch.from_numpy(text)
        return extras

    @property
    def digest(self) -> str:
        """Over the sounds without the zeros that follow shorter ones, and all that is known of them; of sounds of one
        length, of which no more is known than labels, that of `ArrayItems`."""
        if not self._digest:
            digest, known = self._content or Digest(self.info.shape, "audio"), self.known
            for start in range(0, 0 if self._content else len(self), CHUNK):
                places = range(start, min(start + CHUNK, len(self)))
                for i, sound in zip(places, self.clips.rows(places), strict=True):
                    digest.update(sound[:, : int(self.lengths[i])])
            if known.labels is not None:
                digest.add("labels", known.labels, known.classes)
            if bool((self.lengths != self.info.shape[1]).any()):
                digest.add("lengths", self.lengths.numpy())
            if known.speakers is not None:
                digest.add("speakers", known.speakers, known.speaker_names)
            if known.texts is not None:
                digest.add("texts", np.array([len(known.texts)]), known.texts)
            self._digest = digest.finish(None, ())
        return self._digest

    def sized(self, length: int) -> Sounds:
        """The same sounds, each cropped or followed by zeros to so many samples."""
        return self._again(self.known, length)

    def like(self, info: DataInfo) -> Sounds:
        """The same sounds as what was fitted on data of `info` takes them: of that length, and `numbered` as there.
        Raises DataError where that can't be."""
        here, there = self.info.details["sample_rate"], info.details.get("sample_rate")
        if here != there or self.info.shape[0] != info.shape[0]:
            raise DataError(
                f"{self.name!r} has sounds of {self.info.shape[0]} channels at {here} Hz, these weights are of "
                f"{info.shape[0]} at {there} Hz; resample a folder by -d sample_rate={there}"
            )
        return self.numbered(info).sized(info.shape[1])

    def numbered(self, info: DataInfo) -> Sounds:
        """The same sounds, characters and speakers numbered as in data of `info`, where those have any.
        Raises DataError for one that is not among them."""
        known, names = self.known, tuple(info.details.get("speakers", ()))
        if known.texts is not None and "characters" in info.assets:
            characters = info.assets["characters"].decode()
            if unseen := sorted(set(known.characters) - set(characters)):
                raise DataError(
                    f"{self.name!r}: the weights have never seen {' '.join(map(repr, unseen[:10]))}"
                )
            known = replace(known, characters=characters)
        if known.speakers is not None and names:
            if unseen := sorted(set(known.speaker_names) - set(names)):
                raise DataError(
                    f"{self.name!r}: the weights know no speaker {unseen[0]!r}; they know: {', '.join(names)}"
                )
            places = np.array([names.index(name) for name in known.speaker_names], np.int64)
            known = replace(known, speakers=places[known.speakers], speaker_names=names)
        return self._again(known, self.info.shape[1])

    def _again(self, known: Known, length: int) -> Sounds:
        found = Sounds(
            self.clips,
            self.info.details["sample_rate"],
            known,
            name=self.name,
            split=self.split,
            length=length,
        )
        found.skipped, found.reading, found.reread = self.skipped, self.reading, self.reread
        return found


def _codes(texts: Sequence[str], characters: str) -> list[npt.NDArray[np.int32]]:
    """Of each text, one more than the place of each character."""
    places = {character: i for i, character in enumerate(characters, 1)}
    return [np.array([places[character] for character in text], np.int32) for text in texts]
