"""Pictures, texts, sounds: what differs between them, in one class a modality.

Everything else treats an item as a tensor of some shape. Importing this module imports neither numpy nor
torch; `modality` imports the class that it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aigc_core.errors import UsageError

if TYPE_CHECKING:
    from aigc_core.modality.base import Modality

HOMES: Final = {"image": "image:Image", "text": "text:Text", "audio": "audio:Audio"}

SAMPLE_ENDINGS: Final = (".png", ".npz", ".tar", ".txt", ".wav")
"""The endings of all files that samples are written to; each of them carries a record."""


def default_ending(name: str) -> str:
    """The ending of the file that samples of a modality are written to, where none is given."""
    return next(iter(modality(name).endings))


def modality(name: str) -> Modality:
    """The modality of that name. Raises UsageError for one that can be neither trained on nor written."""
    import importlib

    if name not in HOMES:
        raise UsageError(f"no writer for {name} samples; there are writers for: {', '.join(HOMES)}")
    module, _, attribute = HOMES[name].partition(":")
    found: Modality = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)()
    return found
