"""What every record of a weights file holds, so that whatever reads one need not doubt it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aigc_core.errors import DamagedFileError

OUTLINE: Final[Mapping[str, Any]] = {
    "model": str, "core": str, "license": str, "parameters": int, "tensors_digest": str, "config": dict, "shared": dict,
    "backend": {"name": str, "distribution": str, "version": str},
    "data": {"name": str, "split": str, "digest": str, "count": int},
    "output": {"modality": str, "shape": list},
    "training": {"steps": int, "seed": int, "options": dict, "metrics": dict, "parents": list},
}  # fmt: skip
"""Types by key; more keys are free to come."""
OPTIONAL: Final = {"training.metrics", "training.parents"}
"""What the weights before a failure lack."""


def check(record: Mapping[str, Any], where: object) -> None:
    """Raises DamagedFileError, which names `where`, unless a record has its outline."""
    if wrong := _wrong(record, OUTLINE, "") or _wrong_inside(record):
        raise DamagedFileError(f"{where}: its record is incomplete, or not one of aigc: {wrong}")


def _wrong(value: Any, outline: Mapping[str, Any], above: str) -> str:
    for key, wanted in outline.items():
        if key not in value:
            if f"{above}{key}" in OPTIONAL:
                continue
            return f"{above}{key} is missing"
        found = value[key]
        kind = wanted if isinstance(wanted, type) else dict
        if not isinstance(found, kind) or isinstance(found, bool):
            return f"{above}{key} is no {_WORDS[kind]}"
        if kind is not wanted and (inside := _wrong(found, wanted, f"{above}{key}.")):
            return inside
    return ""


def _wrong_inside(record: Mapping[str, Any]) -> str:
    """What is wrong with the items of what has the right type."""
    training = record["training"]
    if not all(isinstance(v, int | float) for v in training.get("metrics", {}).values()):
        return "a metric is no number"
    if not all(isinstance(parent, str) for parent in training.get("parents", [])):
        return "a parent is no text"
    if not all(type(n) is int for n in record["output"]["shape"]):
        return "output.shape holds no whole numbers"
    if not all(isinstance(name, str) for name in record["shared"].values()):
        return "shared holds no names"
    return ""


_WORDS: Final = {str: "text", int: "whole number", dict: "object", list: "list"}
