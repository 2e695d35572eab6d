"""Sounds: a folder of files, what is known of each, and which of them can't be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from aigc_core.data.clips import CHUNK, Filed, Held, Known, Sounds
from aigc_core.data.decoding import Head, OutsideError, decode, head
from aigc_core.data.folder import memory_limit, threads
from aigc_core.data.reading import readings
from aigc_core.data.transcripts import ENDINGS, WAVS, Said, by_names, find_metadata, plain_text, read_metadata
from aigc_core.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.dataset import Labels
    from aigc_core.data.folder import Track
    from aigc_core.data.reading import SoundReading

_T = TypeVar("_T")

__all__ = ["ENDINGS", "Recording", "open_recordings", "open_sounds"]


class Recording(NamedTuple):
    """A sound that is still to be decoded."""

    name: str
    """As messages name it: its path from the folder on."""
    file: Path | bytes
    """Where it lies, or its content."""
    said: Said = Said()
    """What is known of it."""


def open_sounds(
    paths: Sequence[Path],
    root: Path,
    *,
    name: str,
    split: str = "train",
    length: int | None = None,
    strict: bool = False,
    reading: SoundReading | None = None,
    track: Track | None = None,
) -> Sounds:
    """The sounds in some files below `root`: int16 [1, T] each, T that of the longest, or `length`.

    Labels, speakers and transcripts come from a metadata file, from the names of the files, or, labels alone, from the
    top sub-folders, if every sound lies in one. Those that can't be read, or of which it is not known what was asked
    for, are left out and named in `skipped`, or raise DataError if `strict`. Sounds that don't fit into memory are
    decoded when they are needed.
    """
    reading = reading or readings(None).sounds
    scan = _Scan(root, strict)
    said: dict[Path, Said] = dict.fromkeys(paths, Said())
    metadata = find_metadata(root, reading)
    if metadata is not None:
        found = read_metadata(metadata, root, paths, reading)
        for problem in found.problems:
            scan.skip(problem)
        said = found.rows
    if reading.names is not None:
        named = by_names(reading.names, root, paths)
        said = {path: _both(said[path], named[path]) for path in said if path in named}
    recordings = []
    for path in paths:
        relative = path.relative_to(root)
        if path in said:
            folder = relative.parts[0] if len(relative.parts) > 1 else None
            if metadata is not None and relative.parts[0] == WAVS:
                folder = relative.parts[1] if len(relative.parts) > 2 else None
            label = said[path].label or ("" if reading.names and "{label}" in reading.names else folder)
            recordings.append(Recording(relative.as_posix(), path, replace(said[path], label=label)))
        elif metadata is not None and path not in found.rows:
            scan.skip(f"{relative}: no line of {metadata.name} is about it")
        else:
            scan.skip(f"{relative}: its name is not like names={reading.names}")
    if not recordings:
        what = f"; -d metadata=none ignores {metadata.name}" if metadata else ""
        raise DataError(f"{root}: none of {len(paths)} sounds can be used, first {scan.skipped[0]}{what}")
    return open_recordings(
        recordings, root, name=name, split=split, length=length, reading=reading, track=track, scan=scan
    )


def open_recordings(
    recordings: Sequence[Recording],
    root: Path,
    *,
    name: str,
    split: str = "train",
    length: int | None = None,
    reading: SoundReading | None = None,
    track: Track | None = None,
    scan: _Scan | None = None,
    classes: Sequence[str] = (),
) -> Sounds:
    """The sounds of some recordings, as `open_sounds` gives those of files.

    root: what messages begin with. classes: the names of the labels in their order; by default those that occur, sorted.
    """
    reading, scan = reading or readings(None).sounds, scan or _Scan(root, strict=False)
    before = list(scan.skipped)
    heads = scan.heads(recordings)
    rate = reading.sample_rate or _commonest(heads.values())
    scan.decode([r for r in recordings if r.name in heads], rate, reading, length, track)
    if not scan.kept:
        raise DataError(
            f"{root}: none of {len(recordings)} sounds can be read, first {scan.skipped[len(before)]}"
        )
    decoders = [partial(_decoded, r, rate, reading, length, root) for r in scan.kept]
    clips = Held(scan.sounds) if scan.sounds is not None else Filed(decoders, scan.lengths, threads())
    known = _known([r.said for r in scan.kept], reading, root, classes)
    found = Sounds(clips, rate, known, name=name, split=split, length=length)
    found.skipped, found.reading = scan.skipped, reading.said()

    def reread(reading: SoundReading) -> Sounds:
        return open_recordings(
            recordings, root, name=name, split=split, length=length, reading=reading, track=track,
            scan=_Scan(root, scan.strict, list(before)), classes=classes,
        )  # fmt: skip

    found.reread = reread
    return found


@dataclass(slots=True)
class _Scan:
    """What going through all sounds finds out."""

    root: Path
    strict: bool
    skipped: list[str] = field(default_factory=list)
    kept: list[Recording] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    sounds: list[npt.NDArray[np.int16]] | None = field(default_factory=list)
    """[1, T] each; None if they don't fit into memory."""

    def skip(self, problem: str, fault: bool = True) -> None:
        self.skipped.append(problem)
        if self.strict and fault:
            raise DataError(f"{self.root}: unreadable sound {problem}")

    def heads(self, recordings: Sequence[Recording]) -> dict[str, Head]:
        """What the headers say, of those that have one that can be read."""
        found = {}
        for recording, result in zip(
            recordings, map(_tried(head), (r.file for r in recordings)), strict=True
        ):
            if isinstance(result, Head):
                found[recording.name] = result
            else:
                self.skip(f"{recording.name}: {result}")
        return found

    def decode(
        self,
        recordings: Sequence[Recording],
        rate: int,
        reading: SoundReading,
        length: int | None,
        track: Track | None,
    ) -> None:
        """Fills `kept`, `lengths` and `sounds`."""
        limit, size = memory_limit(), 0
        work = partial(decode, rate=rate, reading=reading, length=length)
        results = _in_threads(_tried(work), [r.file for r in recordings])
        pairs = zip(recordings, results, strict=True)
        for recording, result in track(pairs, len(recordings), "reading sounds") if track else pairs:
            if not isinstance(result, np.ndarray):
                self.skip(f"{recording.name}: {result}", fault=not isinstance(result, OutsideError))
                continue
            self.kept.append(recording)
            self.lengths.append(len(result))
            size += result.nbytes
            if size > limit:
                self.sounds = None
            if self.sounds is not None:
                self.sounds.append(result[None])


def _tried(work: Callable[[Path | bytes], _T]) -> Callable[[Path | bytes], _T | Exception]:
    """The same, but what can't be read is returned as an error of one line."""

    def tried(file: Path | bytes) -> _T | Exception:
        try:
            return work(file)
        except OutsideError as error:
            return error
        except Exception as error:  # a damaged file can make libsndfile raise nearly anything
            text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
            return ValueError(text if type(error) is ValueError else f"can't be read: {text}")

    return tried


def _in_threads(work: Callable[[Path | bytes], _T], files: Sequence[Path | bytes]) -> Iterator[_T]:
    """Decodes in order, a chunk at a time so that memory stays flat."""
    with ThreadPoolExecutor(threads(), "aigc-decode") as pool:
        for start in range(0, len(files), CHUNK):
            yield from pool.map(work, files[start : start + CHUNK])


def _decoded(
    recording: Recording, rate: int, reading: SoundReading, length: int | None, root: Path
) -> npt.NDArray[np.int16]:
    found = _tried(partial(decode, rate=rate, reading=reading, length=length))(recording.file)
    if isinstance(found, Exception):
        raise DataError(f"{root}: {recording.name}: {found}, since the run began")
    return found


def _commonest(heads: Iterable[Head]) -> int:
    """The sample rate of most sounds; the lowest of those that are as common."""
    counts = Counter(h.rate for h in heads)
    return min(counts, key=lambda rate: (-counts[rate], rate), default=0)


def _both(one: Said, other: Said) -> Said:
    """What is known of a sound from two sides; the first goes before."""
    return Said(one.text or other.text, one.speaker or other.speaker, one.label or other.label)


def _known(said: Sequence[Said], reading: SoundReading, root: Path, classes: Sequence[str]) -> Known:
    """Labels, speakers and texts, where they are known of every sound."""
    labels, classes = _numbered([s.label for s in said], classes)
    speakers, names = _numbered([s.speaker for s in said])
    texts = [s.text for s in said]
    if reading.transcripts == "label":
        if labels is None:
            raise DataError(
                f"{root}: -d transcripts=label takes the names of classes for what is said, and there are no classes; put "
                "each into a folder of its own, or say where their names stand: -d names={label}_{}"
            )
        texts = [plain_text(classes[i]) for i in labels]
    whole = tuple(text for text in texts if text)
    return Known(labels, classes, speakers, names, whole if len(whole) == len(texts) else None)


def _numbered(
    names: Sequence[str | None], order: Sequence[str] = ()
) -> tuple[Labels | None, tuple[str, ...]]:
    """A number each, and the names of the numbers, sorted if in no order; nothing if one has no name."""
    there = [name for name in names if name]
    if len(there) < len(names):
        return None, ()
    known = tuple(order or sorted(set(there)))
    number: Mapping[str, int] = {name: i for i, name in enumerate(known)}
    return np.array([number[name] for name in there], np.int64), known
