"""Going through all recordings of a set once: which of them can be used, how long they are, what they hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from aigc_core.data.clips import CHUNK, Clips, Filed, Held
from aigc_core.data.dataset import Digest
from aigc_core.data.decoding import Head, OutsideError, decode, head
from aigc_core.data.folder import memory_limit, threads
from aigc_core.data.transcripts import Said
from aigc_core.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.folder import Track
    from aigc_core.data.reading import SoundReading

_T = TypeVar("_T")

NOISE: Final = re.compile(r"^(Error : )+|\.+$")
"""What libsndfile says around what is wrong."""


class Recording(NamedTuple):
    """A sound that is still to be decoded."""

    name: str
    """As messages name it: its path from the folder on."""
    file: Path | bytes
    """Where it lies, or its content."""
    said: Said = Said()
    """What is known of it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How the recordings of a set are decoded."""

    reading: SoundReading
    length: int | None
    """Samples of each at most, if there is such a bound."""
    root: Path
    """What messages begin with."""
    strict: bool
    track: Track | None

    def scan(self, recordings: Sequence[Recording]) -> Scan:
        """Decodes all. Raises DataError if `strict` and one can't be used."""
        found = Scan(self)
        heads: dict[str, Head] = {}
        for recording, result in zip(
            recordings, _in_threads(tried(head), [r.file for r in recordings]), strict=True
        ):
            if isinstance(result, Head):
                heads[recording.name] = result
            else:
                found.skip(recording, result)
        found.rate = self.reading.sample_rate or _commonest(heads.values())
        if expected := self._expected(heads.values(), found.rate):
            found.digest = Digest((1, expected), "audio")
        work = tried(partial(decode, rate=found.rate, reading=self.reading, length=self.length))
        there = [r for r in recordings if r.name in heads]
        pairs = zip(there, _in_threads(work, [r.file for r in there]), strict=True)
        for recording, sound in self.track(pairs, len(there), "reading sounds") if self.track else pairs:
            if isinstance(sound, np.ndarray):
                found.take(recording, sound)
            else:
                found.skip(recording, sound)
        if (self.length or max(found.lengths, default=0)) != expected:
            found.digest = None
        return found

    def _expected(self, heads: Iterable[Head], rate: int) -> int:
        """How long the items will be, if nothing is trimmed and the longest can be used; 0 if that can't be told."""
        if self.reading.trim is not None:
            return 0
        silence = 2 * round(self.reading.pad * rate)
        return self.length or max((int(h.frames * rate / h.rate + 0.5) + silence for h in heads), default=0)

    def again(self, recording: Recording, rate: int) -> npt.NDArray[np.int16]:
        """[T] one that was decoded before. Raises DataError."""
        work = tried(partial(decode, rate=rate, reading=self.reading, length=self.length))
        found = work(recording.file)
        if not isinstance(found, np.ndarray):
            raise DataError(f"{self.root}: {recording.name}: {found}, since the run began")
        return found


@dataclass(slots=True)
class Scan:
    """What going through all recordings has found out."""

    reader: Reader
    rate: int = 0
    """Samples a second of all."""
    kept: list[Recording] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """Samples of those that were kept."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why others were not, by name."""
    sounds: bytearray | None = field(default_factory=bytearray)
    """The samples of all, one after the other; None if they don't fit into memory."""
    digest: Digest | None = None
    """Fed with all sounds; None where the length of the items was not known before."""

    def take(self, recording: Recording, sound: npt.NDArray[np.int16]) -> None:
        self.kept.append(recording)
        self.lengths.append(len(sound))
        if self.digest is not None:
            self.digest.update(sound)
        if self.sounds is not None:
            self.sounds += sound.tobytes()
            if len(self.sounds) > memory_limit():
                self.sounds = None

    def skip(self, recording: Recording, problem: Exception) -> None:
        self.problems[recording.name] = str(problem)
        if self.reader.strict and not isinstance(problem, OutsideError):
            raise DataError(
                f"{self.reader.root}: {recording.name}: {problem}; mend it, or leave out --strict to skip it"
            )

    def clips(self) -> Clips:
        """The sounds that were kept."""
        if self.sounds is not None:
            return Held(np.frombuffer(self.sounds, np.int16)[None], np.array(self.lengths, np.int64))
        decoders = [partial(self.reader.again, recording, self.rate) for recording in self.kept]
        return Filed(decoders, self.lengths, threads())


def tried(work: Callable[[Path | bytes], _T]) -> Callable[[Path | bytes], _T | Exception]:
    """The same, but what can't be read is returned as an error of one line."""

    def work_or_error(file: Path | bytes) -> _T | Exception:
        try:
            return work(file)
        except OutsideError as error:
            return error
        except Exception as error:  # a damaged file can make libsndfile raise nearly anything
            said = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
            text = " ".join(str(said).split()) or type(error).__name__
            if type(error) is ValueError:
                return ValueError(text)
            return ValueError(f"can't be read: {NOISE.sub('', text)}")

    return work_or_error


def _in_threads(work: Callable[[Path | bytes], _T], files: Sequence[Path | bytes]) -> Iterator[_T]:
    """The results in order, a chunk at a time so that memory stays flat."""
    with ThreadPoolExecutor(threads(), "aigc-decode") as pool:
        for start in range(0, len(files), CHUNK):
            yield from pool.map(work, files[start : start + CHUNK])


def _commonest(heads: Iterable[Head]) -> int:
    """The sample rate of most sounds; the lowest of those that are as common."""
    counts: Mapping[int, int] = Counter(h.rate for h in heads)
    return min(counts, key=lambda rate: (-counts[rate], rate), default=0)
