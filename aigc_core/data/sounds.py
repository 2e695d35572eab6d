"""Sounds: a folder of `.wav` files, with or without a folder a class."""

from __future__ import annotations

import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aigc_core.data.dataset import ArrayItems
from aigc_core.data.folder import classes_of, memory_limit
from aigc_core.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.folder import Track

ENDINGS = (".wav",)


class Clip(NamedTuple):
    """One file, decoded; `problem` says why there is no sound."""

    path: Path
    rate: int = 0
    """Samples a second."""
    sound: npt.NDArray[np.int16] | None = None
    """[T], mixed down to one channel, its first second at most where no length was asked for."""
    problem: str = ""


def open_sounds(
    paths: Sequence[Path],
    root: Path,
    *,
    name: str,
    split: str = "train",
    length: int | None = None,
    strict: bool = False,
    track: Track | None = None,
) -> ArrayItems:
    """The clips of some files below `root`: int16 [1, T] each, cropped or padded with silence to one length.

    T is `length` or that of the longest clip, a second at most. If every clip lies in a sub-folder, the top
    sub-folders are the classes. Unreadable ones are left out and named in `skipped`, or raise if `strict`.
    Raises DataError where the clips have several sample rates or do not fit into memory.
    """
    clips: dict[Path, npt.NDArray[np.int16]] = {}
    rates: dict[int, Path] = {}
    skipped: list[str] = []
    decoded: Iterable[Clip] = (decode(path, length) for path in paths)
    for clip in track(decoded, len(paths), "reading sounds") if track else decoded:
        if clip.sound is None:
            skipped.append(f"{clip.path.relative_to(root)}: {clip.problem}")
            if strict:
                raise DataError(f"{root}: unreadable sound {skipped[-1]}")
            continue
        clips[clip.path] = clip.sound
        rates.setdefault(clip.rate, clip.path)
    if not clips:
        raise DataError(f"{root}: none of {len(paths)} sounds can be read, first {skipped[0]}")
    if len(rates) > 1:
        (a, first), (b, second) = list(rates.items())[:2]
        raise DataError(
            f"{root}: sounds of {len(rates)} sample rates ({first.relative_to(root)} has {a} Hz, "
            f"{second.relative_to(root)} has {b} Hz); convert them to one"
        )
    length = length or max(map(len, clips.values()))
    if 2 * len(clips) * length > memory_limit():
        raise DataError(
            f"{root}: {len(clips)} sounds take {2 * len(clips) * length} bytes of memory; allow that by "
            "AIGC_DATA_MEMORY, or take fewer or shorter ones"
        )
    items = np.zeros((len(clips), 1, length), np.int16)
    for item, sound in zip(items, clips.values(), strict=True):
        item[0, : len(sound)] = sound
    labels, classes = classes_of(root, list(clips))
    found = ArrayItems(
        items, labels, classes, kind="audio", name=name, split=split, details={"sample_rate": next(iter(rates))}
    )  # fmt: skip
    found.skipped = skipped
    return found


def decode(path: Path, length: int | None = None) -> Clip:
    """The first `length` samples (a second's, if None) of a `.wav` of 8, 16, 24 or 32-bit PCM."""
    try:
        with wave.open(str(path), "rb") as reader:
            rate, frames, width = reader.getframerate(), reader.getnframes(), reader.getsampwidth()
            size = frames * width * reader.getnchannels()
            if size > path.stat().st_size:  # before anything is reserved for what a header promises
                return Clip(
                    path, problem=f"truncated: {size} bytes of sound in a file of {path.stat().st_size}"
                )
            if width > 4:
                return Clip(path, problem=f"has samples of {8 * width} bits, not 8, 16, 24 or 32")
            raw = reader.readframes(min(frames, length or rate))
            if not raw or rate < 1:
                return Clip(path, problem="holds no sound")
            return Clip(path, rate, _mixed(raw, width, reader.getnchannels()))
    except Exception as error:  # a damaged header makes `wave` raise RuntimeError and struct.error too
        return Clip(path, problem=" ".join(str(error).split()) or "truncated")


def _mixed(raw: bytes, width: int, channels: int) -> npt.NDArray[np.int16]:
    """PCM frames of any width to one channel of 16 bits, rounded."""
    data = np.frombuffer(raw, np.uint8).reshape(-1, width)
    wide = np.zeros((len(data), 4), np.uint8)
    wide[:, 4 - width :] = data ^ np.uint8(0x80) if width == 1 else data  # 8 bits alone are unsigned
    frames = wide.view("<i4").astype(np.int64).reshape(-1, channels)
    mono = frames.sum(axis=1) // channels
    rounded: npt.NDArray[np.int16] = np.clip((mono + (1 << 15)) >> 16, -32768, 32767).astype(np.int16)
    return rounded
