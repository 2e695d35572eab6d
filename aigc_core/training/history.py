"""The runs there are: what each folder of `$AIGC_HOME/runs` tells of its training. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError, did_you_mean
from aigc_core.home import home
from aigc_core.training.metrics import last_metrics

State = Literal["finished", "running", "failed", "interrupted"]

FOLDER: Final = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)-(?P<key>[0-9a-f]{12})")
KEY_PREFIX: Final = re.compile(r"[0-9a-f]{4,12}")


@dataclass(frozen=True, slots=True)
class Record:
    """One run as its folder tells it."""

    name: str
    key: str
    folder: Path
    state: State
    model: str | None
    data: str | None
    steps: int | None
    """How long it is to be; None where it was killed before it wrote its plan."""
    done: int
    """The last step that a checkpoint or a line of the log tells of."""
    checkpoint: int | None
    """The step that it would go on from, where a checkpoint names it."""
    weights: str | None
    """`name@version` that it ended with."""
    reason: str | None
    """Why it failed."""
    modified: float
    """When it last wrote, in seconds since 1970."""
    size: int
    """Bytes on disk."""
    plan: Mapping[str, Any]
    """All of `run.json`."""

    @property
    def id(self) -> str:
        """`NAME-KEY`: the one name that no other run has."""
        return f"{self.name}-{self.key}"

    @property
    def finished(self) -> bool:
        return self.state == "finished"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def curves(self) -> Path | None:
        path = self.folder / "curves.png"
        return path if path.is_file() else None

    @property
    def checkpoints(self) -> list[Path]:
        """Oldest first."""
        return checkpoints(self.folder)

    @property
    def sheets(self) -> list[Path]:
        """Samples drawn on the way, oldest first."""
        return _numbered(self.folder / "sheets")

    @property
    def command(self) -> Mapping[str, Any] | None:
        """The arguments of `aigc_core.training.job.train` that go on with it; None in an older run."""
        found = self.plan.get("command")
        return found if isinstance(found, dict) else None


def root() -> Path:
    return home() / "runs"


def ids() -> list[str]:
    """`NAME-KEY` of every run, damaged ones too, in the order of their names."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(e.name for e in os.scandir(root()) if FOLDER.fullmatch(e.name) and e.is_dir())
    return []


def runs(damaged: Callable[[DamagedFileError], None] | None = None) -> Iterator[Record]:
    """Every run, in the order of their names. One that can't be read is handed to `damaged` and left out."""
    for name in ids():
        try:
            record = read(root() / name)
        except DamagedFileError as error:
            if damaged is not None:
                damaged(error)
        except FileNotFoundError:  # removed since
            continue
        else:
            yield record


def matches(reference: str) -> list[Record]:
    """The runs that `NAME-KEY`, `NAME` or the first digits of KEY (four at least) may mean.

    There is more than one only where several runs share a name; the unfinished ones come first then, the
    newest of them before all: it is the one to go on with. Raises NotFoundError, UsageError where a part of a
    key is of several runs, DamagedFileError where the run cannot be read.
    """
    known = ids()
    if reference in known:
        return [read(root() / reference)]
    named = [i for i in known if _name(i) == reference]
    if named:
        found = [record for record in runs() if record.id in named]
        if not found:
            return [read(root() / named[0])]
        return sorted(found, key=lambda r: (r.finished, -r.modified))
    keyed = [
        i for i in known if KEY_PREFIX.fullmatch(reference) and i.rpartition("-")[2].startswith(reference)
    ]
    if len(keyed) > 1:
        raise UsageError(f"run {reference!r} is ambiguous: {' and '.join(keyed)}; give more of the key")
    if not keyed:
        hint = did_you_mean(reference, [*known, *dict.fromkeys(map(_name, known))])
        raise NotFoundError(f"no run {reference!r}{hint or '; see: aigc runs list'}")
    return [read(root() / keyed[0])]


def find(reference: str) -> Record:
    """The run that is meant: the first of `matches`. Raises as it does."""
    return matches(reference)[0]


def read(folder: Path) -> Record:
    """Raises DamagedFileError unless what `run.json` says can be read; a folder without one is a run too."""
    named = FOLDER.fullmatch(folder.name)
    assert named, folder
    plan = _plan(folder / "run.json")
    training, data = _part(plan, "training"), _part(plan, "data")
    last = last_metrics(folder / "metrics.jsonl")
    steps = _whole(training.get("steps"))
    kept = [int(path.stem) for path in checkpoints(folder) if path.stem.isdecimal()]
    weights, failed = _text(plan.get("weights")), _text(plan.get("failed"))
    state: State = "interrupted"
    if weights:
        state = "finished"
    elif is_locked(folder):
        state = "running"
    elif failed:
        state = "failed"
    present = files(folder)
    return Record(
        name=named["name"],
        key=named["key"],
        folder=folder,
        state=state,
        model=_text(plan.get("model")),
        data=_text(data.get("name")),
        steps=steps,
        done=steps if weights and steps is not None else max([last[0] if last else 0, *kept]),
        checkpoint=max(kept, default=None),
        weights=weights,
        reason=failed if state == "failed" else None,
        modified=max((s.st_mtime for s in present), default=folder.stat().st_mtime),
        size=sum(s.st_size for s in present),
        plan=plan,
    )


def is_locked(folder: Path) -> bool:
    """Whether a process trains it now."""
    lock = folder / ".lock"
    if not lock.is_file():
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder of somebody else's: it can't be known
        return False


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints, oldest first; older runs have one without a number."""
    older = folder / "checkpoint.safetensors"
    return [*([older] if older.is_file() else []), *_numbered(folder / "checkpoints", ".safetensors")]


def _numbered(folder: Path, ending: str = "") -> list[Path]:
    """The files whose name is a step."""
    found = [p for p in folder.glob(f"*{ending}") if p.stem.isdecimal() and p.is_file()]
    return sorted(found, key=lambda path: int(path.stem))


def _plan(path: Path) -> Mapping[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # killed before it was written
        return {}
    except (ValueError, OSError, RecursionError) as error:
        raise _damaged(path, " ".join(str(error).split())) from None
    if not isinstance(plan, dict):
        raise _damaged(path, "it is no JSON object")
    return plan


def _damaged(path: Path, reason: str) -> DamagedFileError:
    advice = f"remove the run: aigc runs rm {path.parent.name}"
    return DamagedFileError(f"{path}: cannot be read ({reason}); {advice}")


def files(folder: Path) -> list[os.stat_result]:
    """What belongs to a run, but for the lock, which is touched by whoever looks whether it is held."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone since: a run that works replaces its files
            if path.is_file() and path.name != ".lock":
                found.append(path.stat())
    return found


def _name(run: str) -> str:
    return run.rpartition("-")[0]


def _part(plan: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = plan.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return str(value) if value else None


def _whole(value: object) -> int | None:
    return value if type(value) is int else None
