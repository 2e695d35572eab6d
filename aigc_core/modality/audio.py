"""Sounds: int16 [C, T] in data, float32 [C, T] in -1 .. 1 as samples, WAV in files.

Those of one length are as long as the generator's output says. Those of any length are padded with NaN, in memory
alone: no file holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from aigc_core.modality.base import MANY, Encoded, Modality
from aigc_core.modality.image import png_bytes
from aigc_core.modality.stack import stacked
from aigc_core.modality.wav import FLOAT32, PCM16, wav_bytes, wav_record
from aigc_core.provenance.content import Content, pcm
from aigc_core.provenance.content import picture as picture_content
from aigc_core.provenance.content import sound as sound_content

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output

SILENCE: Final = 0.1
"""Seconds between the clips of one file."""

SOUND_LIMIT: Final = 1 << 30
"""Bytes of PCM in one file, which is put together in memory. RIFF ends at four times as much."""

LONGEST: Final = 60
"""Seconds that a sound of any length is taken to have at most, where that decides how many go into one file."""

PICTURE: Final = ".png"
"""What the name of the picture beside a sound has more than the sound's."""


class Audio(Modality):
    """Sound of one sample rate, which the output's details name as `sample_rate`."""

    name = "audio"
    items = "sounds"
    dtype = np.int16
    axes = ("channels", "samples")
    resize = "crop or pad the clips by --size SAMPLES"
    endings: ClassVar[Mapping[str, str]] = {".wav": "clips with 0.1 s between", **MANY}
    beside = (PICTURE,)
    encodings = (PCM16, FLOAT32)

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
        if not _any_length(output):
            return "" if bool(values.isfinite().all()) else "values that are not finite"
        if bool(values.isinf().any()):
            return "values that are not finite"
        ended = values.isnan()
        if not bool((ended == ended[:, :1]).all()):
            return "sounds whose channels do not end together"
        ended = ended[:, 0]
        if bool((ended[:, :-1] & ~ended[:, 1:]).any()):
            return "NaN before the end of a sound; it may only follow it"
        if not ended.shape[1] or bool(ended[:, 0].any()):
            return "a sound of no length; give it at least one sample"
        return ""

    def samples(self, values: Tensor, output: Output) -> npt.NDArray[np.float32]:
        """[N, C, T] in the output's range to float32 in -1 .. 1: one whose peak is above 1 is divided by it. Of sounds
        of any length, T is that of the longest."""
        middle, half = (output.low + output.high) / 2, (output.high - output.low) / 2
        scaled: npt.NDArray[np.float32] = ((values.float() - middle) / half).cpu().numpy()
        if _any_length(output):
            scaled = scaled[:, :, : lengths(scaled, output).max(initial=0)]
        scaled /= np.nanmax(np.abs(scaled), axis=(1, 2), initial=1.0, keepdims=True)
        return scaled

    def arrays(self, samples: npt.NDArray[Any], output: Output) -> dict[str, npt.NDArray[Any]]:
        """Of sounds of any length, `lengths` says where each one's `audio` ends; zeros follow."""
        rate = np.array(output.details["sample_rate"])
        if not _any_length(output):
            return {"audio": samples, "sample_rate": rate}
        ends = lengths(samples, output)
        return {"audio": np.nan_to_num(samples), "lengths": ends, "sample_rate": rate}

    def join(self, parts: Sequence[npt.NDArray[Any]], output: Output) -> npt.NDArray[Any]:
        longest = max(part.shape[2] for part in parts)
        joined = np.full((sum(map(len, parts)), parts[0].shape[1], longest), np.nan, parts[0].dtype)
        first = 0
        for part in parts:
            joined[first : first + len(part), :, : part.shape[2]] = part
            first += len(part)
        return joined

    def most(self, output: Output) -> int:
        channels, length = output.shape
        rate = output.details.get("sample_rate")
        rate = rate if isinstance(rate, int) else 0
        length = LONGEST * rate if _any_length(output) else length
        return max(1, SOUND_LIMIT // max(1, (length + round(SILENCE * rate)) * channels * 2))

    def encode(
        self,
        samples: npt.NDArray[Any],
        output: Output,
        record: Mapping[str, Any],
        pictures: Sequence[npt.NDArray[np.uint8]] = (),
    ) -> Encoded:
        """The pictures of all its sounds are in one beside it, `x.wav.png`, one below the other."""
        sound, rate = self._joined(samples, output)
        digest = sound_content(pcm(sound), rate, len(sound)).digest
        files = {}
        if pictures:
            image = stacked(pictures)
            own = {**record, "content": picture_content(image).digest, "picture_of": digest}
            files[PICTURE] = png_bytes(image, own)
        encoding = str(record.get("encoding", PCM16))
        files[""] = wav_bytes(sound, rate, {**record, "content": digest}, encoding)
        return Encoded(files, digest)

    def content(self, samples: npt.NDArray[Any], output: Output) -> Content:
        sound, rate = self._joined(samples, output)
        return sound_content(pcm(sound), rate, len(sound))

    def _joined(self, samples: npt.NDArray[Any], output: Output) -> tuple[npt.NDArray[Any], int]:
        """The sound [C, T] of one file, and its rate."""
        rate = int(output.details["sample_rate"])
        gap = np.zeros((samples.shape[1], round(SILENCE * rate)), samples.dtype)
        parts = [gap]
        for clip, end in zip(samples, lengths(samples, output), strict=True):
            parts += [clip[:, :end], gap]
        return np.concatenate(parts[1:-1], axis=1), rate

    def record_text(self, path: Path) -> str:
        with open(path, "rb") as file:
            return wav_record(file)


def lengths(samples: npt.NDArray[Any], output: Output) -> npt.NDArray[np.int64]:
    """[N] of sounds [N, C, T]: where each one ends."""
    if not _any_length(output):
        return np.full(len(samples), samples.shape[2], np.int64)
    ends: npt.NDArray[np.int64] = np.count_nonzero(~np.isnan(samples[:, 0]), axis=1).astype(np.int64)
    return ends


def _any_length(output: Output) -> bool:
    return output.shape[-1] == -1
