"""What nobody can reach any more, and its removal: the only place where the store deletes bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aigc_core.errors import AigcError, DamagedFileError
from aigc_core.files import storage_errors, sync_folder
from aigc_core.weights import manifest
from aigc_core.weights.layout import DIGEST
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version


@dataclass(slots=True)
class Garbage:
    """What would be deleted, and why the rest stays."""

    versions: list[Version] = field(default_factory=list)
    """Removed ones, that could still be restored."""
    manifests: list[Path] = field(default_factory=list)
    blobs: list[Path] = field(default_factory=list)
    partial: list[Path] = field(default_factory=list)
    """What was being written or fetched, by processes that are no more."""
    bytes_found: int = 0
    """Of all these files."""
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Each blob that stays, by its digest: `digits@3 weights.safetensors`, for each version that needs it."""

    def __bool__(self) -> bool:
        return any((self.versions, self.manifests, self.blobs, self.partial))


def garbage(store: Store) -> Garbage:
    """Looks what would go. Raises DamagedFileError if any record can't be read: what it needs is not known then."""
    found = Garbage()
    needed: set[str] = set()
    removed = set(store.removed())
    unreadable: list[str] = []
    for version in sorted({*store, *removed}, key=lambda v: (v.name, v.number)):
        if version in removed:
            found.versions.append(version)
            continue
        try:
            needed.add(version.record.manifest)
            for name, file in version.manifest.files.items():
                found.kept.setdefault(file.digest, []).append(f"{version} {name}")
        except (AigcError, OSError) as error:
            unreadable.append(f"{version}: {error}")
    unreadable += _unreadable(store)
    if unreadable:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise DamagedFileError(
            f"nothing is deleted while a record can't be read, since what it needs is not known: {unreadable[0]}{more}; "
            "mend it by `aigc weights pull`, or remove the version: aigc weights rm"
        )
    root = store.root
    found.manifests = [p for p in _hashed(root / "manifests") if f"sha256:{p.stem}" not in needed]
    found.blobs = [p for p in _hashed(root / "blobs") if f"sha256:{p.name}" not in found.kept]
    folders = [
        store.layout.versions,
        store.layout.aliases,
        store.layout.tombstones,
        *_folders(root / "manifests"),
    ]
    found.partial = [
        *_inside(store.layout.partial, ""),
        *(p for f in folders for p in _inside(f, ".partial")),
    ]
    found.bytes_found = sum(_size(path) for path in [*found.blobs, *found.manifests, *found.partial])
    return found


def collect(store: Store) -> Garbage:
    """Deletes it, when nobody else uses the store. Killed at any moment, what is left is whole, and the next call goes on.

    Raises DamagedFileError as `garbage`, UsageError if others use the store for long, StorageError.
    """
    with store.alone(), storage_errors(store.root):
        found = garbage(store)
        # From what refers to what is referred to, each step on the disk before the next.
        records = [store.layout.version(v.name, v.number) for v in found.versions]
        for paths in (records, found.manifests, found.blobs, found.partial):
            _delete(paths)
    return found


def _delete(paths: Iterable[Path]) -> None:
    folders = set()
    for path in paths:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)


def _unreadable(store: Store) -> Iterator[str]:
    """Aliases and tombstones that can't be read, and files that are called like no record."""
    layout = store.layout
    for folder in (layout.versions, layout.aliases, layout.tombstones):
        for path in _inside(folder, ""):
            name, at, tag = path.name.removesuffix(".json").partition("@")
            try:
                if path.name.startswith(".") and path.name.endswith(".partial"):
                    continue
                if not at or path.suffix != ".json":
                    raise DamagedFileError(f"{path}: no such file belongs there")
                content = manifest.read_small(path)
                if folder == layout.aliases:
                    manifest.parse_alias(content, name, tag, path)
                if folder == layout.tombstones:
                    manifest.parse_tombstone(content, name, int(tag) if tag.isdecimal() else 0, path)
            except (AigcError, OSError) as error:
                yield str(error)


def _hashed(folder: Path) -> Iterator[Path]:
    """The files below a folder that are called by their digest."""
    for inner in _folders(folder):
        yield from (
            p for p in _inside(inner, "") if DIGEST.fullmatch(f"sha256:{p.name.removesuffix('.json')}")
        )


def _folders(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("sha256/*/")))


def _inside(folder: Path, ending: str) -> Iterator[Path]:
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if name.endswith(ending):
            yield folder / name


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
