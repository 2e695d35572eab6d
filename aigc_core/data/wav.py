"""WAV files of PCM or floats, block by block: no more is read than is there, and no more kept than a block."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

PCM: Final = 1
FLOAT: Final = 3
EXTENSIBLE: Final = 0xFFFE
"""Tags of a WAVE format; of the last, the first two bytes of a GUID say what the coding is."""
VALUES: Final = 1 << 20
"""Of a block, about."""


class Form(NamedTuple):
    """What the header says."""

    rate: int
    """Samples a second."""
    channels: int
    width: int
    """Bytes of a sample of one channel."""
    floats: bool
    start: int
    """Where the sound begins in the file."""
    frames: int
    """Samples of each channel."""


def wav_form(file: BinaryIO, size: int) -> Form | None:
    """The form of a RIFF file of `size` bytes; None for one whose coding is neither PCM nor floats.

    Raises ValueError, with a reason, for a header that can't be read or promises more than the file holds.
    """
    file.seek(12)
    coding: tuple[int, int, int, int] | None = None
    while len(head := file.read(8)) == 8:
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"fmt ":
            coding = _coding(file.read(min(length, 1 << 10)))
            file.seek(max(0, length - (1 << 10)) + length % 2, 1)
        elif name == b"data" and coding is None:
            raise ValueError("damaged: its header does not say what the samples are")
        elif name == b"data" and coding is not None:
            tag, channels, rate, width = coding
            if file.tell() + length > size:
                raise ValueError(f"truncated: {length} bytes of sound in a file of {size}")
            if not (tag == PCM and 1 <= width <= 4) and not (tag == FLOAT and width in (4, 8)):
                return None
            return Form(rate, channels, width, tag == FLOAT, file.tell(), length // (width * channels))
        else:
            file.seek(length + length % 2, 1)
    raise ValueError("truncated: it ends before the sound begins")


def _coding(body: bytes) -> tuple[int, int, int, int]:
    """Tag, channels, rate and bytes of a sample, as a `fmt ` chunk says them."""
    if len(body) < 16:
        raise ValueError("truncated: it ends before the sound begins")
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    if not channels:
        raise ValueError("damaged: its header says that it has no channels")
    width = (bits + 7) // 8
    if tag in (PCM, FLOAT) and align != width * channels:
        raise ValueError(
            f"damaged: its header says {channels} channels of {bits} bits, and {align} bytes a frame"
        )
    return tag, channels, rate, width


def wav_blocks(file: BinaryIO, form: Form, frames: int) -> Iterator[npt.NDArray[Any]]:
    """The first `frames` frames, in blocks [n, channels]: of PCM int32 (full scale whatever the width), else float64."""
    file.seek(form.start)
    step = max(1, VALUES // form.channels)
    for begin in range(0, frames, step):
        raw = file.read(min(step, frames - begin) * form.channels * form.width)
        values = (
            np.frombuffer(raw, f"<f{form.width}").astype(np.float64)
            if form.floats
            else _integers(raw, form.width)
        )
        yield values.reshape(-1, form.channels)


def _integers(raw: bytes, width: int) -> npt.NDArray[np.int32]:
    """PCM of any width as 32 bits."""
    if width == 2:
        return np.frombuffer(raw, "<i2").astype(np.int32) << 16
    data = np.frombuffer(raw, np.uint8).reshape(-1, width)
    wide = np.zeros((len(data), 4), np.uint8)
    wide[:, 4 - width :] = data ^ np.uint8(0x80) if width == 1 else data  # 8 bits alone are unsigned
    return wide.view("<i4")[:, 0].astype(np.int32)
