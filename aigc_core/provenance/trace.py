"""From a file back to all that made it: sample, sampler, seed, weights, model, data, run. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aigc_core.errors import AigcError, NotFoundError, UsageError
from aigc_core.provenance.content import digest_of
from aigc_core.provenance.environment import code_digest
from aigc_core.provenance.ledger import Ledger
from aigc_core.registry import default
from aigc_core.sampling.records import read_record
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

if TYPE_CHECKING:
    from aigc_core.weights.manifest import Manifest


class Origin(NamedTuple):
    """The record of a file, and how it was found."""

    record: dict[str, Any]
    found_by: Literal["record", "ledger"]
    content: str | None
    """What the file decodes to now; None for an archive."""
    intact: bool | None
    """Whether that is what its own record says; None if it carries none, or the record does not say."""
    others: int = 0
    """How many other files of that content the ledger knows, where it was asked; 99 at most."""


def origin(path: Path) -> Origin:
    """The record inside a file if it fits its content; else that of the ledger; else the one inside.

    Raises NotFoundError where neither is there, UsageError for a folder, DamagedFileError.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    content = digest_of(path)
    own, problem = None, ""
    try:
        own = read_record(path)
    except AigcError as error:
        problem = str(error).removeprefix(f"{path}: ")
    said = own.get("content") if own else None
    intact = None if content is None or said is None else said == content
    if own is not None and intact is not False:
        return Origin(own, "record", content, intact)
    ledger, trouble = Ledger(), ""
    if content is not None:
        try:
            if known := ledger.find(content):
                return Origin(known[0], "ledger", content, intact, len(known) - 1)
        except AigcError as error:
            trouble = f"; {error}"
    if own is not None:
        return Origin(own, "record", content, False)
    raise NotFoundError(
        f"{path}: {problem.partition(';')[0]}, and no sample of that content is in {ledger.path}{trouble}; a file that "
        "was resized, cropped or compressed with loss is not found, nor one of another AIGC_HOME"
    )


def trace(file: str | Path) -> dict[str, Any]:
    """The chain that leads to a file of samples, as plain JSON.

    By the record inside, or by the ledger where that is gone or does not fit. `weights`, `data`, `training` and `run`
    are filled as far as the store and the runs still hold them. Raises NotFoundError, UsageError, DamagedFileError.
    """
    path = Path(file)
    found = origin(path)
    record = found.record
    version = stored(record)
    manifest = _manifest(version)
    made = manifest.record if manifest else {}
    training = _part(made, "training")
    return {
        "path": str(path),
        "found_by": found.found_by,
        "content": found.content,
        "intact": found.intact,
        "others": found.others,
        "sample": record,
        "weights": {
            **_part(record, "weights"),
            "stored": None if version is None else str(version),
            "path": None if version is None or manifest is None else str(version.path),
        },
        "model": _model(record),
        "data": {k: v for k, v in _part(made, "data").items() if k != "info"} or None,
        "training": {
            k: v for k, v in training.items() if k in ("steps", "seed", "options", "parents", "imported")
        }
        or None,
        "run": _run(training.get("run")),
    }


def stored(record: Mapping[str, Any]) -> Version | None:
    """The version in the store that a record's samples were drawn from: by its name if that still means the same,
    by its manifest, or by its tensors."""
    weights, store = _part(record, "weights"), Store()
    wanted = [str(d) for d in (weights.get("manifest"), weights.get("tensors_digest")) if d]
    if weights.get("name") and wanted:
        with contextlib.suppress(AigcError):
            version = store.version(str(weights["name"]))
            if wanted[0] in (version.record.manifest, version.manifest.tensors_digest):
                return version
    for digest in wanted:
        if holders := store.holders(digest):
            return holders[0]
    return None


def _manifest(version: Version | None) -> Manifest | None:
    with contextlib.suppress(AigcError):
        return version.manifest if version else None
    return None


def _model(record: Mapping[str, Any]) -> dict[str, Any]:
    """The model, its backend then and now."""
    model, backend = _part(record, "weights").get("model"), _part(record, "backend")
    model = str(model or record.get("model", ""))  # the latter in a sheet that a training drew
    here = default().backends.get(model.partition("/")[0])
    code = _part(record, "code").get("backend")
    return {
        "id": model,
        "backend": dict(backend),
        "installed": {"distribution": here.distribution, "version": here.version} if here else None,
        "same_code": None if here is None or code is None else code_digest(here.package) == code,
    }


def _run(key: object) -> dict[str, Any] | None:
    """The run that a training names; its folder where it is still there."""
    if not key:
        return None
    from aigc_core.training.history import matches

    with contextlib.suppress(AigcError):
        found = matches(str(key))[0]
        return {"key": str(key), "id": found.id, "folder": str(found.folder)}
    return {"key": str(key), "id": None, "folder": None}


def _part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = record.get(key)
    return found if isinstance(found, Mapping) else {}
