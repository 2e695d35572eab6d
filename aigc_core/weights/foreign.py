"""Weights in the form of another library: taken into a file of ours, and written from one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from aigc_core.errors import BackendError, DataError, NotFoundError, UsageError
from aigc_core.options import parse
from aigc_core.registry import blame
from aigc_core.weights import file
from aigc_core.weights.file import Weights
from aigc_core.weights.header import PIECE, canonical, opened
from aigc_core.weights.placing import placed
from aigc_core.weights.reading import Uninitialised, fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from aigc_core.interfaces import Foreign, Format, Generator
    from aigc_core.registry import Model, Registry

UNKNOWN: Final = "unknown"
"""The licence of weights that come without one."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A foreign folder as a weights file of ours."""

    content: bytes
    record: Mapping[str, Any]
    remarks: tuple[str, ...]
    """What the user is to be told."""


def recognised(folder: Path, registry: Registry) -> str:
    """The name of the form that a folder is of. Raises NotFoundError for one of none, UsageError for one of several."""
    found = []
    for name in registry.formats:
        form = registry.format(name)
        with blame(registry.format_backends[name], f"to look at {folder}"):
            if form.recognises(folder):
                found.append(name)
    if len(found) > 1:
        raise UsageError(f"{folder} may be of the form {' or '.join(found)}: say which by --format")
    if not found:
        known = ", ".join(sorted(registry.formats)) or "none; a backend brings them"
        raise NotFoundError(
            f"{folder} has no manifest.json: not a folder that `aigc weights export` wrote, and of no other form that "
            f"is known (these are: {known}); a single weights file is taken too"
        )
    return found[0]


def read(folder: Path, registry: Registry, name: str | None = None) -> Taken:
    """A foreign folder, read, checked and built; `name` is its form, by default the one that knows it.

    Raises NotFoundError, UsageError, DataError for what can't be honoured, DamagedFileError, BackendError.
    """
    form_name = recognised(folder, registry) if name is None else name
    form: Format = registry.format(form_name)
    with blame(registry.format_backends[form_name], f"to read {folder}"):
        foreign = form.read(folder)
    model = registry.load(foreign.model)
    generator = build(foreign, model, folder)
    record = {"name": foreign.origin, "split": "", "digest": _digest(folder, foreign.files), "count": 0}
    training = {
        "steps": 0, "seed": 0, "options": {}, "metrics": {}, "parents": [], "imported": form_name,
    }  # fmt: skip
    content, whole = file.encode(generator, model, record, training, license=foreign.license or UNKNOWN)
    return Taken(content, whole, foreign.remarks)


def build(foreign: Foreign, model: Model, folder: Path) -> Generator[Any]:
    """The generator of what was read, with its tensors. Raises DataError where one is missing, too many or ill-shaped,
    UsageError for a config that the model does not take, BackendError."""
    config = parse({"model": model.config}, foreign.config, f"{folder}: model {model.spec.id!r}")["model"]
    # The caller's random state must not feel it.
    with blame(model.backend, f"to build {model.spec.id}"), torch.random.fork_rng(), Uninitialised():
        generator = model.generator(config, foreign.info)
    own = generator.state_dict()
    _check_tensors(foreign.tensors, own, f"{folder}: does not fit {model.spec.id}")
    generator.load_state_dict(
        {n: fit(t, own[n]) for n, t in foreign.tensors.items()}, strict=False, assign=True
    )
    return generator.eval().requires_grad_(False)


def write(weights: Weights, folder: Path, registry: Registry, name: str) -> None:
    """Writes weights to a new or empty folder, in the form of that name; it appears when all of it is there.

    Raises NotFoundError for an unknown form, UsageError for a folder that is not empty and for what the form can't
    hold, StorageError, BackendError.
    """
    form: Format = registry.format(name)
    spec, model = registry.formats[name], weights.model.spec.id
    if model not in spec.models:
        raise UsageError(
            f"{weights.name or weights.path} is of {model}, which format {name!r} can't hold; it holds: "
            f"{', '.join(spec.models)}"
        )
    with placed(folder) as temporary, blame(registry.format_backends[name], f"to write format {name!r}"):
        form.write(weights.generator, weights.record, temporary)


def _check_tensors(given: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    twins = {_place(own[name]) for name in given if name in own}
    missing = [name for name in own if name not in given and _place(own[name]) not in twins]
    if missing:
        raise DataError(f"{what}: {_some(missing)} missing")
    if strange := [name for name in given if name not in own]:
        raise DataError(f"{what}: it has no {_some(strange, 'or')}")
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise DataError(f"{what}: {name} is {_form(tensor)}, not {_form(own[name])}")
        if tensor.dtype != own[name].dtype:
            raise BackendError(f"{what}: {name} was read as {tensor.dtype}, not {own[name].dtype}")


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Tied tensors have the same one."""
    return tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride()


def _some(names: list[str], word: str = "and") -> str:
    more = f" {word} {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(name[:60] for name in names[:3])}{more}" + (
        "" if word == "or" else " are" if len(names) > 1 else " is"
    )


def _form(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _digest(folder: Path, names: tuple[str, ...]) -> str:
    """Over the names and bytes of the files that were read."""
    whole = hashlib.sha256()
    for name in sorted(names):
        hash = hashlib.sha256()
        with opened(folder / name) as source:
            while piece := source.read(PIECE):
                hash.update(piece)
        whole.update(canonical([name, hash.hexdigest()]).encode())
    return f"sha256:{whole.hexdigest()}"
