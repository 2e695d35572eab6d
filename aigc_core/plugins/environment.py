"""The Python environment that aigc runs in, and the installer that changes it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from aigc_core.errors import StorageError, UsageError
from aigc_core.plugins.entrypoints import normalise

_BOX = re.compile("[×╰─▶│├→]+")
"""What draws the frames of uv's error messages."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where backends are installed, and by what."""

    python: str
    prefix: Path
    site: Path
    """Where packages lie."""
    scripts: Path
    """Where commands lie."""
    kind: str
    """For a reader: `a venv`, `the environment of a uv tool`, ..."""
    installer: tuple[str, ...]
    """The command before `install`: `uv pip` or `python -m pip`."""
    managed: bool
    """Whether the operating system forbids changes (PEP 668)."""

    @property
    def is_uv(self) -> bool:
        return "uv" in (Path(self.installer[0]).stem, *self.installer[1:])

    @classmethod
    def detect(cls) -> Environment:
        """The environment of this process. Raises UsageError where there is no installer."""
        prefix = Path(sys.prefix)
        site = Path(sysconfig.get_path("purelib"))
        in_venv = sys.prefix != sys.base_prefix
        marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
        if (prefix / "uv-receipt.toml").is_file():
            kind = "the environment of a uv tool"
        elif (prefix / "pipx_metadata.json").is_file():
            kind = "the environment of a pipx application"
        elif (prefix / "conda-meta").is_dir():
            kind = "a conda environment"
        else:
            kind = "a venv" if in_venv else "the Python of this machine"
        scripts, managed = Path(sysconfig.get_path("scripts")), not in_venv and marker.is_file()
        return cls(sys.executable, prefix, site, scripts, kind, _installer(), managed)

    def check_changeable(self, break_system_packages: bool) -> None:
        """Raises UsageError for an externally managed Python, StorageError for one that can't be written."""
        advice = (
            "install aigc into an environment of its own: uv tool install aigc-core, pipx, or python -m venv"
        )
        if self.managed and not break_system_packages:
            raise UsageError(
                f"{self.prefix} is managed by the operating system; {advice} (or say --break-system-packages)"
            )
        if not os.access(self.site, os.W_OK):
            raise StorageError(f"cannot write {self.site}: permission denied; {advice}")

    def installed(self) -> dict[str, str]:
        """Version by normalised name of all distributions in this environment."""
        places = {str(self.site), sysconfig.get_path("platlib")}
        found = metadata.distributions(path=sorted(places))
        return {normalise(d.name): d.version for d in found if d.name}

    def install(self, *arguments: str) -> list[str]:
        """The installer's command for an install."""
        return self._command("install", *arguments)

    def uninstall(self, *names: str) -> list[str]:
        """The installer's command that removes distributions."""
        yes = () if self.is_uv else ("--yes",)
        return self._command("uninstall", *yes, *names)

    def _command(self, verb: str, *arguments: str) -> list[str]:
        place = ("--python", self.python) if self.is_uv else ()
        managed = ("--break-system-packages",) if self.managed else ()
        return [*self.installer, verb, *place, *managed, *arguments]


def _installer() -> tuple[str, ...]:
    """uv where there is one, else pip."""
    if uv := shutil.which("uv"):
        return (uv, "pip")
    if importlib.util.find_spec("uv"):
        return (sys.executable, "-m", "uv", "pip")
    if importlib.util.find_spec("pip"):
        return (sys.executable, "-m", "pip")
    raise UsageError(f"neither uv nor pip is there to install by; {sys.executable} -m ensurepip brings pip")


def run(command: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs an installer, its output captured."""
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=timeout, env=_environment()
    )


def _environment() -> Mapping[str, str]:
    """Without what would make an installer look elsewhere, or talk in colours."""
    left_out = ("VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "NO_COLOR": "1", "PIP_NO_COLOR": "1", "PIP_NO_INPUT": "1"}


def reason_of(done: subprocess.CompletedProcess[str]) -> str:
    """Why an installer failed, in one line."""
    text = _BOX.sub(" ", done.stderr.strip() or done.stdout.strip())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    skip = (
        "Using ",
        "Resolved",
        "Building",
        "warning:",
        "WARNING:",
        "[notice]",
        "Looking in",
        "hint:",
        "Collecting",
    )
    told = " ".join(line for line in lines if line and not line.startswith(skip))
    for word in ("error: ", "ERROR: ", "cause: ", "No solution found when resolving dependencies: "):
        told = told.replace(word, "")
    return (told if len(told) <= 500 else f"{told[:240]} ... {told[-250:]}") or f"exit code {done.returncode}"
