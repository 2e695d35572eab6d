"""From a training that has ended to a version in the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import AigcError
from aigc_core.sampling import golden
from aigc_core.training.loop import LOG_EVERY
from aigc_core.training.run import Run
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

if TYPE_CHECKING:
    from aigc_core.registry import Registry

METRICS_FILE = "metrics.jsonl"


def publish(
    store: Store, name: str, content: bytes, run: Run, steps: int, registry: Registry, remarks: list[str]
) -> Version:
    """Keeps a weights file with its golden sample and the metrics of its run. What could not be drawn is remarked.

    Raises StorageError.
    """
    metrics = _metrics(run, steps)
    more: dict[str, bytes | Path] = {METRICS_FILE: metrics} if metrics else {}
    return golden.publish(store, name, content, more, registry, remarks)


def published(store: Store, name: str, record: Mapping[str, Any]) -> str | None:
    """The version that this very run was published as, if it was killed right after that."""
    for version in reversed(store.versions(name)):
        with contextlib.suppress(AigcError):
            there = version.manifest
            same = there.tensors_digest == record["tensors_digest"]
            if same and there.record.get("training", {}).get("run") == record["training"]["run"]:
                return str(version)
    return None


def _metrics(run: Run, steps: int) -> bytes:
    """The metrics at fixed steps, without what the clock has decided: the same training has the same ones."""
    lines = []
    for line in run.metrics.read_text(encoding="utf-8").splitlines() if run.metrics.is_file() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            values = json.loads(line)
            if values["step"] % LOG_EVERY == 0 or values["step"] == steps:
                del values["items_per_second"]
                lines.append(json.dumps(values))
    return "".join(f"{line}\n" for line in lines).encode()
