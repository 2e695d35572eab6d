"""A folder of pictures, with or without a folder a class.

Every picture is decoded once, to be certain of it and to take the digest. If all fit into memory they
stay there; otherwise they are decoded again, batch by batch, as they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from aigc_core.data.dataset import ArrayImages, Dataset, Digest
from aigc_core.errors import DataError, NotFoundError, UsageError
from aigc_core.specs import DataInfo

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.data.dataset import Labels, Pixels

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
GREY_MODES = ("1", "L", "I", "I;16", "F", "LA")
MEMORY_LIMIT = 1 << 30
"""Bytes of decoded items up to which a folder is kept in memory; AIGC_DATA_MEMORY overrides it."""

Size = tuple[int, int]
"""(height, width) in pixels"""
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Wraps an iterable of known length in a progress bar."""


class Picture(NamedTuple):
    """One decoded file; `problem` says why there are no pixels."""

    path: Path
    grey: bool
    pixels: Pixels | None
    """[1 or 3, H, W] uint8"""
    problem: str = ""


def open_folder(
    root: Path,
    *,
    name: str,
    split: str = "train",
    size: Size | None = None,
    strict: bool = False,
    track: Track | None = None,
) -> Dataset:
    """The pictures below a folder, in the order of their paths.

    If every picture lies in a sub-folder, the top sub-folders are the classes. Pictures of several sizes
    need `size`: each is cropped to its aspect about the centre and resized. Grey pictures give one channel;
    if any has colour, all give three. Unreadable ones are left out and named in `skipped`, or raise if
    `strict`. Raises NotFoundError or DataError.
    """
    if not root.is_dir():
        raise NotFoundError(f"no folder {root}")
    paths = files_below(root, ENDINGS)
    if not paths:
        raise DataError(
            f"{root}: no pictures ({' '.join(ENDINGS[:6])} ...), sounds (.wav .flac .ogg) or texts (.txt .jsonl) below it"
        )
    scan = _Scan(root, memory_limit())
    decoded = _decode_all(paths, size)
    for picture in track(decoded, len(paths), "reading pictures") if track else decoded:
        scan.take(picture, strict)
    scan.check(len(paths))
    labels, classes = classes_of(root, scan.paths)
    channels = 1 if scan.all_grey else 3
    shape = (channels, *scan.first_size())
    dataset: Dataset
    if scan.pixels is not None:
        pixels = np.stack([_with_channels(p, channels) for p in scan.pixels])
        dataset = ArrayImages(pixels, labels, classes, name=name, split=split)
    else:
        digest = scan.digest(channels).finish(labels, classes)
        info = DataInfo("image", shape, classes)
        dataset = FolderImages(scan.paths, size, labels, name, split, info, digest)
    dataset.skipped, dataset.files = scan.skipped, scan.paths
    return dataset


class FolderImages(Dataset):
    """Pictures that are decoded when they are asked for, by a few threads; flat in memory."""

    def __init__(
        self,
        paths: Sequence[Path],
        size: Size | None,
        labels: Labels | None,
        name: str,
        split: str,
        info: DataInfo,
        digest: str,
    ) -> None:
        super().__init__(name, split, info, digest)
        self._paths, self._size = list(paths), size
        self._labels = None if labels is None else torch.from_numpy(labels)
        self._pool = ThreadPoolExecutor(threads(), "aigc-decode")

    @property
    def in_memory(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._paths)

    def labels(self) -> Tensor | None:
        return self._labels

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        pictures = list(self._pool.map(self._pixels, index.tolist()))
        labels = None if self._labels is None else self._labels[index]
        return torch.from_numpy(np.stack(pictures)), labels

    def _pixels(self, index: int) -> Pixels:
        picture = decode(self._paths[index], self._size)
        if picture.pixels is None or picture.pixels.shape[1:] != self.info.shape[1:]:
            raise DataError(f"{picture.path}: {picture.problem or 'its size changed'}, since the run began")
        return _with_channels(picture.pixels, self.info.shape[0])


@dataclass
class _Scan:
    """What one pass over a folder finds out."""

    root: Path
    limit: int
    paths: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    sizes: dict[Size, Path] = field(default_factory=dict)
    pixels: list[Pixels] | None = field(default_factory=list)
    all_grey: bool = True
    _bytes: int = 0
    _digests: dict[int, Digest] = field(default_factory=dict)

    def take(self, picture: Picture, strict: bool) -> None:
        if picture.pixels is None:
            self.skipped.append(f"{picture.path.relative_to(self.root)}: {picture.problem}")
            if strict:
                raise DataError(f"{self.root}: unreadable picture {self.skipped[-1]}")
            return
        size = (picture.pixels.shape[1], picture.pixels.shape[2])
        self.sizes.setdefault(size, picture.path)
        self.paths.append(picture.path)
        self.all_grey &= picture.grey
        # Whether all are grey is known at the end only, so both digests are kept, and 3 channels counted.
        for channels in (1, 3) if self.all_grey else (3,):
            digest = self._digests.setdefault(channels, Digest((channels, *size)))
            digest.update(_with_channels(picture.pixels, channels))
        self._bytes += 3 * size[0] * size[1]
        if self._bytes > self.limit:
            self.pixels = None
        if self.pixels is not None:
            self.pixels.append(picture.pixels)

    def check(self, found: int) -> None:
        """Raises DataError if nothing could be read, or not all are of one size."""
        if not self.paths:
            raise DataError(f"{self.root}: none of {found} pictures can be read, first {self.skipped[0]}")
        if len(self.sizes) > 1:
            (a, first), (b, second) = list(self.sizes.items())[:2]
            raise DataError(
                f"{self.root}: pictures of {len(self.sizes)} sizes ({first.name} is {a[0]}x{a[1]}, "
                f"{second.name} is {b[0]}x{b[1]}); give one: --size {min(a[0], b[0])}x{min(a[1], b[1])}"
            )

    def first_size(self) -> Size:
        return next(iter(self.sizes))

    def digest(self, channels: int) -> Digest:
        return self._digests[channels]


def files_below(root: Path, endings: Sequence[str]) -> list[Path]:
    """The files below a folder that end so, in the order of their paths; nothing hidden."""

    def wanted(path: Path) -> bool:
        parts = path.relative_to(root).parts
        return path.suffix.lower() in endings and not any(p.startswith(".") for p in parts) and path.is_file()

    return sorted(filter(wanted, root.rglob("*")))


def decode(path: Path, size: Size | None, grey: bool | None = None) -> Picture:
    """Reads one file: turned as its EXIF says, cropped and resized to `size` (height, width) if given.

    Comes out grey or in colour as the file is, or as `grey` says.
    """
    try:
        with Image.open(path) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            is_grey = image.mode in GREY_MODES
            grey = is_grey if grey is None else grey
            if image.mode in ("I", "I;16", "F"):  # Pillow's convert would clip these instead of scaling them
                wide = np.asarray(image, dtype=np.float64)
                top = (1.0 if wide.max(initial=0) <= 1 else 255.0) if image.mode == "F" else 65535.0
                image = Image.fromarray((wide / top * 255).clip(0, 255).round().astype(np.uint8))
            image = image.convert("L" if grey else "RGB")
            if size is not None and (image.height, image.width) != size:
                image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
            pixels = np.asarray(image)
    except Exception as error:  # a damaged file can make Pillow's decoders raise nearly anything
        text = " ".join(str(error).split()) or type(error).__name__
        return Picture(path, True, None, text.replace(f"'{path}'", "file"))
    return Picture(path, is_grey, pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _decode_all(paths: Sequence[Path], size: Size | None) -> Iterator[Picture]:
    """Decodes in threads, in order, a chunk at a time so that memory stays flat."""
    chunk = 256
    with ThreadPoolExecutor(threads(), "aigc-decode") as pool:
        for start in range(0, len(paths), chunk):
            yield from pool.map(lambda path: decode(path, size), paths[start : start + chunk])


def memory_limit() -> int:
    """Bytes of decoded items that may be kept in memory. Raises UsageError for a limit that is no number."""
    text = os.environ.get("AIGC_DATA_MEMORY", str(MEMORY_LIMIT))
    if not text.isdecimal():
        raise UsageError(f"AIGC_DATA_MEMORY={text!r} must be a number of bytes")
    return int(text)


def threads() -> int:
    """How many files are decoded at a time."""
    return min(8, os.cpu_count() or 1)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    return pixels if len(pixels) == channels else np.repeat(pixels, channels, axis=0)


def classes_of(root: Path, paths: Sequence[Path]) -> tuple[Labels | None, tuple[str, ...]]:
    """Labels by top sub-folder; none if a file lies in the folder itself."""
    folders = [p.relative_to(root).parts for p in paths]
    if any(len(parts) == 1 for parts in folders):
        return None, ()
    classes = sorted({parts[0] for parts in folders})
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[parts[0]] for parts in folders], dtype=np.int64), tuple(classes)
