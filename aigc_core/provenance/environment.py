"""What a sample's last bits depend on beside its request: code, versions, the machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

CODE: Final = (".py", ".so", ".pyd", ".dylib")
"""The endings of what a package runs."""


@functools.cache
def code_digest(package: str) -> str | None:
    """`sha256:...` over the source files of an installed package or one-file module: wheel or editable, the
    same code is the same digest. None where it does not lie in files."""
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    files: dict[str, str] = {}
    if spec.submodule_search_locations is not None:
        for folder in spec.submodule_search_locations:
            files.update(_sources(folder, ""))
    elif spec.origin:
        files[os.path.basename(spec.origin)] = spec.origin
    hash = hashlib.sha256()
    try:
        for name, path in sorted(files.items()):
            with open(path, "rb") as file:
                content = file.read()
            hash.update(f"{name}\0{len(content)}\0".encode())
            hash.update(content)
    except OSError:  # in an archive
        return None
    return f"sha256:{hash.hexdigest()}" if files else None


def _sources(folder: str, below: str) -> Iterator[tuple[str, str]]:
    """Names relative to the package, with slashes, and paths."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _sources(entry.path, f"{below}{entry.name}/")
        elif entry.name.endswith(CODE):
            yield f"{below}{entry.name}", entry.path


def machine(device: torch.device) -> dict[str, Any]:
    """The device and the versions that compute on it."""
    import numpy as np
    import torch

    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


ENVIRONMENT: Final = (
    "core", "backend", "code", "dtype", "device", "hardware", "machine", "threads", "torch", "python", "numpy",
)  # fmt: skip
"""The fields of a record that the same samples need not share."""


def changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what two environments differ, in words: `torch 2.4.0 -> 2.5.0`."""
    found = []
    for name in ENVIRONMENT:
        a, b = there.get(name), here.get(name)
        if name not in there or a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += [f"{name} {k}: {_short(a.get(k))} -> {_short(b.get(k))}" for k in b if a.get(k) != b[k]]
        else:
            found.append(f"{name} {_short(a)} -> {_short(b)}")
    return found


def _short(value: Any) -> str:
    text = "unknown" if value is None else str(value)
    return text[: len("sha256:") + 12] if text.startswith("sha256:") else text
