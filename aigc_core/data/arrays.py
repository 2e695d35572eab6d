"""Pictures and sounds from `.npz` archives, pictures from IDX files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_core.data.dataset import ArrayImages, ArrayItems
from aigc_core.data.idx import labels_beside, read_idx
from aigc_core.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGE_KEYS = ("images", "x", "x_train", "data", "arr_0")
LABEL_KEYS = ("labels", "y", "y_train", "label", "arr_1")


def from_idx(path: Path, name: str, split: str = "train", classes: tuple[str, ...] = ()) -> ArrayImages:
    """Pictures of an IDX file [N, H, W] and, where they lie beside it, its labels."""
    pixels = read_idx(path)
    if pixels.ndim != 3:
        raise DataError(f"{path}: holds {pixels.ndim} dimensions; pictures have 3: count, height, width")
    beside = labels_beside(path)
    labels = read_idx(beside).astype(np.int64) if beside else None
    return ArrayImages(pixels[:, None], labels, classes if labels is not None else (), name=name, split=split)


def from_npz(path: Path, name: str, split: str = "train", classes: tuple[str, ...] = ()) -> ArrayItems:
    """What an archive holds: pictures `images` uint8 [N, H, W, C], [N, C, H, W] or [N, H, W], or sounds
    `audio` int16 [N, T] or [N, C, T] and their `sample_rate`; and `labels` [N].
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: a single array; save it with numpy.savez(images=...)")
            pixels = _first(archive, IMAGE_KEYS)
            labels = _first(archive, LABEL_KEYS)
            sounds, rate = _first(archive, ("audio",)), _first(archive, ("sample_rate",))
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
    if pixels is None:
        return _sounds(sounds, rate, labels, classes, path, name, split)
    return ArrayImages(_channels_first(pixels, path), labels, classes, name=name, split=split)


def _sounds(
    sounds: npt.NDArray[Any] | None,
    rate: npt.NDArray[Any] | None,
    labels: npt.NDArray[np.int64] | None,
    classes: tuple[str, ...],
    path: Path,
    name: str,
    split: str,
) -> ArrayItems:
    if rate is None or rate.shape != () or rate.dtype.kind not in "iu" or rate < 1:
        raise DataError(f"{path}: sounds need a 'sample_rate', one whole number of samples a second")
    if sounds is not None and sounds.ndim == 2:
        sounds = sounds[:, None]
    if sounds is None or sounds.ndim != 3 or sounds.dtype != np.int16 or not sounds.size:
        form = "nothing" if sounds is None else f"{sounds.dtype} {sounds.shape}"
        raise DataError(f"{path}: sounds must be int16 [N, T] or [N, C, T], not {form}")
    details = {"sample_rate": int(rate)}
    return ArrayItems(sounds, labels, classes, kind="audio", name=name, split=split, details=details)


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
