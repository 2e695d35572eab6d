"""The names of things in a store: weights, versions, aliases, digests; and where each of them lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aigc_core.errors import DamagedFileError, UsageError
from aigc_core.modality import SAMPLE_ENDINGS

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)
ENDING: Final = ".safetensors"
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
WEIGHTS_FILE: Final = "weights.safetensors"
"""What the weights themselves are called in a manifest."""

_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.ASCII)
"""What no file can be called on Windows."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a store, here or on a remote; see docs/store.md. Joins them, touches nothing."""

    root: Path

    @property
    def versions(self) -> Path:
        return self.root / "versions"

    @property
    def aliases(self) -> Path:
        return self.root / "aliases"

    @property
    def tombstones(self) -> Path:
        return self.root / "tombstones"

    @property
    def partial(self) -> Path:
        """Files that are being written or fetched."""
        return self.root / "partial"

    @property
    def index(self) -> Path:
        return self.root / "index.sqlite"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def blob(self, digest: str) -> Path:
        return self.root / blob_path(digest)

    def manifest(self, digest: str) -> Path:
        return self.root / manifest_path(digest)

    def version(self, name: str, number: int) -> Path:
        return self.versions / f"{name}@{number}.json"

    def alias(self, name: str, alias: str) -> Path:
        return self.aliases / f"{name}@{alias}.json"

    def tombstone(self, name: str, number: int) -> Path:
        return self.tombstones / f"{name}@{number}.json"


def blob_path(digest: str) -> str:
    """Where a blob lies below a store's root."""
    value = hexadecimal(digest)
    return f"blobs/sha256/{value[:2]}/{value}"


def manifest_path(digest: str) -> str:
    """Where a manifest lies below a store's root."""
    value = hexadecimal(digest)
    return f"manifests/sha256/{value[:2]}/{value}.json"


def hexadecimal(digest: str) -> str:
    """The 64 digits of `sha256:...`. Raises DamagedFileError for what is no such digest."""
    if not DIGEST.fullmatch(digest):
        raise DamagedFileError(f"{digest[:80]!r} is no sha256 digest")
    return digest[7:]


def is_path(reference: str) -> bool:
    """Whether a reference means a file rather than a name in the store."""
    return reference.endswith(ENDING) or "/" in reference


def check_name(name: str) -> None:
    """Raises UsageError unless weights can have that name, on any system."""
    if not NAME.fullmatch(name) or name.endswith((".", ENDING, *SAMPLE_ENDINGS)) or _RESERVED.fullmatch(name):
        raise UsageError(
            f"weights can't be named {name[:120]!r}: use lower-case letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, and no file's ending"
        )


def check_alias(alias: str) -> None:
    """Raises UsageError unless a version can be called that."""
    if not NAME.fullmatch(alias) or alias.isdecimal():
        raise UsageError(
            f"no version can be tagged {alias[:120]!r}: use lower-case letters, digits, '.', '_' and '-', and not "
            "digits alone"
        )


def numbered(folder: Path) -> set[tuple[str, int]]:
    """The names `NAME@3.json` in a folder, in two parts."""
    return {(name, int(tag)) for name, tag in listed(folder) if NUMBER.fullmatch(tag)}


def listed(folder: Path) -> list[tuple[str, str]]:
    """The names `NAME@TAG.json` in a folder, in two parts."""
    found = []
    for entry in os.listdir(folder) if folder.is_dir() else ():
        name, at, tag = entry.removesuffix(".json").partition("@")
        if at and entry.endswith(".json") and NAME.fullmatch(name) and NAME.fullmatch(tag):
            found.append((name, tag))
    return found
