"""What a file decodes to, and its digest: the same under another name, re-encoded, without its metadata.

Pictures are their pixels as 8-bit RGBA, sounds the 16-bit PCM that they are rounded to, texts their UTF-8, an `.npz`
its arrays. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from aigc_core.errors import AigcError, DamagedFileError, NotFoundError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PICTURE: Final = "picture"
SOUND: Final = "sound"
TEXT: Final = "text"
ARRAYS: Final = "arrays"
ARCHIVE: Final = "archive"

RECORD: Final = "record"
"""The array of an `.npz` that is no content."""


@dataclass(frozen=True, slots=True)
class Content:
    """One decoded picture, sound or text."""

    kind: str
    shape: tuple[int, ...]
    """(width, height) of a picture, (rate, channels) of a sound; of a text nothing."""
    data: bytes | memoryview
    """RGBA pixels, row by row; little-endian 16-bit PCM, channels interleaved; UTF-8."""

    @property
    def digest(self) -> str:
        """`sha256:...`; for one kind and shape a function of the data alone."""
        hash = start(self.kind, *self.shape)
        hash.update(self.data)
        return f"sha256:{hash.hexdigest()}"


def start(kind: str, *shape: int) -> hashlib._Hash:
    """What the data of a content is hashed into."""
    return hashlib.sha256(json.dumps([kind, *shape]).encode())


def picture(image: Any) -> Content:
    """Of a Pillow image."""
    return Content(PICTURE, image.size, image.convert("RGBA").tobytes())


def sound(pcm: bytes, rate: int, channels: int) -> Content:
    """Of 16-bit PCM."""
    return Content(SOUND, (rate, channels), pcm)


def pcm(sound: npt.NDArray[np.floating[Any]]) -> bytes:
    """A sound [C, T] in -1 .. 1 as 16-bit PCM, clipped, channels interleaved."""
    import numpy as np

    return np.clip(np.round(sound.T * 32767.0), -32768, 32767).astype("<i2").tobytes()


def riff_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a RIFF WAVE file: name, first byte, size. Raises ValueError for what is no whole one."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("not a RIFF WAVE file")
    end = file.seek(0, 2)
    place = 12
    while place < end:
        file.seek(place)
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("truncated between two chunks")
        name, size = start[:4], int.from_bytes(start[4:], "little")
        if place + 8 + size > end:
            raise ValueError(f"truncated within its chunk {name!r}")
        yield name, place + 8, size
        place += 8 + size + size % 2


def text(value: str) -> Content:
    return Content(TEXT, (), value.encode())


class Arrays:
    """The digest of an `.npz`, whose arrays come one after the other, each in parts."""

    def __init__(self) -> None:
        self._hash = start(ARRAYS)

    def array(
        self, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...], parts: Iterable[npt.NDArray[Any]]
    ) -> None:
        import numpy as np

        wanted = np.dtype(dtype).newbyteorder("<")
        self._hash.update(json.dumps([name, wanted.str, list(shape)]).encode())
        for part in parts:
            self._hash.update(np.ascontiguousarray(part, wanted).data.cast("B") if part.size else b"")

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def kind_of(path: Path) -> str:
    """Which kind a file is, by what is in it and not by its name. Raises NotFoundError, DamagedFileError."""
    if not path.is_file():
        raise NotFoundError(f"no file {path}")
    with open(path, "rb") as file:
        head = file.read(512)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return SOUND
    if head[:4] == b"PK\x03\x04":
        return ARRAYS
    if head[257:262] == b"ustar":
        return ARCHIVE
    from PIL import Image, UnidentifiedImageError

    try:
        with _quiet(), Image.open(path):
            return PICTURE
    except UnidentifiedImageError:
        return TEXT
    except Exception as error:
        raise unreadable(path, error) from None


def read(path: Path) -> Content:
    """Decodes a picture, a sound or a text. Raises NotFoundError, DamagedFileError for anything else."""
    return decode(path.read_bytes, kind_of(path), path)


def decode(content: Any, kind: str, path: Path) -> Content:
    """Decodes the bytes that `content` returns. `path` is for the error: DamagedFileError."""
    import io

    try:
        if kind == SOUND:
            return _sound(io.BytesIO(content()))
        if kind == PICTURE:
            from PIL import Image

            with _quiet(), Image.open(io.BytesIO(content())) as image:
                return picture(image)
        if kind == TEXT:
            return text(content().decode("utf-8"))
    except Exception as error:
        raise unreadable(path, error) from None
    raise DamagedFileError(f"{path}: neither a picture, a sound nor a text")


def digest_of(path: Path) -> str | None:
    """The content digest of a file; None for an archive, whose members have their own.

    Raises NotFoundError, DamagedFileError.
    """
    kind = kind_of(path)
    if kind == ARCHIVE:
        return None
    return _arrays_digest(path) if kind == ARRAYS else read(path).digest


def unreadable(path: Path, error: Exception) -> AigcError:
    if isinstance(error, AigcError):
        return error
    return DamagedFileError(f"{path}: cannot be read: {' '.join(str(error).split()) or type(error).__name__}")


def _arrays_digest(path: Path) -> str:
    import numpy as np

    digest = Arrays()
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                if name != RECORD:
                    array = archive[name]
                    digest.array(name, array.dtype, array.shape, [array])
    except Exception as error:
        raise unreadable(path, error) from None
    return digest.digest


def _sound(file: BinaryIO) -> Content:
    """PCM of any width, or floats, rounded to 16 bits. Raises ValueError for what is neither, or can't be meant."""
    import numpy as np

    from aigc_core.data.wav import wav_blocks, wav_form

    form = wav_form(file, file.seek(0, 2))
    if form is None:
        raise ValueError("its sound is neither PCM nor floats")
    blocks = list(wav_blocks(file, form, form.frames))
    values = np.concatenate(blocks) if blocks else np.zeros((0, form.channels), np.int32)
    if not form.floats:
        rounded = np.clip((values.astype(np.int64) + (1 << 15)) >> 16, -32768, 32767)
        return sound(rounded.astype("<i2").tobytes(), form.rate, form.channels)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return sound(pcm(values.T.astype(np.float32)), form.rate, form.channels)


def _quiet() -> warnings.catch_warnings[None]:
    """Within the block Pillow says nothing of large pictures: what is too large it refuses."""
    return warnings.catch_warnings(action="ignore")
