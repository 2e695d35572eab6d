"""What belongs to one trained generator, and the small records that give it a name."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import DamagedFileError
from aigc_core.weights import outline, strict
from aigc_core.weights.header import canonical, opened
from aigc_core.weights.layout import DIGEST, WEIGHTS_FILE

FORMAT: Final = 1
MAX_RECORD: Final = 64 * 2**10
"""Bytes of a version record, alias or tombstone."""
MAX_MANIFEST: Final = 16 * 2**20
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a manifest."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What belongs together: weights, a sheet of samples, the metrics. Holds no time, name or path, so the same
    training twice gives the same manifest."""

    digest: str
    model: str
    tensors_digest: str
    files: Mapping[str, File]
    golden: Mapping[str, Any] | None
    """A request for samples, and the digest of what it drew when the weights were published."""
    record: Mapping[str, Any]
    """Of the weights file."""

    @property
    def weights(self) -> File:
        return self.files[WEIGHTS_FILE]


def encode(record: Mapping[str, Any], files: Mapping[str, File], golden: Mapping[str, Any] | None) -> bytes:
    """A manifest as canonical JSON."""
    value = {
        "format": FORMAT,
        "kind": "weights",
        "model": record["model"],
        "tensors_digest": record["tensors_digest"],
        "files": {name: {"digest": file.digest, "size": file.size} for name, file in files.items()},
        "golden": golden,
        "record": record,
    }
    return canonical(value).encode()


def parse(content: bytes, digest: str, where: object) -> Manifest:
    """The manifest of these bytes. Raises DamagedFileError unless they are those that `digest` names."""
    if digest_of(content) != digest:
        raise DamagedFileError(f"{where}: altered or damaged: its content is not what its name says")
    value = _object(content, where)
    try:
        files = {_file_name(name): _file(entry) for name, entry in value["files"].items()}
        if value["kind"] != "weights" or WEIGHTS_FILE not in files:
            raise ValueError("it holds no weights")
        record, golden = value["record"], value["golden"]
        if not isinstance(record, dict) or not isinstance(golden, dict | None):
            raise TypeError("its record is no object")
        outline.check(record, where)
        if any(value[key] != record[key] for key in ("model", "tensors_digest")):
            raise ValueError("it says otherwise of the weights than their record")
        return Manifest(
            digest, _text(value["model"]), _digest(value["tensors_digest"]), files, golden, record
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(f"{where}: not a manifest: {_reason(error)}") from None


def read(path: Path, digest: str) -> Manifest:
    """Raises NotFoundError, or DamagedFileError for what is not that manifest."""
    return parse(read_small(path, MAX_MANIFEST), digest, path)


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """`versions/NAME@N.json`"""

    name: str
    number: int
    manifest: str
    published: str
    """UTC, as in 2026-11-22T10:00:00+00:00; empty if it does not say."""

    def encode(self) -> bytes:
        return _encode(
            {"name": self.name, "number": self.number, "manifest": self.manifest, "published": self.published}
        )


def parse_version(content: bytes, name: str, number: int, where: object) -> VersionRecord:
    """The record of that version. Raises DamagedFileError if it is another one's, or none."""
    value = _object(content, where)
    try:
        if (value["name"], value["number"]) != (name, number):
            raise ValueError("it is of another version than its name says")
        return VersionRecord(name, number, _digest(value["manifest"]), _text(value.get("published", "")))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{where}: not the record of a version: {_reason(error)}") from None


def encode_alias(name: str, alias: str, number: int) -> bytes:
    return _encode({"name": name, "alias": alias, "number": number})


def parse_alias(content: bytes, name: str, alias: str, where: object) -> int:
    """The version that an alias stands for. Raises DamagedFileError."""
    value = _object(content, where)
    try:
        if (value["name"], value["alias"]) != (name, alias):
            raise ValueError("it is another one than its name says")
        return _number(value["number"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{where}: not an alias: {_reason(error)}") from None


def encode_tombstone(name: str, number: int, removed: str) -> bytes:
    return _encode({"name": name, "number": number, "removed": removed})


def parse_tombstone(content: bytes, name: str, number: int, where: object) -> str:
    """When a version was removed. Raises DamagedFileError."""
    value = _object(content, where)
    try:
        if (value["name"], value["number"]) != (name, number):
            raise ValueError("it is another one than its name says")
        return _text(value["removed"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{where}: not a tombstone: {_reason(error)}") from None


def read_small(path: Path, most: int = MAX_RECORD) -> bytes:
    """The bytes of a small file. Raises NotFoundError, StorageError where it can't be read, or DamagedFileError for
    one that is too large."""
    with opened(path) as file:
        content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > most:
        raise DamagedFileError(f"{path}: larger than {most} bytes, which no such file is")
    return content


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _encode(fields: Mapping[str, Any]) -> bytes:
    """For a person to read: a field a line."""
    return json.dumps({"format": FORMAT, **fields}, indent=2).encode() + b"\n"


def _object(content: bytes, where: object) -> dict[str, Any]:
    try:
        value = strict.parse(content)
    except ValueError as error:
        raise DamagedFileError(f"{where}: damaged: {_reason(error)}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        raise DamagedFileError(
            f"{where}: in format {found!r:.40}, this aigc reads format {FORMAT}; upgrade aigc-core if it is newer"
        )
    return value


def _file_name(name: str) -> str:
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no plain file name")
    return name


def _file(entry: Mapping[str, Any]) -> File:
    size = entry["size"]
    if type(size) is not int or not 0 <= size < 2**60:
        raise ValueError("a file's size is no size")
    return File(_digest(entry["digest"]), size)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise ValueError("a digest is none")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 10**9:
        raise ValueError("a version's number is none")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise TypeError("a text is none")
    return value


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
