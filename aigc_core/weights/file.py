"""Writing a generator to a self-describing file, and building it again from the file alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save

from aigc_core._version import __version__
from aigc_core.errors import BackendError, DamagedFileError, NotFoundError, UsageError
from aigc_core.registry import blame
from aigc_core.specs import DataInfo
from aigc_core.weights.header import FORMAT, KEY, canonical, check_tensors, digest_of_parts, read_header

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Generator
    from aigc_core.registry import Model, Registry

PREFIX = "generator."
"""Fitted samplers and tokenizers travel in the same file under prefixes of their own (`sampler.NAME.`)."""


DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.int64: "I64",
    torch.float64: "F64", torch.complex64: "C64",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
"""safetensors' names of torch's types"""


@dataclass(frozen=True, slots=True)
class Weights:
    """A generator rebuilt from its file, with the record that the file holds."""

    generator: Generator[Any]
    model: Model
    record: Mapping[str, Any]
    path: Path
    device: torch.device

    @property
    def tensors_digest(self) -> str:
        return str(self.record["tensors_digest"])


def encode(
    generator: Generator[Any], model: Model, data: Mapping[str, Any], training: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a weights file, and the record inside it: the same for the same training.

    `data` names the data set (name, split, digest, count); `training` sums up how it was fitted.
    """
    tensors, shared = _unshared(generator.state_dict())
    record = {
        "format": FORMAT,
        "model": model.spec.id,
        "backend": {
            "name": model.backend.name,
            "distribution": model.backend.distribution,
            "version": model.backend.version,
            "api": model.backend.api,
        },
        "core": __version__,
        "license": model.spec.license,
        "config": generator.config.model_dump(mode="json"),
        "output": asdict(generator.output),
        "data": {**data, "info": asdict(generator.data)},
        "training": training,
        "parameters": sum(p.numel() for p in generator.parameters()),
        "shared": shared,
        "tensors_digest": _digest(tensors),
    }
    return save(tensors, metadata={KEY: canonical(record)}), record


def load(path: Path, registry: Registry, device: torch.device | str = "cpu") -> Weights:
    """Builds the generator of a weights file, in evaluation mode.

    The tensors are checked against their digest first. Raises NotFoundError, DamagedFileError, BackendError
    (with the command that installs a missing backend) or UsageError for a file that aigc did not write.
    """
    header = read_header(path)
    record = header.record
    if not record:
        raise UsageError(f"{path}: a safetensors file that aigc did not write; it does not say its model")
    model = _model(record, path, registry)
    check_tensors(header)
    with blame(model.backend, f"to build {model.spec.id}"):
        generator = _build(model, record, path)
    tensors = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in load_file(path, device="cpu").items()
        if name.startswith(PREFIX)
    }
    tensors.update({name: tensors[first] for name, first in record.get("shared", {}).items()})
    try:
        generator.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BackendError(
            f"{path}: written by {record['backend']['distribution']} {record['backend']['version']}, whose "
            f"tensors {model.spec.id} of {model.backend.distribution} {model.backend.version} can't take: {reason}"
        ) from None
    return Weights(
        generator.to(device).eval().requires_grad_(False), model, record, path, torch.device(device)
    )


def _model(record: Mapping[str, Any], path: Path, registry: Registry) -> Model:
    """The model of a record; where its backend is not installed, the error names the distribution."""
    try:
        name, backend = str(record["model"]), record["backend"]
        family, distribution = str(backend["name"]), str(backend["distribution"])
    except (KeyError, TypeError):
        raise DamagedFileError(f"{path}: its record names no model") from None
    try:
        return registry.load(name)
    except NotFoundError:
        if family in registry.backends:
            raise
        from aigc_core.plugins.recovery import how_to_install

        command = how_to_install(family, distribution, str(backend.get("version", "")))
        raise BackendError(
            f"{path} needs backend {family!r}, which is not installed; install it: {command}"
        ) from None


def _build(model: Model, record: Mapping[str, Any], path: Path) -> Generator[Any]:
    try:
        info = record["data"]["info"]
        data = DataInfo(info["modality"], tuple(info["shape"]), tuple(info["classes"]), info["details"])
        given = record["config"]
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{path}: its record is incomplete: {error}") from None
    from aigc_core.options import parse

    config = parse({"model": model.config}, given, f"{path}: model {model.spec.id!r}")["model"]
    # Its initialisation is thrown away: the caller's random state must not feel it.
    with torch.random.fork_rng():
        return model.generator(config, data)


def _unshared(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by their names in the file, and for those that are another one's twin (tied weights), its name."""
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in sorted(state.items()):
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in first:
            shared[name] = first[place]
        else:
            first[place] = name
            tensors[PREFIX + name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, shared


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return digest_of_parts(
        (name, DTYPES[t.dtype], tuple(t.shape), t.reshape(-1).view(torch.uint8).numpy().data)
        for name, t in sorted(tensors.items())
    )
