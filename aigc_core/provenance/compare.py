"""How far two contents are from each other, in the content's own units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aigc_core.provenance.content import PICTURE, SOUND, TEXT, Content

if TYPE_CHECKING:
    import numpy.typing as npt

UNITS: Final = {PICTURE: "levels of 255", SOUND: "PCM steps of 65535", TEXT: "characters"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One file or sample that came out otherwise."""

    what: str
    """Its name, or `sample 7`."""
    text: str
    """How, for a reader."""
    largest: float | None = None
    """The largest difference of two values, in levels of 255 or PCM steps; None where they can't be compared."""

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


def compare(what: str, there: Content, here: Content) -> Difference | None:
    """None if they are the same."""
    if (there.kind, there.shape) != (here.kind, here.shape):
        return Difference(what, f"a {_shown(there)} there, a {_shown(here)} here")
    if there.data == here.data:
        return None
    if there.kind == TEXT:
        return compare_texts(what, bytes(there.data).decode(), bytes(here.data).decode())
    dtype = np.uint8 if there.kind == PICTURE else np.dtype("<i2")
    return compare_values(what, np.frombuffer(there.data, dtype), np.frombuffer(here.data, dtype), there.kind)


def compare_texts(what: str, there: str, here: str) -> Difference | None:
    """Names the first character that differs, counted from 1."""
    if there == here:
        return None
    first = next((i for i, (a, b) in enumerate(zip(there, here, strict=False)) if a != b), None)
    if first is None:
        first = min(len(there), len(here))
    a, b = (repr(text[first]) if first < len(text) else "its end" for text in (there, here))
    return Difference(what, f"character {first + 1} is {a} there, {b} here")


def compare_values(
    what: str, there: npt.NDArray[Any], here: npt.NDArray[Any], kind: str
) -> Difference | None:
    """Pixels, or PCM: as integers, or as floats in -1 .. 1."""
    if there.shape != here.shape:
        return Difference(what, f"{len(there)} values there, {len(here)} here")
    if np.array_equal(there, here):
        return None
    scale = 32767 if there.dtype.kind == "f" else 1
    apart = np.abs(there.astype(np.float64) - here.astype(np.float64)) * scale
    largest = float(apart.max())
    amount = f"{largest:.3g}" if scale != 1 else f"{largest:.0f}"
    text = f"largest difference {amount} {UNITS[kind]}, in {np.count_nonzero(apart)} of {apart.size} values"
    return Difference(what, text, largest)


def _shown(content: Content) -> str:
    if content.kind == PICTURE:
        return f"picture of {content.shape[0]}x{content.shape[1]}"
    return (
        f"sound of {content.shape[1]} channels at {content.shape[0]} Hz"
        if content.kind == SOUND
        else content.kind
    )
