"""What a remote says that it has. Its word is a stranger's: everything is checked before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from aigc_core.errors import AigcError, NotFoundError, UsageError, did_you_mean
from aigc_core.weights.layout import NAME, NUMBER, blob_path, check_alias, check_name, manifest_path
from aigc_core.weights.manifest import (
    MAX_MANIFEST,
    MAX_RECORD,
    Manifest,
    VersionRecord,
    parse,
    parse_alias,
    parse_version,
)
from aigc_core.weights.remotes.remote import Remote
from aigc_core.weights.remotes.trouble import attempt

_FILE: Final = re.compile(rf"({NAME.pattern})@({NAME.pattern})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """`digits`, `digits@3` or `digits@prod`, as a user wrote it."""

    name: str
    number: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        ending = self.alias or self.number
        return f"{self.name}@{ending}" if ending else self.name


@dataclass(frozen=True, slots=True)
class Listed:
    """A version on a remote."""

    record: VersionRecord
    manifest: Manifest
    aliases: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """What a listing tells of it: plain words and numbers, whatever a stranger has put there."""
        record = self.manifest.record
        parameters = record.get("parameters")
        return {
            "weights": f"{self.record.name}@{self.record.number}",
            "model": _plain(self.manifest.model),
            "data": _plain(_part(record, "data").get("name")),
            "steps": _plain(_part(record, "training").get("steps")),
            "parameters": parameters if isinstance(parameters, int) else None,
            "bytes": self.manifest.weights.size,
            "tensors_digest": self.manifest.tensors_digest,
            "manifest": self.manifest.digest,
            "published": _plain(self.record.published),
            "aliases": list(self.aliases),
        }


def parse_reference(text: str) -> Reference:
    """Raises UsageError for what names no weights."""
    name, at, rest = text.partition("@")
    check_name(name)
    if not at:
        return Reference(name)
    if NUMBER.fullmatch(rest):
        return Reference(name, int(rest))
    if rest.lstrip("-").isdecimal() or not rest:
        raise UsageError(f"{text[:120]!r} names no version: they are counted from 1")
    check_alias(rest)
    return Reference(name, alias=rest)


def version_path(name: str, number: int) -> str:
    return f"versions/{name}@{number}.json"


def alias_path(name: str, alias: str) -> str:
    return f"aliases/{name}@{alias}.json"


def tombstone_path(name: str, number: int) -> str:
    return f"tombstones/{name}@{number}.json"


def version_record(remote: Remote, name: str, number: int) -> VersionRecord | None:
    """The record of a version; None if there is none. Raises DamagedFileError."""
    path = version_path(name, number)
    content = remote.get(path, MAX_RECORD)
    return None if content is None else parse_version(content, name, number, remote.where(path))


def removed(remote: Remote, name: str, number: int) -> bool:
    """Whether a version was removed there; its number is then never given again."""
    return remote.get(tombstone_path(name, number), MAX_RECORD) is not None


def manifest(remote: Remote, digest: str) -> tuple[Manifest, bytes]:
    """A manifest and its bytes. Raises NotFoundError, DamagedFileError."""
    path = manifest_path(digest)
    content = remote.get(path, MAX_MANIFEST)
    if content is None:
        raise NotFoundError(
            f"{remote.where(path)}: missing there, though a version is made of it; push it again"
        )
    return parse(content, digest, remote.where(path)), content


def find(remote: Remote, reference: Reference) -> VersionRecord:
    """The version that a reference means there. Raises NotFoundError, DamagedFileError; UsageError where the
    newest is wanted of what can't be listed."""
    name, number = reference.name, reference.number
    if reference.alias is not None:
        path = alias_path(name, reference.alias)
        content = remote.get(path, MAX_RECORD)
        if content is None:
            raise NotFoundError(f"no alias {reference} at {remote.url}; see: aigc weights list --remote URL")
        number = parse_alias(content, name, reference.alias, remote.where(path))
    if number is None:
        kept = numbers(remote, name)
        if not kept:
            known = sorted({n for n, _ in _entries(remote, "versions")})
            hint = did_you_mean(name, known) or "; see: aigc weights list --remote URL"
            raise NotFoundError(f"no weights {name!r} at {remote.url}{hint}")
        number = kept[-1]
    elif removed(remote, name, number):
        raise NotFoundError(f"{name}@{number} was removed from {remote.url}; there may be another version")
    record = version_record(remote, name, number)
    if record is None:
        raise NotFoundError(
            f"no version {name}@{number} at {remote.url}; see: aigc weights list --remote URL"
        )
    return record


def numbers(remote: Remote, name: str, *, ever: bool = False) -> list[int]:
    """The versions of a name, oldest first; `ever`: the removed ones, too."""
    kept = _numbers(remote, "versions", name)
    gone = _numbers(remote, "tombstones", name)
    return sorted(kept | gone if ever else kept - gone)


def listing(remote: Remote) -> tuple[list[Listed], list[str]]:
    """All versions there, and a remark on each that can't be read."""
    gone = set(_entries(remote, "tombstones"))
    wanted = sorted(
        (name, int(number))
        for name, number in _entries(remote, "versions")
        if NUMBER.fullmatch(number) and (name, number) not in gone
    )
    remarks: list[str] = []
    records = []
    paths = [version_path(*version) for version in wanted]
    for (name, number), path, content in zip(wanted, paths, remote.get_many(paths, MAX_RECORD), strict=True):
        if content is not None:
            try:
                records.append(parse_version(content, name, number, remote.where(path)))
            except AigcError as error:
                remarks.append(str(error))
    manifests = _manifests(remote, sorted({record.manifest for record in records}), remarks)
    aliases = _aliases(remote, remarks)
    found = [
        Listed(record, manifests[record.manifest], tuple(aliases.get((record.name, record.number), ())))
        for record in records
        if record.manifest in manifests
    ]
    return found, remarks


def missing(remote: Remote, of: Manifest, *, verify: bool = False) -> dict[str, int]:
    """The digests, and sizes, of a manifest's files that are not there, or are there in another size.
    `verify` reads those that are there, and counts the damaged ones, too."""

    def whole(digest: str, size: int) -> bool:
        path = blob_path(digest)
        if remote.size(path) != size:
            return False
        return not verify or attempt(remote.where(path), lambda: remote.digest(path, size)) == digest

    wanted = {file.digest: file.size for file in of.files.values()}
    return {digest: size for digest, size in wanted.items() if not whole(digest, size)}


def _manifests(remote: Remote, digests: list[str], remarks: list[str]) -> dict[str, Manifest]:
    paths = [manifest_path(digest) for digest in digests]
    found = {}
    for digest, path, content in zip(digests, paths, remote.get_many(paths, MAX_MANIFEST), strict=True):
        try:
            if content is None:
                raise NotFoundError(f"{remote.where(path)}: missing, though a version is made of it")
            found[digest] = parse(content, digest, remote.where(path))
        except AigcError as error:
            remarks.append(str(error))
    return found


def _aliases(remote: Remote, remarks: list[str]) -> dict[tuple[str, int], list[str]]:
    entries = sorted(_entries(remote, "aliases"))
    paths = [alias_path(*entry) for entry in entries]
    found: dict[tuple[str, int], list[str]] = {}
    for (name, alias), path, content in zip(entries, paths, remote.get_many(paths, MAX_RECORD), strict=True):
        if content is not None:
            try:
                number = parse_alias(content, name, alias, remote.where(path))
                found.setdefault((name, number), []).append(alias)
            except AigcError as error:
                remarks.append(str(error))
    return found


def _entries(remote: Remote, folder: str) -> list[tuple[str, str]]:
    """Name and what follows the '@', of the files whose names are such."""
    matches = [_FILE.fullmatch(name) for name in remote.names(folder)]
    return [(match[1], match[2]) for match in matches if match and _usable(match[1])]


def _numbers(remote: Remote, folder: str, name: str) -> set[int]:
    return {int(n) for found, n in _entries(remote, folder) if found == name and NUMBER.fullmatch(n)}


def _usable(name: str) -> bool:
    try:
        check_name(name)
    except UsageError:
        return False
    return True


def _part(record: Any, key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> str | int | None:
    """A number, or a text that no terminal takes for commands."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else "?" for c in value)[:200]
    return value if isinstance(value, int) else None
