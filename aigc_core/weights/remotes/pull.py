"""From a remote into the store."""

from __future__ import annotations

import shutil
from pathlib import Path

from aigc_core.errors import StorageError, UsageError
from aigc_core.progress import Progress
from aigc_core.weights.blobs import is_whole
from aigc_core.weights.layout import hexadecimal
from aigc_core.weights.manifest import Manifest
from aigc_core.weights.remotes.address import open_remote
from aigc_core.weights.remotes.arrival import settle
from aigc_core.weights.remotes.catalogue import find, manifest, parse_reference
from aigc_core.weights.remotes.fetch import fetch
from aigc_core.weights.remotes.push import Moved, target
from aigc_core.weights.remotes.stopping import stoppable
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

_SPARE = 16 * 2**20
"""Bytes that are left free on the disk."""


def pull(
    reference: str,
    url: str | Path,
    *,
    under: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Moved:
    """Brings `NAME` (its newest version there), `NAME@V` or `NAME@ALIAS` (an alias there) into the store.

    `under` is its name here, with or without a number; else it keeps both. Every byte is checked, also of what is
    here already: what is missing or damaged is fetched. No alias of the store is moved.
    Raises UsageError if the number is another version's here, NotFoundError, DamagedFileError, StorageError;
    InterruptedRun after Ctrl-C or SIGTERM.
    """
    store = store or Store()
    asked = parse_reference(reference)
    if under is not None:
        target(under, asked.name, 1)
    with stoppable("what has arrived is kept"):
        remote = open_remote(url)
        with remote.using():
            record = find(remote, asked)
            name, number = target(under, record.name, record.number)
            new = _check_number(store, name, number, record.manifest)
            of, content = manifest(remote, record.manifest)
            with store.using(write=True):
                wanted = _wanted(store, of)
                total = sum(wanted.values())
                _check_space(store, wanted)
                with (progress or Progress(False)).bar(total, "fetching", "B") as bar:
                    for digest, size in wanted.items():
                        fetch(remote, digest, size, store, bar)
                store.add_manifest(content)
                layout = store.layout
                blobs = (layout.blob(file.digest) for file in of.files.values())
                settle(layout, [layout.manifest(of.digest), *blobs])
                version = store.commit(name, of.digest, number)
    return Moved(str(version), None, of.digest, len(wanted), total, new, remote.url)


def _check_number(store: Store, name: str, number: int, digest: str) -> bool:
    """Whether the version is new here. Raises UsageError if its number is another one's."""
    free = store.next_number(name)
    layout = store.layout
    if layout.tombstone(name, number).exists():
        what = f"{name}@{number} was removed here, and no number is given twice"
        back = f"; aigc weights restore {name}@{number} brings it back if it is these weights, or"
        raise UsageError(f"{what}{back} choose another: --as {name}@{free}")
    if not layout.version(name, number).exists():
        return True
    there = Version(name, number, store).record.manifest
    if there != digest:
        raise UsageError(
            f"{name}@{number} is other weights here ({there[:19]}, not {digest[:19]}); keep these under another "
            f"name or number: --as OTHER-NAME, or --as {name}@{free}"
        )
    return False


def _wanted(store: Store, of: Manifest) -> dict[str, int]:
    """The digests, and sizes, of what is missing here or damaged."""
    files = {file.digest: file.size for file in of.files.values()}
    return {digest: size for digest, size in files.items() if not is_whole(store.layout.blob(digest), digest)}


def _check_space(store: Store, wanted: dict[str, int]) -> None:
    """Raises StorageError rather than fill the disk with what can't end well."""
    need = sum(wanted.values())
    for digest in wanted:
        partial = store.layout.partial / hexadecimal(digest)
        need -= partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(store.root).free
    if wanted and need + _SPARE > free:
        raise StorageError(
            f"{store.root}: {need / 1e6:,.0f} MB are to be fetched and {free / 1e6:,.0f} MB are free; free some "
            "space, or set AIGC_HOME to another disk"
        )
