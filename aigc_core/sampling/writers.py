"""Files of samples: the ending says which kind. Each carries the record of how it was made."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError
from aigc_core.files import storage_errors, write_atomically

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.specs import Output

    Parts = Iterator[npt.NDArray[Any]]

RECORD_KEY: Final = "aigc"
SHEET_PIXELS: Final = 640
"""Small pictures are enlarged, by whole factors, until a sheet is about this wide."""


def is_folder(out: str | Path) -> bool:
    """Whether `out` means a folder: it is one, ends in a slash, or has no ending."""
    return str(out).endswith(("/", os.sep)) or Path(out).is_dir() or not Path(out).suffix


def check_target(out: str | Path) -> None:
    """Raises UsageError, before anything is computed, if `out` is nothing that can be written."""
    path = Path(out)
    if is_folder(out):
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {out} is a file, not a folder")
        if path.is_dir() and any(path.iterdir()):
            raise UsageError(f"--out {out} is a folder with files in it; name a new one, or empty it")
    elif path.suffix not in (".png", ".npz"):
        raise UsageError(f"--out {out}: end it in .png (one sheet), .npz (one array) or / (a file a sample)")


def write(out: str | Path, parts: Parts, output: Output, record: Mapping[str, Any]) -> None:
    """Writes samples that come in parts, in their order; whole or not at all. Raises StorageError."""
    if output.modality != "image":
        raise UsageError(f"no writer for {output.modality} samples")
    writer: Callable[[Path, Parts, Mapping[str, Any]], None]
    if is_folder(out):
        writer = _write_folder
    else:
        writer = _write_npz if Path(out).suffix == ".npz" else _write_sheet
    writer(Path(out), parts, record)


def read_record(path: Path) -> dict[str, Any]:
    """The record inside a `.png` or `.npz` that aigc wrote. Raises NotFoundError, DamagedFileError, or
    UsageError for a file without a record."""
    if not path.is_file():
        raise NotFoundError(f"no file {path}")
    try:
        if path.suffix == ".npz":
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                text = str(archive["record"]) if "record" in archive.files else ""
        else:
            from PIL import Image

            with Image.open(path) as image:
                text = str(image.info.get(RECORD_KEY, ""))
        record = json.loads(text) if text else None
    except Exception as error:
        raise DamagedFileError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(record, dict):
        raise UsageError(f"{path}: carries no record of aigc")
    return record


def sheet(pictures: npt.NDArray[np.uint8], columns: int | None = None, scale: int | None = None) -> Any:
    """A Pillow image of pictures [N, H, W, C] in rows; a single picture stays as it is.

    Two channels, or more than four, are shown side by side in grey.
    """
    from PIL import Image

    count, height, width, channels = pictures.shape
    if channels not in (1, 3, 4):
        pictures = pictures.transpose(0, 1, 3, 2).reshape(count, height, width * channels, 1)
        width, channels = width * channels, 1
    if count == 1 and scale is None:
        return Image.fromarray(pictures[0].squeeze(-1) if channels == 1 else pictures[0])
    columns = columns or _columns(count, height / width)
    rows = math.ceil(count / columns)
    scale = scale or max(1, SHEET_PIXELS // (columns * (width + 1)))
    gap = max(1, scale // 2)
    cell_h, cell_w = height * scale + gap, width * scale + gap
    canvas = np.full((rows * cell_h + gap, columns * cell_w + gap, channels), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = gap + i // columns * cell_h, gap + i % columns * cell_w
        large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + height * scale, left : left + width * scale] = large
    return Image.fromarray(canvas.squeeze(-1) if channels == 1 else canvas)


def _columns(count: int, aspect: float) -> int:
    """About as many columns as make the sheet square, fewest empty places first."""
    square = max(1, round(math.sqrt(count * aspect)))
    nearby = range(max(1, square - 2), min(count, square + 2) + 1)
    return min(nearby, key=lambda columns: (-count % columns, abs(columns - square)))


def png_bytes(image: Any, record: Mapping[str, Any] | None) -> bytes:
    """A Pillow image as PNG, with a record in an iTXt chunk."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if record is not None:
        info.add_itxt(RECORD_KEY, json.dumps(record, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _write_sheet(out: Path, parts: Parts, record: Mapping[str, Any]) -> None:
    content = png_bytes(sheet(np.concatenate(list(parts))), record)
    with write_atomically(out) as file:
        file.write(content)


def _write_npz(out: Path, parts: Parts, record: Mapping[str, Any]) -> None:
    images = np.concatenate(list(parts))
    with write_atomically(out) as file:
        np.savez_compressed(file, images=images, record=np.array(json.dumps(record)))


def _write_folder(out: Path, parts: Parts, record: Mapping[str, Any]) -> None:
    """`000007.png` is sample 7. If it cannot be finished, what was written is taken away again."""
    index = record["start"]
    written: list[Path] = []
    existed = out.is_dir()
    try:
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        for part in parts:
            for picture in part:
                path = out / f"{index:06d}.png"
                content = png_bytes(sheet(picture[None]), {**record, "start": index, "count": 1})
                with storage_errors(path):
                    written.append(path)
                    path.write_bytes(content)
                index += 1
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
