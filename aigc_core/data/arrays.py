"""Pictures and sounds from `.npz` archives, pictures from IDX files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_core.data.clips import Held, Known, Sounds
from aigc_core.data.dataset import ArrayImages, Dataset
from aigc_core.data.idx import labels_beside, read_idx
from aigc_core.data.transcripts import plain_text
from aigc_core.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGE_KEYS = ("images", "x", "x_train", "data", "arr_0")
LABEL_KEYS = ("labels", "y", "y_train", "label", "arr_1")
SOUND_KEYS = ("sample_rate", "lengths", "speakers", "speaker_names", "texts", "class_names")


def from_idx(path: Path, name: str, split: str = "train", classes: tuple[str, ...] = ()) -> ArrayImages:
    """Pictures of an IDX file [N, H, W] and, where they lie beside it, its labels."""
    pixels = read_idx(path)
    if pixels.ndim != 3:
        raise DataError(f"{path}: holds {pixels.ndim} dimensions; pictures have 3: count, height, width")
    beside = labels_beside(path)
    labels = read_idx(beside).astype(np.int64) if beside else None
    return ArrayImages(pixels[:, None], labels, classes if labels is not None else (), name=name, split=split)


def from_npz(path: Path, name: str, split: str = "train", classes: tuple[str, ...] = ()) -> Dataset:
    """What an archive holds: pictures `images` uint8 [N, H, W, C], [N, C, H, W] or [N, H, W], or sounds
    `audio` int16 [N, T] or [N, C, T] and their `sample_rate`; and `labels` [N]. What else there may be of sounds:
    `class_names`, `lengths` [N], `speakers` [N] and `speaker_names`, `texts` [N].
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: a single array; save it with numpy.savez(images=...)")
            pixels = _first(archive, IMAGE_KEYS)
            labels = _first(archive, LABEL_KEYS)
            sounds = _first(archive, ("audio",))
            others = {} if pixels is not None else {k: archive[k] for k in SOUND_KEYS if k in archive.files}
            keys = list(archive.files)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and not path.is_file():
            raise
        if "pickle" in str(error).lower() and zipfile.is_zipfile(path):
            raise DataError(f"{path}: holds Python objects (pickle), which are never read") from None
        raise DamagedFileError(f"{path}: not a readable .npz archive: {error}") from None
    if pixels is None and sounds is None:
        raise DataError(f"{path}: no array 'images' or 'audio'; there are: {', '.join(keys) or 'none'}")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        raise DataError(f"{path}: labels must be integers [N], not {labels.dtype} {labels.shape}")
    labels = None if labels is None else labels.astype(np.int64)
    if pixels is None and sounds is not None:
        return _sounds(sounds, labels, others, path, name, split)
    assert pixels is not None
    return ArrayImages(_channels_first(pixels, path), labels, classes, name=name, split=split)


def _sounds(
    sounds: npt.NDArray[Any],
    labels: npt.NDArray[np.int64] | None,
    others: dict[str, npt.NDArray[Any]],
    path: Path,
    name: str,
    split: str,
) -> Sounds:
    rate = others.get("sample_rate")
    if rate is None or rate.shape != () or rate.dtype.kind not in "iu" or rate < 1:
        raise DataError(f"{path}: sounds need a 'sample_rate', one whole number of samples a second")
    form = f"{sounds.dtype} {sounds.shape}"
    if sounds.ndim == 2:
        sounds = sounds[:, None]
    if sounds.ndim != 3 or sounds.dtype != np.int16 or not sounds.size:
        raise DataError(f"{path}: sounds must be int16 [N, T] or [N, C, T], not {form}")
    count, length = len(sounds), sounds.shape[2]
    lengths = _numbers(others, "lengths", count, path)
    if lengths is not None and (lengths.min() < 1 or lengths.max() > length):
        raise DataError(
            f"{path}: lengths must lie in 1 .. {length}, the samples that are there of each sound"
        )
    rows = [sound[:, : length if lengths is None else lengths[i]] for i, sound in enumerate(sounds)]
    texts = _texts(others, "texts", path)
    texts = None if texts is None else [plain_text(text) for text in texts]
    if texts is not None and (len(texts) != count or not all(texts)):
        raise DataError(f"{path}: texts must be as many as the sounds, {count}, and none of them empty")
    known = Known(
        labels, _names(others, "class_names", labels, path),
        speakers := _numbers(others, "speakers", count, path), _names(others, "speaker_names", speakers, path),
        None if texts is None else tuple(texts),
    )  # fmt: skip
    return Sounds(Held.of(rows), int(rate), known, name=name, split=split, length=length)


def _numbers(
    arrays: dict[str, npt.NDArray[Any]], key: str, count: int, path: Path
) -> npt.NDArray[np.int64] | None:
    """[count] whole numbers, if they are there."""
    if (values := arrays.get(key)) is None:
        return None
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} must be integers [{count}], not {values.dtype} {values.shape}")
    return values.astype(np.int64)


def _names(
    arrays: dict[str, npt.NDArray[Any]], key: str, numbers: npt.NDArray[np.int64] | None, path: Path
) -> tuple[str, ...]:
    """What the numbers stand for; by default they are called as they are."""
    if numbers is None:
        return ()
    names = _texts(arrays, key, path)
    return tuple(str(i) for i in range(int(numbers.max()) + 1)) if names is None else tuple(names)


def _texts(arrays: dict[str, npt.NDArray[Any]], key: str, path: Path) -> list[str] | None:
    """[K] texts, if they are there."""
    if (values := arrays.get(key)) is None:
        return None
    if values.ndim != 1 or values.dtype.kind != "U":
        raise DataError(f"{path}: {key} must be texts [K], not {values.dtype} {values.shape}")
    found = [str(value) for value in values]
    if not all(text.isascii() or text.encode(errors="replace").decode() == text for text in found):
        raise DataError(f"{path}: {key} holds what is no Unicode text")
    return found


def _first(archive: Any, keys: tuple[str, ...]) -> npt.NDArray[Any] | None:
    for key in keys:
        if key in archive.files:
            array: npt.NDArray[Any] = archive[key]
            return array
    return None


def _channels_first(pixels: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: pictures must be uint8 in 0..255, not {pixels.dtype}; convert them first")
    if pixels.ndim == 3:
        return pixels[:, None]
    if pixels.ndim == 4 and pixels.shape[3] <= 4:
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    if pixels.ndim == 4 and pixels.shape[1] <= 4:
        return pixels
    raise DataError(f"{path}: pictures must be [N, H, W, C], [N, C, H, W] or [N, H, W], not {pixels.shape}")
