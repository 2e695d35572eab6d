"""What tells one trained generator from another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from aigc_core.progress import Progress
from aigc_core.weights.reading import reading
from aigc_core.weights.version import Found

SECTIONS: Final = (
    "model",
    "license",
    "backend",
    "core",
    "config",
    "output",
    "data",
    "training",
    "parameters",
)
"""Of a record, in the order that they are told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two weights, a and b."""

    fields: Mapping[str, tuple[Any, Any]]
    """Of their records: `config.latent` -> (10, 20); None for what one of them lacks."""
    tensors: Mapping[str, float | str]
    """Of each tensor that differs: the distance |a - b| / |a| over all its values, or why there is none."""
    equal: int
    """Tensors that are the same, bit for bit."""

    def __bool__(self) -> bool:
        return bool(self.fields or self.tensors)


def difference(a: Found, b: Found, progress: Progress) -> Difference:
    """Compares records and tensors; both are checked as they are read.

    Raises NotFoundError, DamagedFileError.
    """
    with reading(a.path) as one, reading(b.path) as two:
        fields = _fields(one.header.record, two.header.record)
        infos = one.header.tensors, two.header.tensors
        equal, far = 0, dict[str, float | str]()
        with progress.bar(2, "reading", "file") as bar:
            x = one.tensors(a.digest)
            bar.update(1)
            y = two.tensors(b.digest)
            bar.update(1)
        for name in sorted({*infos[0], *infos[1]}):
            if name not in x or name not in y:
                far[name] = f"only in {'the second' if name in y else 'the first'}"
            elif infos[0][name].shape != infos[1][name].shape:
                far[name] = f"{_shape(infos[0][name].shape)} and {_shape(infos[1][name].shape)}"
            elif infos[0][name].dtype == infos[1][name].dtype and _same(x[name], y[name]):
                equal += 1
            else:
                far[name] = _distance(x[name], y[name])
    return Difference(fields, far, equal)


def _same(x: torch.Tensor, y: torch.Tensor) -> bool:
    return bool(torch.equal(x.reshape(-1).view(torch.uint8), y.reshape(-1).view(torch.uint8)))


def _distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """|x - y| / |x|; |y| where x is 0 everywhere."""
    one, two = x.double(), y.double()
    apart, length = float((one - two).norm()), float(one.norm())
    distance = apart / length if length else apart
    return distance if math.isfinite(distance) else math.inf


def _fields(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    first, second = _flat(a), _flat(b)
    order = sorted({*first, *second}, key=lambda key: (SECTIONS.index(key.partition(".")[0]), key))
    return {key: (first.get(key), second.get(key)) for key in order if first.get(key) != second.get(key)}


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """`{"config": {"latent": 10}}` as `{"config.latent": 10}`."""
    found: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                walk(inner, f"{name}.{key}")
        else:
            found[name] = value

    for section in SECTIONS:
        if section in record:
            walk(record[section], section)
    return found


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
