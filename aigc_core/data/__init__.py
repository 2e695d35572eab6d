"""Data sets: by name, by path; held in memory or streamed; each with a digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aigc_core.data.batches import Batches
    from aigc_core.data.dataset import ArrayImages, ArrayItems, Dataset
    from aigc_core.data.sources import open_data

__all__ = ["ArrayImages", "ArrayItems", "Batches", "Dataset", "open_data"]


def __getattr__(name: str) -> object:  # PEP 562: listing data sets must import no torch
    import importlib

    homes = {
        "ArrayImages": "dataset",
        "ArrayItems": "dataset",
        "Batches": "batches",
        "Dataset": "dataset",
        "open_data": "sources",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{homes[name]}"), name)
