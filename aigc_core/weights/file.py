"""Writing a generator to a self-describing file, and building it again from the file alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from aigc_core._version import __version__
from aigc_core.errors import BackendError, DamagedFileError, NotFoundError, UsageError
from aigc_core.registry import blame
from aigc_core.specs import DataInfo
from aigc_core.weights import outline
from aigc_core.weights.header import FORMAT, KEY, canonical, digest_of_parts
from aigc_core.weights.reading import DTYPES, Uninitialised, fit, reading
from aigc_core.weights.version import Found

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Generator
    from aigc_core.registry import Model, Registry

PREFIX = "generator."
"""Of the generator's tensors; `data.` is that of the assets of its data, `adapter.` of what is added to a base's tensors,
`sampler.NAME.` of what a sampler was fitted to."""
ASSET, ADAPTER, SAMPLER = "data.", "adapter.", "sampler."

Fitted = Mapping[str, Mapping[str, "Tensor"]]
"""What samplers draw with beside the generator, by sampler and then by name."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A generator rebuilt from its file, with the record that the file holds."""

    generator: Generator[Any]
    model: Model
    record: Mapping[str, Any]
    path: Path
    device: torch.device
    name: str | None = None
    """`digits@3`, where they come from the store."""
    manifest: str | None = None
    """The digest of the manifest that they belong to, where they come from the store."""
    verified: bool = True
    """Whether their bytes were checked."""
    fitted: Fitted = field(default_factory=dict)
    """What samplers draw with beside the generator, on its device."""

    @property
    def tensors_digest(self) -> str:
        return str(self.record["tensors_digest"])


def encode(
    generator: Generator[Any],
    model: Model,
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    adapters: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    base: str | None = None,
    license: str | None = None,
    parameters: int | None = None,
    fitted: Fitted | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a weights file, and the record inside it: the same for the same training.

    `data` names the data set (name, split, digest, count); `training` sums up how it was fitted. With `adapters`
    (see `Trainer.adapters`) the file holds those alone, to be added to the weights whose tensors digest is `base`.
    `license` is by default the model's. `fitted`: see `Trainer.fitted`.
    """
    if adapters is None:
        tensors, shared = _unshared(generator.state_dict())
        tensors.update({ASSET + name: _bytes(content) for name, content in generator.data.assets.items()})
    else:
        shared = {}
        tensors = {
            f"{ADAPTER}{name}.{part}": tensor.detach().cpu().contiguous()
            for name, pair in adapters.items()
            for part, tensor in zip(("down", "up"), pair, strict=True)
        }
    tensors.update(
        (f"{SAMPLER}{sampler}.{name}", _copied(tensor))
        for sampler, parts in (fitted or {}).items()
        for name, tensor in parts.items()
    )
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
        "license": license or model.spec.license,
        "config": generator.config.model_dump(mode="json"),
        "output": asdict(generator.output),
        "data": {**data, "info": {k: v for k, v in asdict(generator.data).items() if k != "assets"}},
        "training": training,
        "parameters": parameters or sum(p.numel() for p in generator.parameters()),
        "shared": shared,
        "tensors_digest": _digest(tensors),
        **({} if adapters is None else {"base": base}),
    }
    return save(tensors, metadata={KEY: canonical(record)}), record


def load(
    source: Found | Path, registry: Registry, device: torch.device | str = "cpu", *, verify: bool = True
) -> Weights:
    """Builds the generator of a weights file, in evaluation mode.

    The bytes are checked as they are read: of the store's, all; of others, the tensors against their digest.
    Raises NotFoundError, DamagedFileError, BackendError (with the command that installs a missing backend) or
    UsageError for a file that aigc did not write.
    """
    found = source if isinstance(source, Found) else Found(source)
    with found.version.store.using() if found.version else nullcontext(), reading(found.path) as reader:
        record = reader.header.record
        if not record:
            raise UsageError(
                f"{found.path}: a safetensors file that aigc did not write; it does not say its model"
            )
        outline.check(record, found.path)
        model = _model(record, found.path, registry)
        read = reader.tensors(found.digest, verify=verify)
    if record.get("base"):
        generator = _adapted(read, record, found.path, registry, verify)
    else:
        with blame(model.backend, f"to build {model.spec.id}"):
            generator = _build(model, record, found.path, _assets(read))
        _fill(generator, read, model, record, found.path)
    return Weights(
        generator.to(device).eval().requires_grad_(False), model, record, found.path, torch.device(device),
        str(found.version) if found.version else None, found.manifest, verify, _fitted(read, device),
    )  # fmt: skip


def _assets(read: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {
        name.removeprefix(ASSET): t.numpy().tobytes() for name, t in read.items() if name.startswith(ASSET)
    }


def _fitted(read: Mapping[str, Tensor], device: torch.device | str) -> Fitted:
    found: dict[str, dict[str, Tensor]] = {}
    for whole, tensor in read.items():
        if whole.startswith(SAMPLER):
            sampler, _, name = whole.removeprefix(SAMPLER).partition(".")
            found.setdefault(sampler, {})[name] = tensor.to(device)
    return found


def _bytes(content: bytes) -> Tensor:
    return (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if content
        else torch.empty(0, dtype=torch.uint8)
    )


def _adapted(
    read: Mapping[str, Tensor], record: Mapping[str, Any], path: Path, registry: Registry, verify: bool
) -> Generator[Any]:
    """The generator of the base with the adapters added. Raises NotFoundError where the base is not in the store."""
    from aigc_core.weights.store import Store

    base = str(record["base"])
    holder = next(iter(Store().holders(base)), None)
    if holder is None:
        raise NotFoundError(
            f"{path} holds adapters alone; they are added to weights {base}, which are not in the store: pull or "
            "import those"
        )
    generator = load(Found(holder.path, holder), registry, verify=verify).generator
    state = generator.state_dict()
    added = (name.removeprefix(ADAPTER) for name in read if name.startswith(ADAPTER))
    for name in sorted({name.rpartition(".")[0] for name in added}):
        down, up = (read.get(f"{ADAPTER}{name}.{part}") for part in ("down", "up"))
        there = state.get(name)
        if there is None or down is None or up is None or there.shape != (len(up), down.shape[-1]):
            raise DamagedFileError(f"{path}: its adapter {name!r} fits no tensor of its base {holder}")
        there += up.to(there.dtype) @ down.to(there.dtype)
    return generator


def _fill(
    generator: Generator[Any], read: Mapping[str, Tensor], model: Model, record: Mapping[str, Any], path: Path
) -> None:
    """Gives the tensors to the generator. Raises BackendError if they don't fit."""
    tensors = {name.removeprefix(PREFIX): t for name, t in read.items() if name.startswith(PREFIX)}
    tensors.update({name: tensors[first] for name, first in record.get("shared", {}).items()})
    own = generator.state_dict()
    try:
        generator.load_state_dict({n: fit(t, own.get(n, t)) for n, t in tensors.items()}, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BackendError(
            f"{path}: written by {record['backend']['distribution']} {record['backend']['version']}, whose "
            f"tensors {model.spec.id} of {model.backend.distribution} {model.backend.version} can't take: {reason}"
        ) from None


def _model(record: Mapping[str, Any], path: Path, registry: Registry) -> Model:
    """The model of a record; where its backend is not installed, the error names the distribution."""
    name, backend = record["model"], record["backend"]
    family, distribution = backend["name"], backend["distribution"]
    try:
        return registry.load(name)
    except NotFoundError:
        if family in registry.backends:
            raise
        from aigc_core.plugins.recovery import how_to_install

        command = how_to_install(family, distribution, backend["version"])
        raise BackendError(
            f"{path} needs backend {family!r}, which is not installed; install it: {command}"
        ) from None


def _build(
    model: Model, record: Mapping[str, Any], path: Path, assets: Mapping[str, bytes]
) -> Generator[Any]:
    try:
        info = record["data"]["info"]
        data = DataInfo(
            info["modality"], tuple(info["shape"]), tuple(info["classes"]), info["details"], assets
        )
        given = record["config"]
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{path}: its record is incomplete: {error}") from None
    from aigc_core.options import parse

    config = parse({"model": model.config}, given, f"{path}: model {model.spec.id!r}")["model"]
    # The caller's random state must not feel it.
    with torch.random.fork_rng(), Uninitialised():
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
            tensors[PREFIX + name] = _copied(tensor)
    return tensors, shared


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return digest_of_parts(
        (name, DTYPES[t.dtype], tuple(t.shape), t.reshape(-1).view(torch.uint8).numpy().data)
        for name, t in sorted(tensors.items())
    )
