"""Pictures of mel spectrograms and of attention, which lie beside sounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from torch import Tensor

from aigc_audio.mel import SILENCE

Picture: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
"""[H, W, 3]"""

MAGMA: Final = (
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122),
    (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191),
)  # fmt: skip
"""Colours of evenly rising lightness, from nothing to all (van der Walt and Smith 2015); others lie between."""

LOUD: Final = 2.0
"""What a mel spectrogram says of a loud voice: the lightest colour."""

SMALLEST: Final = 160
"""Pixels of a picture's shorter side, at least."""
GAP: Final = 6
"""Pixels between pictures that are stacked."""


def mel_picture(mel: Tensor) -> Picture:
    """[bands, frames], as `Mel` makes it, to a picture: low frequencies at the bottom, silence dark.

    All pictures have one scale of colours, so that they can be compared.
    """
    values = np.nan_to_num(_array(mel), nan=SILENCE)
    cells = colours((values[::-1] - SILENCE) / (LOUD - SILENCE))
    return _enlarge(cells, _cell(cells.shape[0]), _cell(cells.shape[1]))


def attention_picture(weights: Tensor, width: int | None = None) -> Picture:
    """[steps, characters] in 0 .. 1 to a picture: steps go to the right, characters up.

    width: pixels, for a picture that is to lie below another of the same time; None for what is readable.
    """
    cells = colours(np.nan_to_num(_array(weights)).T[::-1])
    if width is not None:
        columns = np.arange(width) * cells.shape[1] // max(width, 1)
        return _enlarge(cells[:, columns], _cell(cells.shape[0]), 1)
    return _enlarge(cells, _cell(cells.shape[0]), _cell(cells.shape[1]))


def stack(pictures: Sequence[Picture]) -> Picture:
    """One above the other, aligned at the left, white between."""
    width = max(picture.shape[1] for picture in pictures)
    rows: list[Picture] = []
    for picture in pictures:
        if rows:
            rows.append(np.full((GAP, width, 3), 255, np.uint8))
        missing = width - picture.shape[1]
        rows.append(np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255))
    return np.concatenate(rows)


def colours(values: np.ndarray[Any, Any]) -> Picture:
    """[H, W] in 0 .. 1, what is beyond being clipped, to [H, W, 3]."""
    places, stops = np.linspace(0, 1, len(MAGMA)), np.array(MAGMA, np.float64)
    channels = [np.interp(values, places, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _array(values: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    array: np.ndarray[Any, np.dtype[np.float32]] = values.detach().float().cpu().numpy()
    return array


def _cell(count: int) -> int:
    """Pixels a value where there are so many: a picture is neither a stamp nor a poster."""
    return max(-(-SMALLEST // max(count, 1)), 4 if count <= 160 else 2 if count <= 800 else 1)


def _enlarge(picture: Picture, height: int, width: int) -> Picture:
    return np.ascontiguousarray(picture.repeat(height, axis=0).repeat(width, axis=1))
