"""From what a user writes to what is installed."""

from __future__ import annotations

import hashlib
import re
import tomllib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError, did_you_mean
from aigc_core.files import user_path
from aigc_core.plugins.catalogue import Catalogue, CatalogueEntry
from aigc_core.plugins.entrypoints import normalise


@dataclass(frozen=True, slots=True)
class Target:
    """Something to install."""

    requirement: str
    """A path, a URL, or a name with a version."""
    source: str
    """path, wheel, git, index"""
    distribution: str | None = None
    """Its name, where that is known beforehand."""
    editable: bool = False
    find_links: str | None = None

    @property
    def arguments(self) -> list[str]:
        return ["--editable", self.requirement] if self.editable else [self.requirement]


def find_target(text: str, catalogue: Catalogue, *, editable: bool = False) -> Target:
    """From what the user wrote to what is installed: a backend of the catalogue, a folder, a wheel, a URL, or
    a distribution with its version.

    Raises NotFoundError, UsageError, DamagedFileError for a wheel that is not the catalogue's.
    """
    entry = catalogue.find(text)
    path = user_path(text)
    if entry is not None and not (path.is_dir() and ("/" in text or "\\" in text)):
        return replace(_of_entry(entry), editable=editable)
    if path.is_dir():
        if "/" not in text and "\\" not in text:
            raise UsageError(f"{text} is a folder here, and no known backend; to install it say ./{text}")
        if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise UsageError(f"{text}: a folder without a pyproject.toml is no package")
        return Target(str(path.resolve()), "path", _project_name(path), editable)
    if not path.exists() and "://" not in text and ("/" in text or text.endswith(".whl")):
        raise NotFoundError(f"no file or folder {text!r}")
    if editable:
        raise UsageError(f"{text}: only a folder can be installed with --editable")
    if path.is_file():
        if not re.fullmatch(r"[^-]+(-[^-]+){4,5}\.whl", path.name):
            raise UsageError(f"{text}: not a wheel (NAME-VERSION-py3-none-any.whl) and not a folder")
        if not zipfile.is_zipfile(path):
            raise DamagedFileError(f"{text}: not a whole wheel: truncated, or no zip at all; fetch it again")
        return Target(str(path.resolve()), "wheel", normalise(path.name.partition("-")[0]))
    if "://" in text:
        return Target(text, "git" if "git+" in text else "wheel")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?\s*(==|>=|~=)\s*[\w.*+!-]+", text):
        name = re.split(r"[\[=~> ]", text)[0]
        if name in catalogue.entries:  # a backend's name, not that of some stranger's distribution
            text = text.replace(name, catalogue.entries[name].distribution, 1)
            name = catalogue.entries[name].distribution
        return Target(text, "index", normalise(name))
    hint = did_you_mean(text, list(catalogue.entries)) or "; see: aigc plugins search"
    raise NotFoundError(
        f"no backend {text!r} in the catalogue{hint} (a distribution that no catalogue lists is given with its "
        f"version, {text}==1.0, or as a path, a wheel or a URL)"
    )


def _of_entry(entry: CatalogueEntry) -> Target:
    source = entry.source()
    if source.kind == "wheel" and "://" not in source.requirement:
        wheel = Path(source.requirement)
        if not wheel.is_file():
            raise NotFoundError(f"no wheel {wheel}, which {entry.file} names for backend {entry.name!r}")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if source.sha256 and found != source.sha256.lower():
            raise DamagedFileError(
                f"{wheel}: its sha256 is {found}, but {entry.file} says {source.sha256}; fetch it again"
            )
    return Target(
        source.requirement, source.kind, normalise(entry.distribution), find_links=source.find_links
    )


def _project_name(folder: Path) -> str | None:
    try:
        name = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return normalise(str(name))
