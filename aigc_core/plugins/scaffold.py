"""`aigc plugins new`: a complete backend, written from a template that is one itself."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors, umask

TEMPLATES: Final = Path(__file__).parent / "templates"


def write(name: str, family: str, folder: Path) -> list[Path]:
    """Writes a backend `name` whose model makes `image`, `text` or `audio`; all its files or none.

    Returns them, relative to the folder. Raises UsageError for a name that can't be one, or a folder that holds
    something; StorageError.
    """
    _check_name(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; name another folder: --out DIR")
    written = []
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for root in (TEMPLATES / "common", TEMPLATES / family):
                for source in sorted(root.rglob("*")):
                    if source.is_file() and source.suffix != ".pyc":
                        target = Path(
                            rename(str(source.relative_to(root)), name).replace("github", ".github")
                        )
                        (draft / target).parent.mkdir(parents=True, exist_ok=True)
                        text = rename(source.read_text(encoding="utf-8"), name)
                        (draft / target).write_text(text, encoding="utf-8")
                        written.append(target)
            draft.chmod(0o777 & ~umask())
            if folder.is_dir():
                folder.rmdir()
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return sorted(written)


def rename(text: str, name: str) -> str:
    """A template's text with the backend's name in place of its own."""
    module = name.replace("-", "_")
    camel = "".join(part.capitalize() for part in re.split("[-_]", name))
    for old, new in (
        ("aigc_template", f"aigc_{module}"),
        ("test_template", f"test_{module}"),
        ("Template", camel),
        ("template", name),
    ):
        text = text.replace(old, new)
    return text


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) or len(name) > 40:
        raise UsageError(f"{name!r} can't name a backend: use lower-case letters, digits and single dashes")
    from aigc_core.plugins.catalogue import Catalogue
    from aigc_core.plugins.entrypoints import entry_points

    if keyword.iskeyword(name) or name == "core":
        raise UsageError(f"{name!r} means something else already; choose another name")
    taken = {p.name: p.distribution for p in entry_points()}
    taken |= {entry.name: entry.distribution for entry in Catalogue.load().entries.values()}
    if name in taken:
        raise UsageError(f"there is a backend {name!r} already ({taken[name]}); choose another name")
