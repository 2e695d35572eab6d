"""Catalogues of known backends, `registry.toml`: read only where something is missing or asked for."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

from aigc_core.errors import DamagedFileError, NotFoundError
from aigc_core.home import home

_TEXTS: Final = ("summary", "license", "core", "homepage", "path", "index", "git", "wheel", "sha256")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backend is installed from."""

    kind: str
    """path, wheel, git, index"""
    requirement: str
    """What an installer is given: a path, a URL, or a name with a version."""
    sha256: str | None = None
    """What a wheel must be."""
    find_links: str | None = None
    """A folder of wheels to look into, beside the index."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One known backend."""

    name: str
    distribution: str
    file: Path
    """The catalogue that lists it; relative paths are relative to it."""
    summary: str = ""
    license: str = ""
    core: str = ""
    """The versions of aigc-core that it needs: `>=0.1,<0.2`."""
    homepage: str = ""
    api: int = 1
    path: str = ""
    index: str = ""
    git: str = ""
    wheel: str = ""
    sha256: str = ""
    find_links: str | None = None
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By id: modality, license, summary."""

    def source(self) -> Source:
        """The first of these that there is: a folder, a wheel, a git repository, a name in an index."""
        folder = self.file.parent / self.path
        if self.path and folder.is_dir():
            return Source("path", str(folder.resolve()))
        if self.wheel:
            remote = "://" in self.wheel
            where = self.wheel if remote else str((self.file.parent / self.wheel).resolve())
            if remote and self.sha256:
                where = f"{self.distribution} @ {where}#sha256={self.sha256}"
            return Source("wheel", where, self.sha256 or None)
        if self.git:
            return Source("git", f"{self.distribution} @ git+{self.git}")
        return Source("index", self.index or self.distribution, None, self.find_links)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Known backends by name."""

    entries: Mapping[str, CatalogueEntry]

    @classmethod
    def load(cls, *more: Path) -> Catalogue:
        """The entries of `more`, of the user's own `$AIGC_HOME/registry.toml` and of the built-in catalogue;
        where two list the same name, the first one counts.

        Raises NotFoundError or DamagedFileError.
        """
        files: list[tuple[Path, str | None]] = [(file, None) for file in more]
        own = home() / "registry.toml"
        if own.is_file():
            files.append((own, None))
        files.append(_builtin())
        entries: dict[str, CatalogueEntry] = {}
        for file, find_links in files:
            for name, entry in _read(file, find_links).items():
                entries.setdefault(name, entry)
        return cls(entries)

    def provider(self, model: str) -> CatalogueEntry | None:
        """The backend that provides a model id, or whose family it is."""
        for entry in self.entries.values():
            if model in entry.models:
                return entry
        return self.entries.get(model.partition("/")[0]) if "/" in model else None

    def find(self, name: str) -> CatalogueEntry | None:
        """A backend by its name or its distribution's."""
        if name in self.entries:
            return self.entries[name]
        return next((e for e in self.entries.values() if e.distribution == name), None)

    def search(self, text: str) -> list[CatalogueEntry]:
        """The backends whose name, summary, licence or models contain a text, whatever its case."""

        def matches(entry: CatalogueEntry) -> bool:
            words = [entry.name, entry.distribution, entry.summary, entry.license]
            for model_id, model in entry.models.items():
                words += [model_id, *model.values()]
            return text.lower() in "\n".join(words).lower()

        return [entry for entry in self.entries.values() if matches(entry)]


def install_command(*entries: CatalogueEntry) -> str:
    """The command that installs backends of the catalogues."""
    return f"aigc plugins install {' '.join(entry.name for entry in entries)}"


def _read(file: Path, find_links: str | None) -> dict[str, CatalogueEntry]:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotFoundError(f"no catalogue {file}; give the path of a registry.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{file}: not a catalogue: {error}") from None
    if raw.get("format") != 1 or not isinstance(raw.get("backends", {}), dict):
        raise DamagedFileError(f"{file}: not a catalogue of format 1 (`format = 1`, then [backends.NAME])")
    return {name: _entry(name, entry, file, find_links) for name, entry in raw.get("backends", {}).items()}


def _entry(name: str, raw: Any, file: Path, find_links: str | None) -> CatalogueEntry:
    def wrong(reason: str) -> DamagedFileError:
        return DamagedFileError(f"{file}: backend {name!r}: {reason}")

    if not isinstance(raw, dict) or not isinstance(raw.get("distribution"), str):
        raise wrong("names no distribution")
    if unknown := set(raw) - {*_TEXTS, "distribution", "api", "models"}:
        raise wrong(
            f"unknown key {sorted(unknown)[0]!r}; there are: distribution, api, models, {', '.join(_TEXTS)}"
        )
    texts = {key: raw.get(key, "") for key in _TEXTS}
    if bad := [key for key, value in texts.items() if not isinstance(value, str)]:
        raise wrong(f"{bad[0]} must be a text")
    models = raw.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise wrong("models must be tables by id")
    if outside := [i for i in models if i.partition("/")[0] != name]:
        raise wrong(f"model {outside[0]!r} is not of its family {name!r}")
    if not isinstance(raw.get("api", 1), int):
        raise wrong("api must be a number")
    return CatalogueEntry(
        name, raw["distribution"], file, **texts, api=raw.get("api", 1), find_links=find_links, models=models
    )


def _builtin() -> tuple[Path, str | None]:
    """The catalogue of a clone, or the one inside the wheel, and the folder of wheels to look into.

    Where the wheel was installed from a file or a folder, its neighbours are at hand: wheels beside it, and
    the very same catalogue with the sources that its relative paths mean.
    """
    package = Path(__file__).resolve().parent.parent
    inside = package / "registry.toml"
    if not inside.is_file():
        return package.parent / "registry.toml", None
    origin = _origin()
    if origin is None:
        return inside, None
    for folder in (origin, origin.parent):
        twin = folder / "registry.toml"
        if twin.is_file() and twin.read_bytes() == inside.read_bytes():
            return twin, str(origin)
    return inside, str(origin)


def _origin() -> Path | None:
    """The local folder that the core was installed from (PEP 610), if it was."""
    from importlib import metadata

    try:
        text = metadata.distribution("aigc-core").read_text("direct_url.json")
        url = urlparse(json.loads(text)["url"]) if text else None
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return None
    if url is None or url.scheme != "file":
        return None
    path = Path(unquote(url.path))
    folder = path if path.is_dir() else path.parent
    return folder if folder.is_dir() else None


def load_files(files: Sequence[str]) -> Catalogue:
    """The catalogues with those that a command was given first."""
    from aigc_core.files import user_path

    return Catalogue.load(*(user_path(file) for file in files))
