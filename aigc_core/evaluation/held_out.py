"""The data that weights are judged by, as their model takes it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aigc_core.data.clips import Sounds
from aigc_core.data.sources import open_data
from aigc_core.errors import AigcError, DataError

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size, Track
    from aigc_core.registry import Registry
    from aigc_core.weights.file import Weights

HELD_OUT: Final = ("validation", "test")
"""The splits to judge by, the first that there is."""


def open_held_out(
    weights: Weights,
    data: str | Path,
    split: str | None,
    reading: Mapping[str, Any],
    registry: Registry,
    track: Track | None,
    size: Size | None = None,
) -> Dataset:
    """The items of a split, in the form that the model of some weights takes: for a model of tokens, those of the
    weights' own tokenizer. `split` is by default the first of HELD_OUT that the data have. size: see `open_data`.

    Raises what `open_data` does, and DataError where there is no such split, or the items are not of the model's kind.
    """
    if split:
        found = open_split(data, split, reading, registry, track, size)
    else:
        found = _default(data, reading, registry, track, size)
    model, info = weights.model, weights.generator.data
    if found.info.modality != info.modality:
        raise DataError(f"{found.name!r} is {found.info.modality}, {model.spec.id} makes {info.modality}")
    if model.tokenizer is not None:
        from aigc_core.data.tokens import for_model

        return for_model(found, model.tokenizer, weights.generator.config, info.assets, track)
    if isinstance(found, Sounds):
        return found.like(info)
    if found.info.shape != info.shape:
        there, asked = ("x".join(map(str, shape)) for shape in (found.info.shape, info.shape))
        raise DataError(
            f"{found.name!r} has items of {there}, these weights are of {asked}; give data of that size"
        )
    return found


def _default(
    data: str | Path,
    reading: Mapping[str, Any],
    registry: Registry,
    track: Track | None,
    size: Size | None,
) -> Dataset:
    known = registry.datasets.get(str(data))
    for split in HELD_OUT:
        if known is not None and split not in known.splits:
            continue
        try:
            return open_split(data, split, reading, registry, track, size)
        except DataError:  # no such split, or nothing that can be read at all
            if known is not None:
                raise
    if known is not None:
        raise _no_split(data, ", ".join(known.splits))
    open_split(data, "train", reading, registry, track, size)  # if that fails, it says better what is wrong
    raise _no_split(data, "train")


def open_held_out_parts(
    data: str | Path, registry: Registry, track: Track | None, size: Size | None
) -> list[Dataset]:
    """All splits of some data that are held out of training; [] where there is none."""
    known = registry.datasets.get(str(data))
    if known is not None:
        return [open_split(data, s, {}, registry, track, size) for s in HELD_OUT if s in known.splits]
    found = []
    for split in HELD_OUT:
        with contextlib.suppress(DataError):
            found.append(open_split(data, split, {}, registry, track, size))
    return found


def open_split(
    data: str | Path,
    split: str | None,
    reading: Mapping[str, Any],
    registry: Registry,
    track: Track | None,
    size: Size | None = None,
) -> Dataset:
    """One split; None for the one to train on. Raises what `open_data` does."""
    return open_data(data, registry, split=split, size=size, reading=reading, track=track)


def _no_split(data: str | Path, there: str) -> AigcError:
    return DataError(
        f"{data}: has no split to judge by ({' or '.join(HELD_OUT)}), only: {there}; name one by --split, but what the "
        "weights were fitted on flatters them"
    )
