"""The local store: `$AIGC_HOME/weights/NAME/N.safetensors`, versions numbered from 1, never overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aigc_core.errors import NotFoundError, UsageError, did_you_mean
from aigc_core.files import create_exclusively, user_path
from aigc_core.home import home
from aigc_core.modality import SAMPLE_ENDINGS

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)
ENDING: Final = ".safetensors"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a name: `digits@2`."""

    name: str
    number: int
    path: Path

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


class Store:
    """Numbered versions of named weights below one folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or home() / "weights"

    def publish(self, name: str, content: bytes) -> Version:
        """Keeps a weights file as the next version of a name; whole or not at all, also if others publish
        the same name at once. Raises UsageError for an impossible name, StorageError if it can't be written.
        """
        check_name(name)
        while True:
            number = max((v.number for v in self.versions(name)), default=0) + 1
            path = self.root / name / f"{number}{ENDING}"
            try:
                with create_exclusively(path) as file:
                    file.write(content)
                return Version(name, number, path)
            except FileExistsError:
                continue

    def versions(self, name: str) -> list[Version]:
        """All versions of a name, oldest first."""
        found = [
            Version(name, int(path.stem), path)
            for path in (self.root / name).glob(f"*{ENDING}")
            if path.stem.isdecimal() and not path.name.startswith(".")
        ]
        return sorted(found, key=lambda version: version.number)

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and NAME.fullmatch(p.name))

    def __iter__(self) -> Iterator[Version]:
        for name in self.names():
            yield from self.versions(name)

    def find(self, reference: str) -> Path:
        """The file of `name` (its newest version), `name@version`, or a path. Raises NotFoundError."""
        path = user_path(reference)
        if path.suffix == ENDING or "/" in reference:
            if path.is_file():
                return path
            raise NotFoundError(f"no weights file {path}")
        name, _, number = reference.partition("@")
        versions = self.versions(name) if NAME.fullmatch(name) else []
        if not versions:
            hint = did_you_mean(name, self.names()) or "; kept ones: aigc weights list"
            raise NotFoundError(f"no weights {name!r}{hint}")
        if not number:
            return versions[-1].path
        for version in versions:
            if str(version.number) == number:
                return version.path
        known = ", ".join(str(v.number) for v in versions)
        raise NotFoundError(f"weights {name!r} have no version {number!r}; there are: {known}")


def check_name(name: str) -> None:
    """Raises UsageError unless a name can be a folder on any system."""
    if not NAME.fullmatch(name) or name.endswith((".", ENDING, *SAMPLE_ENDINGS)):
        raise UsageError(
            f"weights can't be named {name!r}: use lower-case letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, and no file's ending"
        )
