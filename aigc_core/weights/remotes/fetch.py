"""One file from a remote into the store."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from aigc_core.errors import DamagedFileError, StorageError
from aigc_core.progress import Bar
from aigc_core.weights.layout import blob_path
from aigc_core.weights.remotes.arrival import Arrival, receive
from aigc_core.weights.remotes.remote import Remote
from aigc_core.weights.remotes.trouble import PAUSES, explained, passes, reason
from aigc_core.weights.store import Store

_PROGRESS: Final = 64 * 2**10
"""Bytes that a connection must bring before it breaks, to be worth another."""


def fetch(remote: Remote, digest: str, size: int, store: Store, bar: Bar) -> None:
    """Brings a blob into the store. What arrives is kept until it is whole, and goes on from there the next time.

    Raises DamagedFileError if it is not the file that its digest names, twice; StorageError if the remote or the
    disk fails.
    """
    path = blob_path(digest)

    def bring(arrival: Arrival) -> None:
        _bring(remote, path, arrival)

    if not receive(store.layout, store.layout.blob(digest), digest, size, bar, bring):
        raise DamagedFileError(
            f"{remote.where(path)}: not what its name says, and not the second time either; push it there again"
        )


def _bring(remote: Remote, path: str, arrival: Arrival) -> None:
    """Fetches what is missing, with a few more tries where a connection breaks."""
    where, failures = remote.where(path), 0
    while arrival.have < arrival.size:
        before, cause = arrival.have, None
        try:
            _connect(remote, path, arrival)
            problem = f"ends after {arrival.have} of {arrival.size} bytes"
        except DamagedFileError as error:
            raise _located(error, where) from None
        except Exception as error:
            if not passes(error):
                raise explained(error, where) from error
            problem, cause = reason(error), error
        if arrival.have >= arrival.size:
            return
        failures = 0 if arrival.have - before >= _PROGRESS else failures + 1
        if failures > len(PAUSES):
            advice = "what has arrived is kept, and the same command goes on from there"
            raise StorageError(f"{where}: {problem}; {advice}") from cause
        time.sleep(PAUSES[max(failures - 1, 0)])


def _connect(remote: Remote, path: str, arrival: Arrival) -> None:
    """Appends what one connection brings."""
    with contextlib.closing(remote.stream(path, arrival.have, arrival.size)) as pieces:  # type: ignore[type-var]
        for start, piece in pieces:
            if start > arrival.have:
                raise DamagedFileError("the server skips a part of the file")
            arrival.append(piece[arrival.have - start :])


def _located(error: DamagedFileError, where: str) -> DamagedFileError:
    text = str(error)
    return error if text.startswith(where) else DamagedFileError(f"{where}: {text}")
