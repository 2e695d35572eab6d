"""What `metrics.jsonl` tells: a line a log, `{"step": 25, "loss": 0.5}`. Imports no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

Entry = tuple[int, dict[str, float]]
"""A step and its metrics."""

TAIL: Final = 65536
"""Bytes from the end in which the last whole line is looked for."""


def read_metrics(path: Path) -> list[Entry]:
    """All that was logged, by rising step; empty if there is no such file.

    A line that is cut off by a kill is passed over. Where the log goes back, since a run went on from an
    earlier checkpoint, the later lines hold.
    """
    try:
        lines = path.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    entries: list[Entry] = []
    for line in lines:
        entry = _entry(line)
        if entry is None:
            continue
        while entries and entries[-1][0] >= entry[0]:
            entries.pop()
        entries.append(entry)
    return entries


def last_metrics(path: Path) -> Entry | None:
    """The last whole line, read from the end of the file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((entry for line in reversed(lines) if (entry := _entry(line))), None)


def _entry(line: bytes) -> Entry | None:
    """None for what is no whole line of a log."""
    try:
        raw = json.loads(line)
        step = raw.pop("step")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if type(step) is not int:
        return None
    return step, {str(name): float(v) for name, v in raw.items() if type(v) in (int, float)}
