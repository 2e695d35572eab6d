"""Pictures: uint8 [C, H, W] in data, uint8 [H, W, C] as samples, sheets in files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from aigc_core.modality.base import MANY, RECORD_KEY, Encoded, Modality
from aigc_core.provenance.content import PICTURE, Content
from aigc_core.provenance.content import picture as picture_content
from aigc_core.provenance.marks import XMP_KEYWORD, xmp

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output

SHEET_PIXELS: Final = 640
"""Small pictures are enlarged, by whole factors, until a sheet is about this wide."""

SHEET_LIMIT: Final = 80_000_000
"""Pixels of a sheet; Pillow warns of larger pictures when it opens them, and then refuses."""


class Image(Modality):
    """Pictures of any number of channels; values 0 .. 255 stand for the range of a generator's output."""

    name = "image"
    items = "pictures"
    dtype = np.uint8
    axes = ("channels", "height", "width")
    resize = "resize a folder by --size HxW"
    endings: ClassVar[Mapping[str, str]] = {".png": "one sheet", **MANY}

    def batch(self, items: Tensor, output: Output) -> Tensor:
        """uint8 [N, C, H, W] to float32 in the output's range."""
        return items.float().mul_((output.high - output.low) / 255.0).add_(output.low)

    def samples(self, values: Tensor, output: Output) -> npt.NDArray[np.uint8]:
        return to_pixels(values, output)

    def arrays(self, samples: npt.NDArray[Any], output: Output) -> dict[str, npt.NDArray[Any]]:
        return {"images": samples}

    def most(self, output: Output) -> int:
        channels, height, width = output.shape
        across = width if channels in (1, 3, 4) else width * channels
        return max(1, SHEET_LIMIT // ((height + 1) * (across + 1)))

    def encode(
        self,
        samples: npt.NDArray[Any],
        output: Output,
        record: Mapping[str, Any],
        pictures: Sequence[npt.NDArray[np.uint8]] = (),
    ) -> Encoded:
        shown = sheet(samples)
        digest = picture_content(shown).digest
        return Encoded({"": png_bytes(shown, {**record, "content": digest})}, digest)

    def content(self, samples: npt.NDArray[Any], output: Output) -> Content:
        return picture_content(sheet(samples))

    def digests(self, samples: npt.NDArray[Any], output: Output) -> list[str]:
        pixels = rgba(side_by_side(samples))
        size = pixels.shape[2], pixels.shape[1]
        return [Content(PICTURE, size, row.data).digest for row in pixels]

    def record_text(self, path: Path) -> str:
        from PIL import Image

        with Image.open(path) as image:
            return str(image.info.get(RECORD_KEY, ""))


def to_pixels(values: Tensor, output: Output) -> npt.NDArray[np.uint8]:
    """[N, C, H, W] in the output's range to uint8 [N, H, W, C], rounded and clipped."""
    scaled = (values.float() - output.low) * (255.0 / (output.high - output.low))
    return scaled.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def sheet(pictures: npt.NDArray[np.uint8], columns: int | None = None, scale: int | None = None) -> Any:
    """A Pillow image of pictures [N, H, W, C] in rows; a single picture stays as it is.

    Two channels, or more than four, are shown side by side in grey.
    """
    from PIL import Image

    count, height, width, channels = pictures.shape
    pictures = side_by_side(pictures)
    width, channels = pictures.shape[2:]
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


def side_by_side(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pictures [N, H, W, C] that can be shown: as they are, or each channel in grey beside the one before."""
    count, height, width, channels = pictures.shape
    if channels in (1, 3, 4):
        return pictures
    return pictures.transpose(0, 1, 3, 2).reshape(count, height, width * channels, 1)


def rgba(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pictures [N, H, W, 1, 3 or 4] as [N, H, W, 4], as a viewer decodes them."""
    full = np.empty((*pictures.shape[:3], 4), np.uint8)
    full[..., 3] = 255
    full[..., : max(3, pictures.shape[3])] = pictures
    return full


def _columns(count: int, aspect: float) -> int:
    """About as many columns as make the sheet square, fewest empty places first."""
    square = max(1, round(math.sqrt(count * aspect)))
    nearby = range(max(1, square - 2), min(count, square + 2) + 1)
    return min(nearby, key=lambda columns: (-count % columns, abs(columns - square)))


def png_bytes(image: Any, record: Mapping[str, Any] | None) -> bytes:
    """A Pillow image as PNG, with a record in an iTXt chunk and, as XMP in another, that a model made it."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if record is not None:
        info.add_itxt(RECORD_KEY, json.dumps(record, ensure_ascii=False))
        info.add_itxt(XMP_KEYWORD, xmp(record))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
