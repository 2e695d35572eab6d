"""Reading a backend's sources without importing them."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator


def locate(module: str) -> tuple[str | None, list[str] | None]:
    """The file of a module, and the folders of its sub-modules if it is a package; imports nothing.

    Raises ModuleNotFoundError. The file is None for a namespace package.
    """
    path: list[str] | None = None
    file: str | None = None
    parts = module.split(".")
    for number in range(len(parts)):
        name = ".".join(parts[: number + 1])
        if number and path is None:
            raise ModuleNotFoundError(f"{'.'.join(parts[:number])!r} is no package, so there is no {name!r}")
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path) if find else None
            if spec is not None:
                break
        else:
            raise ModuleNotFoundError(f"no module named {name!r}")
        file = spec.origin if spec.has_location else None
        folders = spec.submodule_search_locations
        path = None if folders is None else list(folders)
    return file, path


def newest_source(module: str) -> int:
    """When the Python files of a module's top-level package were last changed, in ns; 0 if unknown."""
    try:
        file, folders = locate(module.partition(".")[0])
    except (ImportError, OSError, ValueError):
        return 0
    newest = 0
    for path in _python_files(file, folders or []):
        try:
            newest = max(newest, os.stat(path).st_mtime_ns)
        except OSError:
            continue
    return newest


def _python_files(file: str | None, folders: list[str]) -> Iterator[str]:
    if file:
        yield file
    for folder in folders:
        for root, below, names in os.walk(folder):
            below[:] = [name for name in below if name != "__pycache__"]
            yield from (os.path.join(root, name) for name in names if name.endswith(".py"))


def missing_name(path: str) -> str | None:
    """Why `package.module:attribute` cannot be there, or None if it is, or may be.

    The module's source is searched for a definition of the name at its top level; modules without source,
    with a `__getattr__` or a star import may hold any name. Raises SyntaxError where the source has one.
    """
    module, colon, attribute = path.partition(":")
    if not colon or not module or not attribute:
        return f"{path!r} is not of the form package.module:Class"
    try:
        file, _ = locate(module)
    except (ImportError, ValueError) as error:
        return f"{path}: {error}"
    if file is None or not file.endswith(".py"):
        return None
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read(), file)
    except SyntaxError:
        raise
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    names = set(_defined(tree.body))
    first = attribute.partition(".")[0]
    if first in names or "*" in names or "__getattr__" in names:
        return None
    from aigc_core.errors import did_you_mean

    return f"{path}: {file} defines no {first!r}{did_you_mean(first, sorted(names))}"


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """The names that statements define at their level, and at that of `if`, `try` and `with` blocks."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
        for block in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _defined(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from _defined(handler.body)
