"""From the store to a remote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aigc_core.errors import DamagedFileError, StorageError, UsageError
from aigc_core.progress import Progress
from aigc_core.weights.layout import blob_path, is_path, manifest_path
from aigc_core.weights.manifest import Manifest, VersionRecord, encode_alias, read_small
from aigc_core.weights.remotes.address import open_remote
from aigc_core.weights.remotes.catalogue import (
    Reference,
    alias_path,
    missing,
    numbers,
    parse_reference,
    removed,
    version_path,
    version_record,
)
from aigc_core.weights.remotes.remote import Remote
from aigc_core.weights.remotes.stopping import stoppable
from aigc_core.weights.store import Store


@dataclass(frozen=True, slots=True)
class Moved:
    """What a push or a pull came to."""

    weights: str
    """`digits@3`, as it is called where it has arrived"""
    alias: str | None
    """What was made to stand for it there."""
    manifest: str
    files: int
    """That had to travel; those that were there are not counted."""
    bytes: int
    new: bool
    """False: this version was there already."""
    url: str


def push(
    reference: str,
    url: str | Path,
    *,
    under: str | None = None,
    verify: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Moved:
    """Brings `NAME` (its newest version), `NAME@V` or `NAME@ALIAS` to a remote: a folder, or a URL that fsspec
    knows. An alias that is named here is set there, too.

    under: its name there, with or without a number; else it keeps both. verify: reads what is there already, and
    replaces what is damaged. Only what is missing travels, and the version is there as soon as all of it is.
    Raises UsageError if another manifest has the number, NotFoundError, DamagedFileError, StorageError;
    InterruptedRun after Ctrl-C or SIGTERM.
    """
    store = store or Store()
    if is_path(reference):
        raise UsageError(f"{reference} is a file; push what the store has: NAME@V (import the file first)")
    asked = parse_reference(reference)
    with store.using():
        version = store.version(reference)
        name, number = target(under, version.name, version.number)
        of, record = version.manifest, version.record
        with stoppable("nothing was sent yet"):
            remote = open_remote(url, writing=True)
        with remote.using(), stoppable(remote.kept):
            _check_number(remote, name, number, of.digest)
            files, size = _send(remote, store, of, verify, progress or Progress(False))
            new = _commit(remote, VersionRecord(name, number, of.digest, record.published))
            if asked.alias is not None:
                _set_alias(remote, name, asked.alias, number)
    return Moved(f"{name}@{number}", asked.alias, of.digest, files, size, new, remote.url)


def target(under: str | None, name: str, number: int) -> tuple[str, int]:
    """The name and number at the other end."""
    other = parse_reference(under) if under is not None else Reference(name)
    if other.alias is not None:
        raise UsageError(f"{under}: a version gets a number, not an alias: --as {other.name}@{number}")
    return other.name, other.number or number


def _send(remote: Remote, store: Store, of: Manifest, verify: bool, progress: Progress) -> tuple[int, int]:
    """Sends what is not there; the manifest after all that it names. How many blobs, and bytes of them."""
    wanted = missing(remote, of, verify=verify)
    for digest, size in wanted.items():
        path = store.layout.blob(digest)
        if not path.is_file() or path.stat().st_size != size:
            raise DamagedFileError(f"{path}: missing or cut off; pull it again from where it was pushed")
    total = sum(wanted.values())
    with progress.bar(total, "sending", "B") as bar:
        for digest, size in wanted.items():
            remote.upload(blob_path(digest), store.layout.blob(digest), digest, size, bar)
    own = store.layout.manifest(of.digest)
    content = read_small(own, own.stat().st_size)
    path_there = manifest_path(of.digest)
    if remote.size(path_there) != len(content) or remote.get(path_there, len(content)) != content:
        with Progress(False).bar(0, "", "") as silent:
            remote.upload(path_there, own, of.digest, len(content), silent)
    remote.settle([path_there, *(blob_path(file.digest) for file in of.files.values())])
    return len(wanted), total


def _check_number(remote: Remote, name: str, number: int, digest: str) -> bool:
    """Whether the version is there. Raises UsageError if its number is, or was, another one's."""
    there = version_record(remote, name, number)
    if there is not None and there.manifest != digest:
        what = f"other weights ({there.manifest[:19]})"
    elif removed(remote, name, number):
        what = "removed, and no number is given twice"
    else:
        return there is not None
    free = max(numbers(remote, name, ever=True), default=number) + 1
    raise UsageError(f"{name}@{number} at {remote.url} is {what}; the next free number: --as {name}@{free}")


def _commit(remote: Remote, record: VersionRecord) -> bool:
    """Makes the version be there; False if it was. Of several that try at once, one succeeds."""
    path = version_path(record.name, record.number)
    made = False
    for _ in range(5):
        if _check_number(remote, record.name, record.number, record.manifest):
            remote.settle([path])
            return made
        made = remote.create(path, record.encode())
    raise StorageError(f"{remote.where(path)}: cannot be created, nor read; the same command tries again")


def _set_alias(remote: Remote, name: str, alias: str, number: int) -> None:
    path, content = alias_path(name, alias), encode_alias(name, alias, number)
    if remote.get(path, len(content) * 100) != content:
        remote.replace(path, content)
