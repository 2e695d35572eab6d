"""What an install would change, as the installers report it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aigc_core.plugins.entrypoints import normalise
from aigc_core.plugins.targets import Target

PROTECTED: Final = ("aigc-core", "torch")
"""What a backend must not change unless the user says yes."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an install does to one distribution."""

    name: str
    before: str | None
    after: str | None
    pin: str
    """What installs just that: `name==version`, or as it was asked for."""

    def __str__(self) -> str:
        return f"{self.name} {' -> '.join(v for v in (self.before, self.after or 'removed') if v)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an install would do."""

    targets: tuple[Target, ...]
    changes: tuple[Change, ...]
    command: tuple[str, ...]
    """The very command that brings it into the environment."""

    @property
    def risky(self) -> list[Change]:
        """Changes to what other backends stand on."""
        return [change for change in self.changes if change.name in PROTECTED]


def changes_of_uv(text: str, before: Mapping[str, str]) -> list[Change]:
    """The lines ` - name==version` and ` + name==version` or ` + name @ URL` of a dry run."""
    after: dict[str, tuple[str, str]] = {}
    for sign, name, rest in re.findall(r"^ ([+~-]) ([\w.-]+)(.*)$", text, re.MULTILINE):
        if sign != "-":
            version = rest.partition("==")[2].split(" ")[0]
            local = "built anew" if normalise(name) in before else "new"
            after[normalise(name)] = (version or local, f"{name}=={version}" if version else f"{name}{rest}")
        else:
            after.setdefault(normalise(name), ("", ""))
    return [Change(n, before.get(n), version or None, pin) for n, (version, pin) in sorted(after.items())]


def changes_of_pip(report: Mapping[str, Any], before: Mapping[str, str]) -> list[Change]:
    """The installs of pip's report (`--report`, version 1)."""
    changes = []
    for item in report["install"]:
        name, version = normalise(item["metadata"]["name"]), item["metadata"]["version"]
        changes.append(Change(name, before.get(name), version, f"{name}=={version}"))
    return sorted(changes, key=lambda change: change.name)
