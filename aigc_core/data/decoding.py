"""One sound file as samples: decoded, mixed down, resampled, trimmed, padded.

WAV files of PCM or floats need nothing beyond numpy; others need soundfile, and another sample rate needs soxr, both of
which are the extra `sound`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, NamedTuple

import numpy as np

from aigc_core.data.wav import VALUES, wav_blocks, wav_form

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.reading import SoundReading

LOWEST, HIGHEST = 1_000, 768_000
"""Sample rates that are read, in Hz."""
FRAME: Final = 0.01
"""Seconds over which it is measured how loud a sound is, to trim it."""
LOUDEST: Final = 100.0
"""Floats beyond this were never scaled to -1 .. 1; those between are clipped."""
INSTALL: Final = "install it: pip install 'aigc-core[sound]'"
WHOLE: Final = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32")
"""Codings of whole numbers, as soundfile names them; they are decoded exactly."""

Blocks = Callable[[int], Iterator["npt.NDArray[Any]"]]


class Head(NamedTuple):
    """What is known of a sound before it is decoded."""

    rate: int
    """Samples a second."""
    frames: int
    """How many there are."""


def head(file: Path | bytes) -> Head:
    """What the header of a file, or of its content, says. Raises ValueError, with a reason, if it is no sound."""
    with _opened(file) as reader, _Source(reader) as source:
        return source.head


def decode(
    file: Path | bytes, rate: int, reading: SoundReading, length: int | None = None
) -> npt.NDArray[np.int16]:
    """[T] int16, T >= 1: the sound of a file, or of its content, in one channel at a sample rate, as `reading` says; its
    first `length` samples at most. Full scale is -32768 .. 32767; PCM of 16 bits comes out exact.

    Raises ValueError, with a reason, for what is no sound: not audio, truncated, empty, silent, NaN, too short or long.
    """
    with _opened(file) as reader, _Source(reader) as source:
        there, frames = source.head
        if reading.trim is None and (reason := reading.outside(frames / there)):
            raise OutsideError(reason)  # before it is decoded
        whole = length is None or there != rate or reading.trim is not None
        sound = source.mono(frames if whole or length is None else min(frames, length))
    if there != rate:
        sound = resampled(_floats(sound), there, rate)
    if reading.trim is not None:
        sound = trimmed(sound, rate, reading.trim)
        if reason := reading.outside(len(sound) / rate):
            raise OutsideError(reason)
    found = _sixteen(sound)
    if not found.any():
        raise ValueError("is silent: all its samples are zero")
    if silence := round(reading.pad * rate):
        found = np.pad(found, silence)
    return found if length is None else found[:length]


class OutsideError(ValueError):
    """A sound that is left out because it was asked for, not because anything is wrong with it."""


class _Source:
    """A file of sound that is open: its header, and its samples."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises ValueError for what can't be read."""
        self._close: Callable[[], None] = lambda: None
        magic, size = file.read(12), file.seek(0, 2)
        if not size:
            raise ValueError("is empty")
        form = None
        if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
            form = wav_form(file, size)
        elif magic[:4] not in (b"RF64", b"fLaC", b"OggS"):
            raise ValueError("is no WAV, FLAC or OGG file")
        if form is not None:
            self.head = Head(form.rate, form.frames)
            self._blocks: Blocks = lambda frames: wav_blocks(file, form, frames)
        else:
            self._by_soundfile(file)
        if not LOWEST <= self.head.rate <= HIGHEST:
            self._close()
            raise ValueError(f"has a sample rate of {self.head.rate} Hz, not {LOWEST:,} .. {HIGHEST:,}")
        if not self.head.frames:
            self._close()
            raise ValueError("holds no sound: its length is zero")

    def _by_soundfile(self, file: BinaryIO) -> None:
        try:
            import soundfile
        except (ImportError, OSError):  # OSError: the package is there, the library that it binds is not
            raise ValueError(f"needs soundfile to be read; {INSTALL}") from None
        file.seek(0)
        # By its name: where libsndfile's callbacks into a file of Python's fail, a traceback is printed.
        sound = soundfile.SoundFile(file if isinstance(file, io.BytesIO) else file.name)
        kind: Literal["int32", "float64"] = "int32" if sound.subtype in WHOLE else "float64"

        def blocks(frames: int) -> Iterator[npt.NDArray[Any]]:
            got, step = 0, max(1, VALUES // sound.channels)
            while got < frames and len(block := sound.read(min(step, frames - got), kind, always_2d=True)):
                got += len(block)
                yield block
            if got < min(frames, 1 << 62):  # which stands for a length that the header does not say
                raise ValueError(f"truncated: {got} of {frames} samples can be read")

        self.head, self._blocks, self._close = Head(sound.samplerate, sound.frames), blocks, sound.close

    def mono(self, frames: int) -> npt.NDArray[Any]:
        """[T] the first `frames` samples, all channels mixed: int32, or float32 with full scale -1 .. 1."""
        parts = []
        for block in self._blocks(frames):
            if block.dtype == np.int32:
                mixed = (
                    block[:, 0]
                    if block.shape[1] == 1
                    else block.sum(axis=1, dtype=np.int64) // block.shape[1]
                )
                parts.append(mixed.astype(np.int32))
                continue
            if not np.isfinite(block).all():
                place = sum(map(len, parts)) + int(np.argmin(np.isfinite(block).all(axis=1)))
                raise ValueError(f"has samples that are no numbers (NaN or infinite), first number {place}")
            if (peak := float(np.abs(block).max())) > LOUDEST:
                raise ValueError(
                    f"has samples as large as {peak:.4g}, where full scale is 1; scale them down"
                )
            parts.append(block.mean(axis=1).astype(np.float32))
        if not parts:
            raise ValueError("holds no sound: its length is zero")
        return np.concatenate(parts)

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


class _Content(io.BytesIO):
    """Bytes as a file, in which a wrong place is no error."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _opened(file: Path | bytes) -> BinaryIO:
    return _Content(file) if isinstance(file, bytes) else open(file, "rb")


def resampled(sound: npt.NDArray[np.float32], there: int, rate: int) -> npt.NDArray[np.float32]:
    """A sound [T] at another rate. Raises ValueError, with a reason, where that can't be."""
    try:
        import soxr
    except (ImportError, OSError):
        raise ValueError(f"has {there} Hz, and to resample it to {rate} Hz needs soxr; {INSTALL}") from None
    found: npt.NDArray[np.float32] = soxr.resample(sound, there, rate, quality="VHQ")
    if not len(found):
        raise ValueError(f"is too short to be resampled: {len(sound)} samples at {there} Hz")
    return found


def trimmed(sound: npt.NDArray[Any], rate: int, decibels: float) -> npt.NDArray[Any]:
    """A sound [T] without what is at its ends and so many dB quieter than its loudest 10 ms."""
    size = max(1, round(FRAME * rate))
    count = -(-len(sound) // size)
    frames = np.zeros(count * size, np.float32)
    frames[: len(sound)] = _floats(sound)
    power = np.square(frames.reshape(count, size), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-decibels / 10))
    return sound[loud[0] * size : (loud[-1] + 1) * size]


def _floats(sound: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if sound.dtype == np.int32:
        return sound.astype(np.float32) / np.float32(1 << 31)
    return sound.astype(np.float32, copy=False)


def _sixteen(sound: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Rounded to 16 bits, and clipped."""
    wide = (
        (sound.astype(np.int64) + (1 << 15)) >> 16
        if sound.dtype == np.int32
        else np.round(sound.astype(np.float64) * 32768)
    )
    return np.clip(wide, -32768, 32767).astype(np.int16)
