"""The pictures that samplers give with their samples, put together to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_core.modality.image import SHEET_LIMIT

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_PIXELS = SHEET_LIMIT // 2
"""Of one picture: more is no look at a sample."""


def problem(picture: Any) -> str:
    """What makes a value no picture; empty if nothing does."""
    if not isinstance(picture, np.ndarray):
        return f"{type(picture).__name__}, not a numpy array"
    grey, colour = picture.ndim == 2, picture.ndim == 3 and picture.shape[2] == 3
    if picture.dtype != np.uint8 or not (grey or colour) or not picture.size:
        shape = "x".join(map(str, picture.shape)) or "no axes"
        return f"{picture.dtype} of {shape}, not uint8 [H, W] or [H, W, 3]"
    if picture.shape[0] * picture.shape[1] > MOST_PIXELS:
        return (
            f"one of {picture.shape[0]}x{picture.shape[1]} pixels, and at most {MOST_PIXELS} can be looked at"
        )
    return ""


def stacked(pictures: Sequence[npt.NDArray[np.uint8]]) -> Any:
    """A Pillow image of pictures [H, W] or [H, W, 3], one below the other on white, as wide as the widest.

    In colour if any of them is. Of very many, it holds as many of the first as can be opened again.
    """
    from PIL import Image

    width, height, taken = 0, 0, list[Any]()
    for picture in pictures:
        width, height = max(width, picture.shape[1]), height + picture.shape[0]
        if taken and width * height > SHEET_LIMIT:
            break
        taken.append(picture)
    if len(taken) == 1:
        return Image.fromarray(np.ascontiguousarray(taken[0]))
    width = max(picture.shape[1] for picture in taken)
    colour = any(picture.ndim == 3 for picture in taken)
    rows = []
    for picture in taken:
        row = np.full((len(picture), width, 3) if colour else (len(picture), width), 255, np.uint8)
        row[:, : picture.shape[1]] = picture[:, :, None] if colour and picture.ndim == 2 else picture
        rows.append(row)
    return Image.fromarray(np.concatenate(rows))
