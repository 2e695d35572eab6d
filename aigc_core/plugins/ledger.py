"""What the user installed, by environment: `$AIGC_HOME/plugins/installed.json`.

An upgrade of the tool that aigc is part of may build its environment anew, without the backends; from
this `aigc plugins restore` brings them back.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aigc_core.errors import DamagedFileError
from aigc_core.files import write_atomically
from aigc_core.home import home


@dataclass(frozen=True, slots=True)
class Installed:
    """One distribution that was installed by `aigc plugins install`."""

    distribution: str
    version: str
    backends: tuple[str, ...]
    requirement: str
    """What the installer was given: brings it back."""
    source: str
    """path, wheel, git, index"""
    editable: bool = False
    removed: bool = False
    """Whether the user removed it since: how it came is still known, but it is not restored."""


class Ledger:
    """The records of one environment."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = str(prefix)
        self.file = home() / "plugins" / "installed.json"

    def entries(self) -> dict[str, Installed]:
        """By distribution. Raises DamagedFileError."""
        found = {}
        for name, raw in self._all().get(self._prefix, {}).items():
            with contextlib.suppress(TypeError, KeyError):
                found[name] = Installed(**{**raw, "backends": tuple(raw["backends"])})
        return found

    def add(self, *entries: Installed) -> None:
        """Raises DamagedFileError, StorageError."""
        self._write({**self.entries(), **{entry.distribution: entry for entry in entries}})

    def remove(self, distribution: str) -> None:
        """Notes that the user removed it. Raises DamagedFileError, StorageError."""
        entries = self.entries()
        if distribution in entries:
            self._write({**entries, distribution: replace(entries[distribution], removed=True)})

    def _all(self) -> dict[str, dict[str, Any]]:
        try:
            raw = json.loads(self.file.read_text(encoding="utf-8"))
            environments = raw["environments"]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(f"{self.file}: cannot be read ({error}); move it away") from None
        if not isinstance(environments, dict):
            raise DamagedFileError(f"{self.file}: cannot be read; move it away")
        return environments

    def _write(self, entries: Mapping[str, Installed]) -> None:
        environments = self._all()
        environments[self._prefix] = {name: asdict(entry) for name, entry in sorted(entries.items())}
        text = json.dumps({"format": 1, "environments": environments}, indent=2)
        with write_atomically(self.file) as file:
            file.write(text.encode() + b"\n")
