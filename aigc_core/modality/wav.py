"""WAV files that carry a record: 16-bit PCM, or 32-bit floats."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from aigc_core.errors import UsageError
from aigc_core.modality.base import RECORD_KEY
from aigc_core.provenance.content import pcm, riff_chunks
from aigc_core.provenance.marks import info_chunk

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PCM16: Final = "pcm16"
FLOAT32: Final = "float32"

PCM_TAG, FLOAT_TAG = 1, 3
"""WAVE_FORMAT_PCM and WAVE_FORMAT_IEEE_FLOAT (Microsoft, Multiple Channel Audio Data and WAVE Files, 2007)."""


def wav_bytes(
    sound: npt.NDArray[np.floating[Any]], rate: int, record: Mapping[str, Any] | None, encoding: str = PCM16
) -> bytes:
    """A sound [C, T] in -1 .. 1 as 16-bit PCM, clipped, or as the floats that it is; with the record in a chunk that
    players skip, and that a model made it in one that they show.

    Raises UsageError if it is longer than a RIFF file can be.
    """
    channels, count = sound.shape
    if encoding == FLOAT32:
        tag, width, data = FLOAT_TAG, 4, sound.T.astype("<f4").tobytes()
    else:
        tag, width, data = PCM_TAG, 2, pcm(sound)
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * width, channels * width, 8 * width)
    if tag == FLOAT_TAG:  # all but PCM say how long their extension is, and how many samples they hold
        chunks = _chunk(b"fmt ", form + struct.pack("<H", 0)) + _chunk(b"fact", struct.pack("<I", count))
    else:
        chunks = _chunk(b"fmt ", form)
    chunks += _chunk(b"data", data)
    if record is not None:
        chunks += _chunk(b"LIST", info_chunk(record))
        chunks += _chunk(RECORD_KEY.encode(), json.dumps(record, ensure_ascii=False).encode())
    if 4 + len(chunks) >= 1 << 32:
        raise UsageError("so much sound does not fit into one .wav; write a folder, or fewer clips")
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def wav_record(file: BinaryIO) -> str:
    """The record of `wav_bytes`, or an empty text. Raises ValueError for what is no whole RIFF file."""
    for name, begin, size in riff_chunks(file):
        if name == RECORD_KEY.encode():
            file.seek(begin)
            return file.read(size).decode()
    return ""


def _chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk, padded to an even length, which its size does not count."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
