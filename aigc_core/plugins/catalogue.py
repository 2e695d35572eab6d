"""The catalogue of known backends, `registry.toml`: read only where something is missing."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One known backend."""

    name: str
    distribution: str
    summary: str
    path: str | None
    models: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Known backends by name, and the file that names them."""

    file: Path
    entries: Mapping[str, CatalogueEntry]

    @classmethod
    def load(cls, file: Path | None = None) -> Catalogue:
        """Reads a catalogue, by default the one inside the wheel, or at the top of a clone."""
        if file is None:
            package = Path(__file__).resolve().parent.parent
            inside = package / "registry.toml"
            file = inside if inside.is_file() else package.parent / "registry.toml"
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls(
            file,
            {
                name: CatalogueEntry(
                    name, entry["distribution"], entry["summary"], entry.get("path"), entry.get("models", {})
                )
                for name, entry in raw["backends"].items()
            },
        )

    def provider(self, model: str) -> CatalogueEntry | None:
        """The backend that provides a model id, or whose family it is."""
        for entry in self.entries.values():
            if model in entry.models:
                return entry
        return self.entries.get(model.partition("/")[0]) if "/" in model else None

    def install_command(self, *entries: CatalogueEntry) -> str:
        """The command that installs backends: from the clone where this is one, else by name."""
        targets = []
        for entry in entries:
            local = self.file.parent / entry.path if entry.path else None
            targets.append(str(local) if local and local.is_dir() else entry.distribution)
        return f"pip install {' '.join(targets)}"
