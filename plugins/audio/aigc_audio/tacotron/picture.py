"""A mel spectrogram and the attention that it came of, to look at."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_COLOURS: Final = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip
"""Of equal steps in lightness, legible to the colour-blind: viridis (Smith and van der Walt 2015)."""

WIDTH: Final = 640
"""Pixels, about; and twice the height of either part."""


def picture(mel: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """mel [F, bands] above weights [S, L], time from left to right: [H, W, 3]. Low frequencies and the first characters
    lie below."""
    low, high = float(mel.min()), float(mel.max())
    upper = _coloured((mel - low) / max(high - low, 1e-6))
    lower = _coloured(weights)
    width = max(WIDTH, len(mel))
    parts = [_sized(part, max(WIDTH // 4, part.shape[0]), width) for part in (upper, lower)]
    line = np.full((4, width, 3), 255, np.uint8)
    return np.concatenate([parts[0], line, parts[1]])


def _coloured(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """[columns, rows] 0 .. 1 to [rows, columns, 3], the first row below."""
    colours = np.array(_COLOURS, np.float32)
    at = values.T[::-1].clip(0, 1) * (len(colours) - 1)
    places = np.arange(len(colours))
    return np.stack([np.interp(at, places, colours[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def _sized(part: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Each value as a block of pixels."""
    rows = np.arange(height) * part.shape[0] // height
    columns = np.arange(width) * part.shape[1] // width
    sized: npt.NDArray[np.uint8] = part[rows[:, None], columns]
    return sized
