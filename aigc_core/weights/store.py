"""The local store: versions of named weights, none ever lost, changed or numbered anew. See docs/store.md."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import AigcError, NotFoundError, UsageError, did_you_mean
from aigc_core.files import (
    create_exclusively,
    make_folder,
    remove_unfinished,
    storage_errors,
    sync_folder,
    user_path,
    write_atomically,
)  # fmt: skip
from aigc_core.home import home
from aigc_core.weights import blobs, locks, manifest, outline
from aigc_core.weights.header import header_of, read_header
from aigc_core.weights.layout import (
    NAME,
    NUMBER,
    WEIGHTS_FILE,
    Layout,
    check_alias,
    check_name,
    is_path,
    listed,
    numbered,
)  # fmt: skip
from aigc_core.weights.manifest import File, Manifest, VersionRecord
from aigc_core.weights.version import Found, Version


class Store:
    """A folder of blobs, manifests and the records that name them."""

    def __init__(self, root: Path | None = None) -> None:
        self.layout: Final = Layout(root or home() / "store")

    @property
    def root(self) -> Path:
        return self.layout.root

    # Publishing

    def publish(
        self,
        name: str,
        files: Mapping[str, bytes | Path | File],
        *,
        golden: Mapping[str, Any] | None = None,
        alias: str | None = None,
    ) -> Version:
        """Keeps files, `weights.safetensors` among them, as the next version of a name: whole or not at all, also if
        others publish the same name at once. A `File` is one that `add_blob` has kept, under the same `using`.

        golden: a request for samples and the digest of what it drew. alias: is given to the new version.
        Raises UsageError for an impossible name or a weights file that aigc did not write, DamagedFileError for one
        that is damaged, StorageError.
        """
        check_name(name)
        if alias is not None:
            check_alias(alias)
        content = files[WEIGHTS_FILE]
        if isinstance(content, File):
            content = self.layout.blob(content.digest)
        record = (
            read_header(content)
            if isinstance(content, Path)
            else header_of(io.BytesIO(content), Path(name))[0]
        ).record
        if not record:
            raise UsageError("weights that aigc did not write can't be kept; they don't say their model")
        outline.check(record, content if isinstance(content, Path) else f"weights for {name}")
        with self.using(write=True):
            kept = {
                what: content if isinstance(content, File) else self.add_blob(content)
                for what, content in sorted(files.items())
            }
            digest = self.add_manifest(manifest.encode(record, kept, golden))
            version = self._commit(name, digest, None)
            if alias is not None:
                self._tag(version, alias)
        return version

    def add_blob(self, source: bytes | Path, expected: str | None = None) -> File:
        """Keeps bytes or a copy of a file durably. Raises StorageError; DamagedFileError if it is not `expected`."""
        with storage_errors(self.root):
            return blobs.add(source, self.layout.partial, self.root, expected)

    def add_manifest(self, content: bytes) -> str:
        """Keeps a manifest durably, and returns its digest. Raises StorageError."""
        digest = manifest.digest_of(content)
        path = self.layout.manifest(digest)
        with storage_errors(path):
            if not blobs.is_durable(path, digest, self.root):
                blobs.make_durable_folder(path.parent, self.root)
                with write_atomically(path) as file:
                    file.write(content)
        return digest

    def commit(self, name: str, digest: str, number: int | None = None) -> Version:
        """Gives a manifest, which must be there with its blobs, a name: that number, or the next one.

        That it has that number already is no error. Raises UsageError if another one has it, StorageError.
        """
        check_name(name)
        with self.using(write=True):
            return self._commit(name, digest, number)

    def _commit(self, name: str, digest: str, number: int | None) -> Version:
        blobs_ready = self.manifest(digest).files.values()
        if missing := [file for file in blobs_ready if not self.layout.blob(file.digest).is_file()]:
            raise NotFoundError(f"{missing[0].digest} of {name} is not in {self.root}; nothing was named")
        with storage_errors(self.root):
            blobs.make_durable_folder(self.layout.versions, self.root)
            while True:
                chosen = number or self.next_number(name)
                if chosen in self._numbers(self.layout.tombstones, name):
                    raise UsageError(
                        f"{name}@{chosen} was removed, and no number is given twice; choose another one"
                    )
                record = VersionRecord(name, chosen, digest, _now())
                try:
                    with create_exclusively(self.layout.version(name, chosen)) as file:
                        file.write(record.encode())
                except FileExistsError:
                    version = Version(name, chosen, self)
                    if number is None:
                        continue
                    if version.record.manifest != digest:
                        raise UsageError(f"{version} is taken by other weights; the next number is "
                                         f"{self.next_number(name)}") from None  # fmt: skip
                    sync_folder(self.layout.versions)  # its writer may have been killed before
                return Version(name, chosen, self)

    def next_number(self, name: str) -> int:
        """The first number that no version of that name has, or had."""
        taken = self._numbers(self.layout.versions, name) | self._numbers(self.layout.tombstones, name)
        return max(taken, default=0) + 1

    def remove_unfinished(self) -> None:
        """Removes what killed processes left half-written."""
        for folder in (
            self.layout.partial,
            self.layout.versions,
            self.layout.aliases,
            self.layout.tombstones,
        ):
            if folder.is_dir():
                remove_unfinished(folder)

    # Finding

    def versions(self, name: str) -> list[Version]:
        """All versions of a name that were not removed, oldest first."""
        gone = self._numbers(self.layout.tombstones, name)
        return [Version(name, n, self) for n in sorted(self._numbers(self.layout.versions, name) - gone)]

    def names(self) -> list[str]:
        """The names that have versions."""
        return sorted({name for name, _ in self._entries()})

    def __iter__(self) -> Iterator[Version]:
        for name, number in sorted(self._entries()):
            yield Version(name, number, self)

    def aliases(self) -> dict[str, dict[str, int]]:
        """Of each name: its aliases, and the version that each stands for. A damaged one is left out."""
        found: dict[str, dict[str, int]] = {}
        for name, alias in sorted(listed(self.layout.aliases)):
            with contextlib.suppress(AigcError):
                found.setdefault(name, {})[alias] = self.alias(name, alias)
        return found

    def alias(self, name: str, alias: str) -> int:
        """The number that an alias stands for. Raises NotFoundError, DamagedFileError."""
        path = self.layout.alias(name, alias)
        return manifest.parse_alias(manifest.read_small(path), name, alias, path)

    def manifest(self, digest: str) -> Manifest:
        """Raises NotFoundError, DamagedFileError."""
        return manifest.read(self.layout.manifest(digest), digest)

    def holders(self, digest: str) -> list[Version]:
        """The versions of that manifest, or of those tensors, newest first; what can't be read is passed over."""
        found = []
        for version in self:
            with contextlib.suppress(AigcError):
                if digest in (version.record.manifest, version.manifest.tensors_digest):
                    found.append(version)
        return sorted(found, key=lambda v: (v.record.published, v.number), reverse=True)

    def find(self, reference: str) -> Path:
        """The weights file that a reference means. Raises NotFoundError, DamagedFileError."""
        return self.resolve(reference).path

    def resolve(self, reference: str) -> Found:
        """What `name` (its newest version), `name@version`, `name@alias` or a path means.

        Raises NotFoundError, DamagedFileError.
        """
        if is_path(reference):
            path = user_path(reference)
            if os.path.isfile(path):  # False too for what can be no path
                return Found(path)
            raise NotFoundError(f"no weights file {str(path)[:1000]}")
        version = self.version(reference)
        return Found(version.path, version)

    def version(self, reference: str) -> Version:
        """The version that `name`, `name@version` or `name@alias` means. Raises NotFoundError, DamagedFileError."""
        if is_path(reference):
            raise UsageError(
                f"{reference[:200]} is a path, not a version in the store (NAME@3); see a weights file by aigc inspect"
            )
        name, at, tag = reference.partition("@")
        named = NAME.fullmatch(name) is not None
        kept = self._numbers(self.layout.versions, name) if named else set()
        gone = self._numbers(self.layout.tombstones, name) if named else set()
        if not kept | gone:
            hint = did_you_mean(name, self.names()) or "; kept ones: aigc weights list"
            raise NotFoundError(f"no weights {name[:120]!r}{hint}")
        if not at and not kept - gone:
            raise NotFoundError(f"all versions of {name!r} were removed; see: aigc weights list --removed")
        number = self._number(name, tag) if at else max(kept - gone)
        if number in gone:
            back = f"; aigc weights restore {name}@{number} brings it back" if number in kept else " for good"
            raise NotFoundError(f"{reference} was removed{back}")
        if number is None or number not in kept:
            have = ", ".join([*map(str, sorted(kept - gone)), *self.aliases().get(name, {})]) or "none"
            raise NotFoundError(f"weights {name!r} have no version {tag[:120]!r}; there are: {have}")
        return Version(name, number, self)

    def _number(self, name: str, tag: str) -> int | None:
        """What follows the @ as a number."""
        if NUMBER.fullmatch(tag):
            return int(tag)
        if NAME.fullmatch(tag) and self.layout.alias(name, tag).is_file():
            return self.alias(name, tag)
        return None

    # Naming and removing

    def tag(self, reference: str, alias: str) -> Version:
        """Gives an alias to a version; another one of that name loses it. Raises UsageError, NotFoundError,
        StorageError."""
        check_alias(alias)
        with self.using(write=True):
            version = self.version(reference)
            version.record  # noqa: B018  # an alias of a damaged version would not be found
            self._tag(version, alias)
        return version

    def _tag(self, version: Version, alias: str) -> None:
        path = self.layout.alias(version.name, alias)
        with storage_errors(path):
            blobs.make_durable_folder(path.parent, self.root)
            with write_atomically(path) as file:
                file.write(manifest.encode_alias(version.name, alias, version.number))

    def untag(self, name: str, alias: str) -> None:
        """Takes an alias away. Raises NotFoundError, StorageError."""
        check_name(name)
        check_alias(alias)
        path = self.layout.alias(name, alias)
        with self.using(write=True):
            if not path.exists():
                raise NotFoundError(f"no alias {name}@{alias}; aigc weights list {name} shows them")
            _unlink(path)

    def remove(self, reference: str) -> Version:
        """Hides a version, until `restore` or for good by `gc`. Raises NotFoundError, UsageError if an alias stands
        for it, StorageError."""
        with self.using(write=True):
            version = self.version(reference)
            held = [a for a, n in self.aliases().get(version.name, {}).items() if n == version.number]
            if held:
                raise UsageError(
                    f"{version} is {version.name}@{held[0]}; give that alias to another version, or take it away: "
                    f"aigc weights tag --remove {version.name}@{held[0]}"
                )
            path = self.layout.tombstone(version.name, version.number)
            with storage_errors(path):
                blobs.make_durable_folder(path.parent, self.root)
                with contextlib.suppress(FileExistsError), create_exclusively(path) as file:
                    file.write(manifest.encode_tombstone(version.name, version.number, _now()))
        return version

    def restore(self, reference: str) -> Version:
        """Brings back a version that was removed and not collected. Raises NotFoundError, StorageError."""
        name, _, tag = reference.partition("@")
        number = int(tag) if NUMBER.fullmatch(tag) else 0
        if not NAME.fullmatch(name) or not number:
            raise UsageError(f"{reference[:120]!r} names no version; name one: NAME@3")
        path = self.layout.tombstone(name, number)
        with self.using(write=True):
            if not path.exists():
                raise NotFoundError(
                    f"{name}@{number} was not removed; removed ones: aigc weights list --removed"
                )
            if not self.layout.version(name, number).exists():
                raise NotFoundError(f"{name}@{number} was removed for good")
            _unlink(path)
        return Version(name, number, self)

    def removed(self) -> list[Version]:
        """Versions that were removed and can be restored."""
        gone = numbered(self.layout.tombstones) & numbered(self.layout.versions)
        return [Version(name, number, self) for name, number in sorted(gone)]

    # Locks

    @contextlib.contextmanager
    def using(self, *, write: bool = False) -> Iterator[None]:
        """Within the block nothing is deleted. Raises StorageError if the store is to be written and can't be."""
        if write:
            with storage_errors(self.root):
                make_folder(self.root)
        with locks.shared(self.layout.lock):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block nobody else uses the store. Raises UsageError, StorageError."""
        with storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with locks.alone(self.layout.lock):
                yield

    def _entries(self) -> set[tuple[str, int]]:
        return numbered(self.layout.versions) - numbered(self.layout.tombstones)

    def _numbers(self, folder: Path, name: str) -> set[int]:
        return {number for other, number in numbered(folder) if other == name}


def _unlink(path: Path) -> None:
    with storage_errors(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
