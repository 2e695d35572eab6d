"""Which distributions offer a backend, read straight from their `entry_points.txt`.

`importlib.metadata` takes half as long to import as click, and parses every distribution there is; a
listing must not pay that. Folders on `sys.path` are scanned here; anything else (zip files) is left to
`importlib.metadata`. The result is the same, which a test checks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from aigc_core.specs import GROUP_PREFIX


class EntryPoint(NamedTuple):
    """One backend as its distribution announces it."""

    api: int
    name: str
    value: str
    """`package.module` or `package.module:object`"""
    distribution: str
    version: str
    info: str
    """The folder of the distribution's metadata (`.dist-info`), or the archive that holds it."""


def entry_points() -> list[EntryPoint]:
    """All entry points in the groups `aigc.vN`, the first distribution of a name on `sys.path` winning."""
    seen_paths: set[str] = set()
    seen_names: set[str] = set()
    found: list[EntryPoint] = []
    for path in sys.path:
        path = path or "."
        if path in seen_paths:
            continue
        seen_paths.add(path)
        for name, version, text, info in _distributions(path):
            if name not in seen_names:
                seen_names.add(name)
                if GROUP_PREFIX in text:
                    found.extend(_parse(text, name, version, info))
    return sorted(found, key=lambda point: (point.name, point.distribution))


def points_in(folder: str) -> list[EntryPoint]:
    """The entry points of the distributions in one folder."""
    return [
        p for name, version, text, info in _distributions(folder) for p in _parse(text, name, version, info)
    ]


def _distributions(path: str) -> Iterator[tuple[str, str, str, str]]:
    """(normalised name, version, entry_points.txt or "", metadata folder) of every distribution in one
    entry of sys.path."""
    try:
        entries = os.listdir(path)
    except NotADirectoryError:
        yield from _from_archive(path)
        return
    except OSError:
        return
    for entry in entries:
        if entry.endswith(".dist-info"):
            name, _, version = entry[:-10].partition("-")
        elif entry.endswith(".egg-info"):
            name, _, version = entry[:-9].partition("-")
        else:
            continue
        try:
            with open(os.path.join(path, entry, "entry_points.txt"), encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError):
            text = ""
        yield normalise(name), version or "unknown", text, os.path.abspath(os.path.join(path, entry))


def _from_archive(path: str) -> Iterator[tuple[str, str, str, str]]:
    from importlib import metadata

    for distribution in metadata.distributions(path=[path]):
        text = distribution.read_text("entry_points.txt") or ""
        yield normalise(distribution.metadata["Name"]), distribution.version, text, path


def normalise(name: str) -> str:
    """A distribution's name as all its spellings compare (PEP 503)."""
    return name.replace("_", "-").replace(".", "-").lower()


def _parse(text: str, distribution: str, version: str, info: str) -> Iterator[EntryPoint]:
    api = 0
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            group = line.strip("[]").strip()
            number = group.removeprefix(GROUP_PREFIX)
            api = int(number) if group.startswith(GROUP_PREFIX) and number.isdigit() else 0
        elif api and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            value = value.partition("[")[0].strip()
            yield EntryPoint(api, name.strip(), value, distribution, version, info)
