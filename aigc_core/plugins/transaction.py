"""Changes to an environment that are made whole or not at all, even if they are killed half-way.

Before an installer is let loose, a journal in `$AIGC_HOME/plugins/` says which distributions it will add
and change, which files it will write, and keeps what will be changed (hard links, where they can be). An
error puts the environment back; after a kill, the next `aigc plugins` command does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors, write_atomically
from aigc_core.home import home
from aigc_core.plugins.entrypoints import normalise
from aigc_core.plugins.environment import Environment


class Transaction:
    """The one change that may be under way in an environment."""

    def __init__(self, environment: Environment) -> None:
        key = f"{zlib.crc32(str(environment.prefix).encode()):08x}"
        self._site: Final = environment.site
        self.folder: Final = home() / "plugins" / f"change-{key}"
        """Holds the journal, the kept files, and what is staged; gone when nothing is under way."""
        self._journal: Final = self.folder / "journal.json"
        self._kept: Final = self.folder / "kept"

    @contextlib.contextmanager
    def alone(self) -> Iterator[list[str]]:
        """Within the block no other process changes this environment.

        Yields the distributions of a change that was killed and has now been undone. Raises UsageError if
        another process is at work.
        """
        from filelock import FileLock, Timeout

        lock = self.folder.with_suffix(".lock")
        with storage_errors(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                undone = self.roll_back()
                try:
                    yield undone
                finally:
                    shutil.rmtree(self.folder, ignore_errors=True)
        except Timeout:
            raise UsageError(
                "another `aigc plugins` command is changing this environment; wait for it to end"
            ) from None

    def begin(self, files: Iterable[str], changed: Iterable[str]) -> None:
        """Writes the journal: `files` (relative to the site folder) will be written, the distributions
        `changed` replaced or removed. Raises StorageError."""
        kept: list[str] = []
        shutil.rmtree(self._kept, ignore_errors=True)
        with storage_errors(self._kept):
            for name in changed:
                for file in files_of(name, self._site):
                    source = self._site / file
                    if source.is_file():
                        _link(source, self._kept / str(len(kept)))
                        kept.append(file)
        content = {"files": sorted(set(files)), "kept": kept, "changed": sorted(changed)}
        with write_atomically(self._journal) as journal:
            journal.write(json.dumps(content).encode())

    def commit(self) -> None:
        """The change is good."""
        self._journal.unlink(missing_ok=True)
        shutil.rmtree(self._kept, ignore_errors=True)

    def pending(self) -> bool:
        """Whether a change was begun and not ended."""
        return self._journal.is_file()

    def roll_back(self) -> list[str]:
        """Puts the environment back as it was before `begin`; the names of what was undone."""
        try:
            content: dict[str, Any] = json.loads(self._journal.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return []
        kept = {file: self._kept / str(number) for number, file in enumerate(content["kept"])}
        with storage_errors(self._site):
            folders: set[Path] = set()
            for file in content["files"]:
                target = Path(os.path.normpath(self._site / file))
                folders.update(self._inside(target))
                if file not in kept:
                    target.unlink(missing_ok=True)
            for name in content["changed"]:  # a half-made new version of what is put back
                for info in _infos(name, self._site):
                    shutil.rmtree(info, ignore_errors=True)
            for file, copy in kept.items():
                target = self._site / file
                target.unlink(missing_ok=True)
                _link(copy, target)
            for folder in sorted(folders, key=lambda f: len(f.parts), reverse=True):
                shutil.rmtree(folder / "__pycache__", ignore_errors=True)
                with contextlib.suppress(OSError):
                    folder.rmdir()  # only if it is empty
        self.commit()
        return sorted({name_of(file) for file in content["files"]} - {""}) or content["changed"]

    def _inside(self, target: Path) -> Iterator[Path]:
        """The folders between the site folder and a file."""
        folder = target.parent
        while folder != self._site and self._site in folder.parents:
            yield folder
            folder = folder.parent


def name_of(file: str) -> str:
    """The distribution whose metadata folder a file lies in, or an empty string."""
    folder = file.partition("/")[0]
    return (
        normalise(folder.removesuffix(".dist-info").partition("-")[0])
        if folder.endswith(".dist-info")
        else ""
    )


def files_of(name: str, site: Path) -> list[str]:
    """The files of an installed distribution, relative to the site folder; its whole metadata folder among
    them."""
    found: set[str] = set()
    for distribution in metadata.distributions(path=[str(site)]):
        if distribution.name and normalise(distribution.name) == name:
            found.update(str(file) for file in distribution.files or [])
    for info in _infos(name, site):
        found.update(str(path.relative_to(site)) for path in info.rglob("*") if path.is_file())
    return sorted(found)


def _infos(name: str, site: Path) -> list[Path]:
    return [path for path in site.glob("*.dist-info") if name_of(f"{path.name}/x") == name]


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system has them, else a copy: installers replace files, never write to them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
