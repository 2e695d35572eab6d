"""The smaller verbs of the Python API; `train` and `sample` live where they are made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.modality import SAMPLE_ENDINGS
from aigc_core.registry import default, visible
from aigc_core.weights import outline
from aigc_core.weights.header import check_tensors, read_header
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

if TYPE_CHECKING:
    from aigc_core.specs import DatasetSpec, ModelSpec
    from aigc_core.weights.file import Weights


def list_models(modality: str | None = None) -> list[ModelSpec]:
    """The models of the installed backends that work; imports no backend's networks."""
    return [s for s in visible(default().models.values()) if modality in (None, s.modality)]


def list_datasets() -> list[DatasetSpec]:
    """The data sets known by name."""
    return list(default().datasets.values())


def list_weights() -> list[Version]:
    """All versions in the local store."""
    return list(Store())


def load(weights: str | Path, device: str = "cpu") -> Weights:
    """Weights by `name`, `name@version` or path, their generator ready for use.

    Raises NotFoundError, DamagedFileError, BackendError.
    """
    from aigc_core.weights.file import load as load_file

    return load_file(Store().resolve(str(weights)), default(), device)


def inspect(target: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """What a weights file, stored weights, or a file of samples says of itself, as plain JSON.

    Only the header is read; `verify` reads the tensors too and checks their digest. `intact` says of samples whether
    they still are what their record says; None for an archive, whose samples have records of their own.
    `credentials`: who signed the file, and whether the signature holds; None where nobody did.
    Raises NotFoundError, DamagedFileError, UsageError for a file without a record.
    """
    path = Path(target)
    if path.suffix in SAMPLE_ENDINGS:
        from aigc_core.provenance.content import digest_of
        from aigc_core.provenance.credentials import TYPES, credentials
        from aigc_core.sampling.records import read_record

        record = read_record(path)
        intact = digest_of(path) == record["content"] if record.get("content") else None
        signed = credentials(path) if path.suffix in TYPES else None
        return {"kind": "sample", "path": str(path), **record, "intact": intact, "credentials": signed}
    header = read_header(Store().find(str(target)))
    if header.record:
        outline.check(header.record, header.path)
    if verify:
        check_tensors(header)
    return {
        "kind": "weights",
        "path": str(header.path),
        "bytes": header.size,
        **header.record,
        "tensors": {name: {"dtype": t.dtype, "shape": list(t.shape)} for name, t in header.tensors.items()},
    }
