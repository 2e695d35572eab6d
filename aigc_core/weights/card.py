"""What a person wants to know of weights, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigc_core.errors import DamagedFileError
from aigc_core.weights.manifest import Manifest

PORTRAIT = "samples."
"""How the file of samples in a manifest begins."""


def card(manifest: Manifest) -> dict[str, str]:
    """Fields for `weights show` and for a model card. Raises DamagedFileError for a record that lacks some."""
    record = manifest.record
    try:
        data, training, backend, output = (record[key] for key in ("data", "training", "backend", "output"))
        return {
            "model": str(record["model"]),
            "backend": f"{backend['distribution']} {backend['version']}, aigc-core {record['core']}",
            "output": shape_of(output),
            "adapters": f"alone, added to {record['base']}" if record.get("base") else "",
            "parameters": f"{record['parameters']:,}",
            "config": pairs(record["config"]),
            "data": data_line(data),
            "training": training_line(training),
            "environment": pairs(training.get("environment", {})),
            "metrics": pairs({k: round(v, 4) for k, v in training.get("metrics", {}).items()}),
            "parents": ", ".join(training.get("parents", [])),
            "license": str(record["license"]),
            "digest": manifest.tensors_digest,
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(f"manifest {manifest.digest}: its record is incomplete: {error}") from None


def data_line(data: Mapping[str, Any]) -> str:
    """What weights were fitted on; of imported ones nothing is known but the files that they were read of."""
    if not data["count"]:
        return f"{data['name']} ({data['digest']})"
    return f"{data['name']} ({data['split']}, {data['count']} items, {data['digest']})"


def training_line(training: Mapping[str, Any]) -> str:
    """How weights were fitted, as far as it is known."""
    if imported := training.get("imported"):
        return f"elsewhere; imported from the form of {imported}"
    options = pairs(training["options"])
    return f"{training['steps']} steps, seed {training['seed']}{f', {options}' if options else ''}"


def shape_of(output: Mapping[str, Any]) -> str:
    """`image 1x28x28`, `text of any length`"""
    sizes = output["shape"]
    shape = "of any length" if sizes[-1] == -1 else "x".join(map(str, sizes))
    return f"{output['modality']} {shape}"


def portrait(manifest: Manifest) -> str | None:
    """The name of its file of samples."""
    return next((name for name in sorted(manifest.files) if name.startswith(PORTRAIT)), None)


def pairs(values: Mapping[str, Any]) -> str:
    """`latent=10, hidden=400,200`"""
    return ", ".join(f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in values.items())
