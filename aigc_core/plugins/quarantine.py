"""What is known of each installed backend from a trial in a process of its own.

A backend that was never seen before, or has changed since, is imported in a child process first
(`probe.py`): there it may hang, print, or end the process, and no listing is harmed. What came of it is
kept in `$AIGC_HOME/plugins/verdicts.tsv`, a line a distribution, so that the trial is made once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aigc_core._version import __version__
from aigc_core.backends import OK, SLOW, Problem
from aigc_core.home import home

if TYPE_CHECKING:
    from aigc_core.plugins.entrypoints import EntryPoint

DEFAULT_LIMIT: Final = 5.0
"""Seconds that the import of a registration module may take; AIGC_IMPORT_LIMIT overrides it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial came to."""

    state: str
    seconds: float
    """How long the import took."""
    problem: Problem | None = None


def limit() -> float:
    """Seconds that an import may take."""
    try:
        return max(float(os.environ["AIGC_IMPORT_LIMIT"]), 0.1)
    except (KeyError, ValueError):
        return DEFAULT_LIMIT


def judge(points: Iterable[EntryPoint], *, retry: bool = False) -> Mapping[EntryPoint, Verdict]:
    """A verdict for each entry point: the one that is known, or that of a trial made now.

    `retry` makes new trials of all that were found wanting.
    """
    stamps = {point: _stamp(point) for point in points}
    known = _read()
    found: dict[EntryPoint, Verdict] = {}
    for point, stamp in stamps.items():
        entry = known.get((point.info, point.name, stamp))
        waited_enough = entry is not None and (entry.state != SLOW or entry.seconds >= limit())
        if entry and waited_enough and (entry.state == OK or not retry):
            found[point] = entry
    unknown = [point for point in stamps if point not in found]
    if unknown:
        from aigc_core.plugins.probe import probe

        found.update(probe(unknown, limit()))
        _write({(p.info, p.name, stamps[p]): v for p, v in found.items()}, known)
    return found


def _stamp(point: EntryPoint) -> str:
    """Changes whenever the distribution is installed anew, or its sources where they are used in place."""
    try:
        changed = os.stat(point.info).st_mtime_ns
    except OSError:
        changed = 0
    sources = 0
    if _is_editable(point.info):
        from aigc_core.plugins.sources import newest_source

        sources = newest_source(point.value.partition(":")[0])
    return f"{__version__}-{sys.hexversion:x}-{changed}-{sources}"


def _is_editable(info: str) -> bool:
    if info.endswith(".egg-info"):
        return True
    try:
        with open(os.path.join(info, "direct_url.json"), encoding="utf-8") as file:
            return '"editable"' in file.read()
    except (OSError, UnicodeDecodeError):
        return False


def _file() -> str:
    return os.path.join(home(), "plugins", "verdicts.tsv")


_Key = tuple[str, str, str]


def _read() -> dict[_Key, Verdict]:
    """What is known; a file that can't be read is as none, since all of it can be found out again."""
    known: dict[_Key, Verdict] = {}
    try:
        with open(_file(), encoding="utf-8") as file:
            for line in file:
                info, name, stamp, state, seconds, kind, where, text = line.rstrip("\n").split("\t")
                problem = Problem(kind, text, where) if kind else None
                known[info, name, stamp] = Verdict(state, float(seconds), problem)
    except (OSError, ValueError):
        pass
    return known


def _write(new: Mapping[_Key, Verdict], known: Mapping[_Key, Verdict]) -> None:
    """Keeps the verdicts on what is still there. A home that can't be written to costs a trial each time."""
    from pathlib import Path

    from aigc_core.errors import StorageError
    from aigc_core.files import write_atomically

    judged = {(info, name) for info, name, _ in new}
    kept = {k: v for k, v in known.items() if k[:2] not in judged and os.path.exists(k[0])}
    lines = []
    for (info, name, stamp), verdict in {**kept, **new}.items():
        problem = verdict.problem or Problem("", "")
        cells = [info, name, stamp, verdict.state, f"{verdict.seconds:.4f}"]
        cells += [problem.kind, problem.where, problem.text]
        lines.append("\t".join(" ".join(cell.split()) for cell in cells) + "\n")
    try:
        with write_atomically(Path(_file())) as file:
            file.write("".join(lines).encode("utf-8", "replace"))
    except StorageError:
        pass
