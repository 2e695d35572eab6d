"""Every error a user can meet, each with its exit code.

A message is one line: the thing, the reason, the next step. docs/exit-codes.md is made from this file.
"""

from __future__ import annotations


class AigcError(Exception):
    """Something went wrong in a way that a user can understand and act upon."""

    exit_code = 1


class UsageError(AigcError):
    """The command or call cannot be meant as it stands: an unknown option, a value out of range."""

    exit_code = 2


class NotFoundError(AigcError):
    """Something that was named does not exist: a model, a data set, weights, a file."""

    exit_code = 3


class BackendError(AigcError):
    """A backend is broken, not installed, or made for another version of the API."""

    exit_code = 4


class DamagedFileError(AigcError):
    """A file is not what it says it is: truncated, altered, or of another format."""

    exit_code = 5


class DataError(AigcError):
    """Data was found but cannot be trained on: empty, of mixed sizes, of the wrong kind, unreadable."""

    exit_code = 6


class TrainingError(AigcError):
    """Training could not go on: a loss that is not a number."""

    exit_code = 7


class StorageError(AigcError):
    """The file system refused: the disk is full, a folder is read-only."""

    exit_code = 8


class MismatchError(AigcError):
    """What was made or read again is not what it was: by `replay`, `weights verify`, `weights retrain`."""

    exit_code = 9


class InterruptedRun(AigcError):
    """The user stopped a job (Ctrl-C); the message says what was kept."""

    exit_code = 130


class TerminatedRun(InterruptedRun):
    """A scheduler stopped a job (SIGTERM); the message says what was kept."""

    exit_code = 143


def did_you_mean(word: str, known: list[str]) -> str:
    """Returns `; did you mean 'x'?` for the nearest known word, or an empty string."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
