"""What `aigc runs` tells of one run, to people and to scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.cli.common import amount, plural, program
from aigc_core.training.metrics import last_metrics

if TYPE_CHECKING:
    from aigc_core.training.history import Record


def summary(record: Record) -> dict[str, Any]:
    """A run as `aigc runs list --json` shows it."""
    return {
        "run": record.id, "name": record.name, "key": record.key, "state": record.state,
        "model": record.model, "data": record.data, "steps": record.steps, "done": record.done,
        "checkpoint": record.checkpoint, "weights": record.weights, "reason": record.reason,
        "modified": datetime.fromtimestamp(record.modified).astimezone().isoformat(timespec="seconds"),
        "bytes": record.size, "folder": str(record.folder),
    }  # fmt: skip


def whole(record: Record) -> dict[str, Any]:
    """A run as `aigc runs show --json` shows it."""
    step, metrics = last_metrics(record.metrics) or (None, {})
    finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    return {
        **summary(record),
        "plan": dict(record.plan),
        "last": None if step is None else {"step": step, **finite},
        "log": str(record.metrics) if record.metrics.is_file() else None,
        "curves": str(record.curves) if record.curves else None,
        "sheets": [str(path) for path in record.sheets],
        "checkpoints": [str(path) for path in record.checkpoints],
        "resume": _resume(record),
    }


def page(record: Record) -> dict[str, str | None]:
    """A run as `aigc runs show` shows it."""
    plan = record.plan
    data, training = _part(plan, "data"), _part(plan, "training")
    parts = [data.get("name"), data.get("split"), data.get("count") and plural(data["count"], "item")]
    options = {**_part(plan, "config"), **_part(training, "options")}
    going_on = no_command(record) if record.state in ("interrupted", "failed") else None
    return {
        "run": record.id,
        "state": record.state,
        "reason": record.reason,
        "model": record.model,
        "data": ", ".join(str(part) for part in parts if part),
        "digest": data.get("digest"),
        "seed": str(training["seed"]) if "seed" in training else None,
        "options": _pairs(options, "="),
        "made by": _pairs(_environment(plan), " "),
        "began": str(plan.get("began") or ""),
        "changed": moment(record.modified),
        "progress": _progress(record),
        "metrics": _metrics(record),
        "weights": record.weights,
        "folder": f"{record.folder} ({amount(record.size)})",
        "log": str(record.metrics) if record.metrics.is_file() else None,
        "curves": str(record.curves or ""),
        "sheets": _listed(record.sheets),
        "checkpoints": _listed(record.checkpoints),
        "resume": _resume(record) or going_on,
    }


def no_command(record: Record) -> str:
    """How to go on with a run that does not hold its own arguments."""
    if not record.plan:
        return f"it was killed before it began; remove it: {program()} runs rm {record.id}"
    return f"give the command that began it once more: {program()} train {record.model} ..."


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _resume(record: Record) -> str | None:
    if record.state not in ("interrupted", "failed") or record.command is None:
        return None
    return f"{program()} runs resume {record.id}"


def _environment(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Older runs keep it among their plan."""
    return _part(plan, "environment") or {k: plan[k] for k in ("backend", "core", "torch") if k in plan}


def _progress(record: Record) -> str:
    text = f"{record.done} of {record.steps or '?'} steps"
    if record.finished or record.checkpoint in (None, record.done):
        return text
    return f"{text}; it goes on from the checkpoint of step {record.checkpoint}"


def _metrics(record: Record) -> str | None:
    last = last_metrics(record.metrics)
    return last and f"{', '.join(f'{k} {v:.4g}' for k, v in last[1].items())} at step {last[0]}"


def _pairs(values: Mapping[str, Any], between: str) -> str:
    """`lr=0.002, hidden=512,256`: a value is spelt as `-o` takes it."""

    def told(value: Any) -> str:
        if not isinstance(value, list):
            return str(value)
        return ("," if between == "=" else between).join(map(str, value))

    return ", ".join(f"{name}{between}{told(value)}" for name, value in values.items())


def _part(plan: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = plan.get(key)
    return found if isinstance(found, dict) else {}


def _listed(paths: list[Path]) -> str | None:
    if len(paths) < 2:
        return str(paths[0]) if paths else None
    return f"{len(paths)}, the last one {paths[-1]}"
