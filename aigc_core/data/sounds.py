"""Sounds: a folder of files, what is known of each, and which of them can't be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aigc_core.data import decoding
from aigc_core.data.clips import Known, Sounds
from aigc_core.data.decoding import Head, head
from aigc_core.data.reading import readings
from aigc_core.data.recordings import Reader, Recording, tried
from aigc_core.data.transcripts import (
    ENDINGS,
    WAVS,
    Said,
    by_names,
    find_metadata,
    plain_text,
    read_metadata,
)
from aigc_core.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.dataset import Labels
    from aigc_core.data.folder import Track
    from aigc_core.data.reading import SoundReading

__all__ = ["ENDINGS", "Clip", "decode", "open_recordings", "open_sounds"]


class Clip(NamedTuple):
    """One file, decoded; `problem` says why there is no sound."""

    path: Path
    rate: int = 0
    """Samples a second."""
    sound: npt.NDArray[np.int16] | None = None
    """[T], mixed down to one channel."""
    problem: str = ""


def decode(path: Path, length: int | None = None) -> Clip:
    """One sound file at its own sample rate, its first `length` samples at most."""
    found = tried(head)(path)
    if not isinstance(found, Head):
        return Clip(path, problem=str(found))
    work = partial(decoding.decode, rate=found.rate, reading=readings(None).sounds, length=length)
    sound = tried(work)(path)
    if not isinstance(sound, np.ndarray):
        return Clip(path, found.rate, problem=str(sound))
    return Clip(path, found.rate, sound)


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
    metadata = find_metadata(root, reading)
    recordings, problems = _said(paths, root, metadata, reading)
    if strict and problems:
        raise DataError(f"{root}: {problems[0]}; mend it, or leave out --strict to skip it")
    if not recordings:
        other = (
            f"; -d columns=... says what stands in {metadata.name}, -d metadata=none ignores it"
            if metadata
            else ""
        )
        raise DataError(f"{root}: none of {len(paths)} sounds can be used, first {problems[0]}{other}")
    found = open_recordings(
        recordings, root, name=name, split=split, length=length, strict=strict, reading=reading, track=track
    )
    found.skipped = problems + found.skipped
    return found


def _said(
    paths: Sequence[Path], root: Path, metadata: Path | None, reading: SoundReading
) -> tuple[list[Recording], list[str]]:
    """The sounds of which it is known what was asked for, and why others are left out."""
    problems: list[str] = []
    said: Mapping[Path, Said] = dict.fromkeys(paths, Said())
    missing, faulty = "", frozenset[Path]()
    if metadata is not None:
        found = read_metadata(metadata, root, paths, reading)
        said, problems = found.rows, found.problems
        faulty = frozenset(found.faulty)
        missing = f"no line of {metadata.name} is about it"
    named = by_names(reading.names, root, paths) if reading.names is not None else None
    recordings = []
    for path in paths:
        relative = path.relative_to(root)
        if path in faulty and path not in said:
            continue  # its line says why
        if path not in said or (named is not None and path not in named):
            problems.append(
                f"{relative}: {missing if path not in said else f'its name is not like {reading.names}'}"
            )
            continue
        known = said[path] if named is None else _both(said[path], named[path])
        folders = relative.parts[:-1]
        if metadata is not None and folders[:1] == (WAVS,):
            folders = folders[1:]
        label = known.label or (folders[0] if folders else None)
        recordings.append(Recording(relative.as_posix(), path, replace(known, label=label)))
    return recordings, problems


def open_recordings(
    recordings: Sequence[Recording],
    root: Path,
    *,
    name: str,
    split: str = "train",
    length: int | None = None,
    strict: bool = False,
    reading: SoundReading | None = None,
    track: Track | None = None,
    classes: Sequence[str] = (),
) -> Sounds:
    """The sounds of some recordings, as `open_sounds` gives those of files.

    root: what messages begin with. classes: the names of the labels in their order; by default those that occur, sorted.
    """
    reader = Reader(reading or readings(None).sounds, length, root, strict, track)
    scan = reader.scan(recordings)
    skipped = [f"{r.name}: {scan.problems[r.name]}" for r in recordings if r.name in scan.problems]
    if not scan.kept:
        raise DataError(f"{root}: none of {len(recordings)} sounds can be used, first {skipped[0]}")
    known = _known([r.said for r in scan.kept], reader.reading, root, classes)
    found = Sounds(scan.clips(), scan.rate, known, name=name, split=split, length=length, content=scan.digest)
    found.skipped, found.reading = skipped, reader.reading.said()

    def reread(reading: SoundReading) -> Sounds:
        return open_recordings(
            recordings, root, name=name, split=split, length=length, strict=strict, reading=reading, track=track,
            classes=classes,
        )  # fmt: skip

    found.reread = reread
    return found


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
