"""The record that a file of samples carries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import AigcError, DamagedFileError, NotFoundError, UsageError
from aigc_core.modality import HOMES, modality
from aigc_core.provenance.content import PICTURE, SOUND, kind_of

_FIELDS: Final[Mapping[str, type]] = {
    "weights": dict, "backend": dict, "code": dict, "options": dict, "images": list, "filters": list,
    "labels": list, "sounds": list, "masks": list, "parts": dict, "encoding": str,
    "start": int, "count": int, "seed": int, "block": int, "threads": int,
    "sampler": str, "device": str, "core": str,
}  # fmt: skip
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_MODALITIES: Final = {PICTURE: "image", SOUND: "audio"}


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file that aigc wrote samples to. Raises NotFoundError, DamagedFileError, or
    UsageError for a file without a record."""
    if not path.is_file():
        raise NotFoundError(f"no file {path}")
    try:
        text = _record_text(path)
        record = json.loads(text) if text else None
    except AigcError:
        raise
    except Exception as error:
        raise DamagedFileError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if isinstance(record, dict) and (wrong := _wrong(record)):
        raise DamagedFileError(f"{path}: its record is damaged: {wrong} is not what it must be")
    if not isinstance(record, dict):
        raise UsageError(f"{path}: carries no record of aigc; aigc trace looks for it by its content")
    return record


def is_ours(path: Path) -> bool:
    """Whether a file, of samples or beside one, is one that aigc wrote, as far as it can be read."""
    try:
        if path.suffix == ".json":  # beside a text, whose record it is
            found = json.loads(path.read_bytes())
            return isinstance(found, dict) and "content" in found and not _wrong(found)
        read_record(path)
    except (AigcError, ValueError, RecursionError):
        return False
    return True


def _wrong(record: dict[str, Any]) -> str:
    """The name of a field that can't have been written so; empty if there is none. Any may be missing: the sheets
    of a training have few."""
    for name, kind in _FIELDS.items():
        if name in record and type(record[name]) is not kind:
            return name
    content = record.get("content")
    return "" if content is None or _DIGEST.fullmatch(str(content)) else "content"


def _record_text(path: Path) -> str:
    if path.suffix == ".npz":
        import numpy as np

        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return str(archive["record"]) if "record" in archive.files else ""
    if path.suffix == ".tar":
        import tarfile

        with tarfile.open(path, "r:") as archive_:
            return archive_.pax_headers.get("comment", "")
    kinds = [kind for kind in map(modality, HOMES) if path.suffix in kind.endings]
    if not kinds:  # another program's name for it
        kinds = [modality(_MODALITIES[kind]) for kind in [kind_of(path)] if kind in _MODALITIES]
    return kinds[0].record_text(path) if kinds else ""
