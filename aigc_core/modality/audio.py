"""Sounds: int16 [C, T] in data, float32 [C, T] in -1 .. 1 as samples, 16-bit PCM in files."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

import numpy as np

from aigc_core.errors import UsageError
from aigc_core.modality.base import MANY, RECORD_KEY, Encoded, Modality
from aigc_core.provenance.content import Content
from aigc_core.provenance.content import sound as sound_content
from aigc_core.provenance.marks import info_chunk

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output

SILENCE: Final = 0.1
"""Seconds between the clips of one file."""

SOUND_LIMIT: Final = 1 << 30
"""Bytes of PCM in one file, which is put together in memory. RIFF ends at four times as much."""


class Audio(Modality):
    """PCM of one sample rate, which the output's details name as `sample_rate`."""

    name = "audio"
    items = "sounds"
    dtype = np.int16
    axes = ("channels", "samples")
    resize = "crop or pad the clips by --size SAMPLES"
    endings: ClassVar[Mapping[str, str]] = {".wav": "clips with 0.1 s between", **MANY}

    def legend(self, details: Mapping[str, Any]) -> str:
        return f"{super().legend(details)} at {details['sample_rate']} Hz"

    def batch(self, items: Tensor, output: Output) -> Tensor:
        """int16 [N, C, T] to float32; full scale is the output's range."""
        middle, half = (output.low + output.high) / 2, (output.high - output.low) / 2
        return items.float().mul_(half / 32768).add_(middle)

    def problem(self, values: Tensor, output: Output) -> str:
        rate = output.details.get("sample_rate")
        if not isinstance(rate, int) or rate < 1:
            return f"sound, but its output's details give the sample rate as {rate!r}"
        return "" if bool(values.isfinite().all()) else "values that are not finite"

    def samples(self, values: Tensor, output: Output) -> npt.NDArray[np.float32]:
        """[N, C, T] in the output's range to float32 in -1 .. 1, clipped."""
        middle, half = (output.low + output.high) / 2, (output.high - output.low) / 2
        scaled: npt.NDArray[np.float32] = ((values.float() - middle) / half).clamp(-1, 1).cpu().numpy()
        return scaled

    def arrays(self, samples: npt.NDArray[Any], output: Output) -> dict[str, npt.NDArray[Any]]:
        return {"audio": samples, "sample_rate": np.array(output.details["sample_rate"])}

    def most(self, output: Output) -> int:
        channels, length = output.shape
        rate = output.details.get("sample_rate")
        gap = round(SILENCE * rate) if isinstance(rate, int) else 0
        return max(1, SOUND_LIMIT // ((length + gap) * channels * 2))

    def encode(self, samples: npt.NDArray[Any], output: Output, record: Mapping[str, Any]) -> Encoded:
        sound, rate = self._joined(samples, output)
        digest = sound_content(pcm(sound), rate, len(sound)).digest
        return Encoded({"": wav_bytes(sound, rate, {**record, "content": digest})}, digest)

    def content(self, samples: npt.NDArray[Any], output: Output) -> Content:
        sound, rate = self._joined(samples, output)
        return sound_content(pcm(sound), rate, len(sound))

    def _joined(self, samples: npt.NDArray[Any], output: Output) -> tuple[npt.NDArray[Any], int]:
        """The sound [C, T] of one file, and its rate."""
        rate = int(output.details["sample_rate"])
        count, channels, _ = samples.shape
        gap = np.zeros((count, channels, round(SILENCE * rate)), samples.dtype)
        joined = np.concatenate([samples, gap], axis=2)
        sound = joined.transpose(1, 0, 2).reshape(channels, -1)
        return sound[:, : sound.shape[1] - gap.shape[2]], rate

    def record_text(self, path: Path) -> str:
        with open(path, "rb") as file:
            return wav_record(file)


def wav_bytes(sound: npt.NDArray[np.floating[Any]], rate: int, record: Mapping[str, Any] | None) -> bytes:
    """A sound [C, T] in -1 .. 1 as 16-bit PCM, clipped, with the record in a chunk that players skip, and that a
    model made it in one that they show.

    Raises UsageError if it is longer than a RIFF file can be.
    """
    channels = len(sound)
    chunks = _chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16))
    chunks += _chunk(b"data", pcm(sound))
    if record is not None:
        chunks += _chunk(b"LIST", info_chunk(record))
        chunks += _chunk(RECORD_KEY.encode(), json.dumps(record, ensure_ascii=False).encode())
    if 4 + len(chunks) >= 1 << 32:
        raise UsageError("so much sound does not fit into one .wav; write a folder, or fewer clips")
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def pcm(sound: npt.NDArray[np.floating[Any]]) -> bytes:
    """A sound [C, T] in -1 .. 1 as 16-bit PCM, clipped, channels interleaved."""
    return np.clip(np.round(sound.T * 32767.0), -32768, 32767).astype("<i2").tobytes()


def wav_record(file: BinaryIO) -> str:
    """The record of `wav_bytes`, or an empty text. Raises ValueError for what is no whole RIFF file."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("not a RIFF WAVE file")
    while start := file.read(8):
        if len(start) < 8:
            raise ValueError("truncated between two chunks")
        size = int.from_bytes(start[4:], "little")
        begin = file.tell()
        if begin + size > file.seek(0, 2):
            raise ValueError(f"truncated within its chunk {start[:4]!r}")
        file.seek(begin)
        if start[:4] == RECORD_KEY.encode():
            return file.read(size).decode()
        file.seek(begin + size + size % 2)
    return ""


def _chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk, padded to an even length, which its size does not count."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
