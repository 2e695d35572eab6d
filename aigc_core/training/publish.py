"""From a training that has ended to a version in the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import AigcError, StorageError
from aigc_core.sampling.golden import golden
from aigc_core.training.loop import LOG_EVERY
from aigc_core.training.run import Run
from aigc_core.weights.file import load
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Found, Store, Version

if TYPE_CHECKING:
    from aigc_core.registry import Registry

METRICS_FILE = "metrics.jsonl"


def publish(
    store: Store, name: str, content: bytes, run: Run, steps: int, registry: Registry, remarks: list[str]
) -> Version:
    """Keeps a weights file with its golden sample and the metrics of its run. What could not be drawn is remarked.

    Raises StorageError.
    """
    with store.using(write=True):  # from here on: no gc takes the file away before it has its version
        store.remove_unfinished()
        path = store.layout.blob(store.add_blob(content).digest)
        request, portrait = _portrait(path, registry, remarks)
        files: dict[str, bytes | Path] = {WEIGHTS_FILE: content, **portrait}
        if metrics := _metrics(run, steps):
            files[METRICS_FILE] = metrics
        return store.publish(name, files, golden=request)


def published(store: Store, name: str, record: Mapping[str, Any]) -> str | None:
    """The version that this very run was published as, if it was killed right after that."""
    for version in reversed(store.versions(name)):
        with contextlib.suppress(AigcError):
            there = version.manifest
            same = there.tensors_digest == record["tensors_digest"]
            if same and there.record.get("training", {}).get("run") == record["training"]["run"]:
                return str(version)
    return None


def _portrait(
    path: Path, registry: Registry, remarks: list[str]
) -> tuple[Mapping[str, Any] | None, Mapping[str, bytes]]:
    try:
        return golden(load(Found(path), registry), registry) or (None, {})
    except StorageError:
        raise
    except AigcError as error:  # the training is worth keeping all the same
        remarks.append(f"no golden sample is kept: {error}")
        return None, {}


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
