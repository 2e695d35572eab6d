"""One version of a name, and what a reference means."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from aigc_core.errors import DamagedFileError, NotFoundError
from aigc_core.weights import manifest
from aigc_core.weights.manifest import Manifest, VersionRecord

if TYPE_CHECKING:
    from aigc_core.weights.store import Store


@dataclass(frozen=True)
class Version:
    """One version of a name: `digits@2`. What is said of it is read when it is asked for."""

    name: str
    number: int
    store: Store = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"

    @cached_property
    def record(self) -> VersionRecord:
        """Raises NotFoundError, DamagedFileError."""
        path = self.store.layout.version(self.name, self.number)
        return manifest.parse_version(manifest.read_small(path), self.name, self.number, path)

    @cached_property
    def manifest(self) -> Manifest:
        """Raises NotFoundError if there is no such version, DamagedFileError."""
        digest = self.record.manifest
        try:
            return self.store.manifest(digest)
        except NotFoundError:
            path = self.store.layout.version(self.name, self.number)
            raise DamagedFileError(f"{path}: names a manifest that is not in the store: {digest}") from None

    @property
    def path(self) -> Path:
        """The weights file. Raises NotFoundError, DamagedFileError."""
        return self.store.layout.blob(self.manifest.weights.digest)


@dataclass(frozen=True, slots=True)
class Found:
    """What a reference means."""

    path: Path
    version: Version | None = None
    """None for a file that was named by its path."""

    @property
    def digest(self) -> str | None:
        """Of the whole file, where the store promises one."""
        return self.version.manifest.weights.digest if self.version else None

    @property
    def manifest(self) -> str | None:
        """The digest of the manifest that it belongs to."""
        return self.version.manifest.digest if self.version else None
