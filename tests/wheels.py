"""Real wheels, and real environments to install them into."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers import Result

ROOT = Path(__file__).resolve().parents[1]
UV = shutil.which("uv")


def build(project: Path, out: Path) -> Path:
    """The wheel of a project folder."""
    before = set(out.glob("*.whl"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(project)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = set(out.glob("*.whl")) - before
    return made


def wheel(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    *,
    group: str = "aigc.v1",
    entry: str | None = None,
    requires: tuple[str, ...] = ("aigc-core>=0.1,<0.2",),
    version: str = "1.0",
    family: str | None = None,
    scripts: str = "",
) -> Path:
    """A wheel written by hand: a distribution `aigc-NAME` whose backend is NAME, or `family`."""
    module = f"aigc_{name.replace('-', '_')}"
    info = f"{module}-{version}.dist-info"
    contents = dict(files)
    metadata = f"Metadata-Version: 2.1\nName: aigc-{name}\nVersion: {version}\n"
    contents[f"{info}/METADATA"] = metadata + "".join(f"Requires-Dist: {r}\n" for r in requires)
    contents[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    if group:
        contents[f"{info}/entry_points.txt"] = f"[{group}]\n{family or name} = {entry or module}\n{scripts}"
    lines = []
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text.encode())}\n")
    contents[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    path = folder / f"{module}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in contents.items():
            archive.writestr(file, text)
    return path


@dataclass(frozen=True)
class Environment:
    """A venv of its own with aigc in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        return next((self.folder / "lib").glob("python3*")) / "site-packages"

    @property
    def home(self) -> Path:
        return self.folder / "aigc home"

    def variables(self, **more: str) -> dict[str, str]:
        """Without what would lead to another environment or another home."""
        left_out = ("PYTHONPATH", "VIRTUAL_ENV", "UV_RUN_RECURSION_DEPTH", "AIGC_DATA")
        kept = {k: v for k, v in os.environ.items() if k not in left_out}
        return {**kept, "AIGC_HOME": str(self.home), "UV_LINK_MODE": "hardlink", **more}

    def aigc(self, *arguments: object, cwd: Path | None = None, timeout: float = 300, **more: str) -> Result:
        """Runs `aigc` of this environment."""
        done = subprocess.run(
            [str(self.folder / "bin" / "aigc"), *map(str, arguments)], cwd=cwd or self.folder,
            env=self.variables(**more), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def uv(self, *arguments: object) -> str:
        """Runs `uv pip` on this environment, around aigc; its standard output."""
        verb, *rest = map(str, arguments)
        command = [str(UV), "pip", verb, "--python", str(self.python), *rest]
        done = subprocess.run(command, env=self.variables(), capture_output=True, text=True, check=True)
        return done.stdout

    def freeze(self) -> str:
        return self.uv("freeze")

    def tree(self) -> dict[str, int]:
        """Size by path of all that is installed, but for what Python compiles."""
        found = {}
        for root, folders, names in os.walk(self.site):
            folders[:] = [
                f for f in folders if f not in ("__pycache__", "torch", "nvidia", "triton", "scipy", "sympy")
            ]
            for name in names:
                path = os.path.join(root, name)
                found[os.path.relpath(path, self.site)] = os.path.getsize(path)
        return found


def environment(folder: Path, *wheels: Path) -> Environment:
    """A new venv with wheels and all that they need, in a path with a space."""
    new = Environment(folder)
    subprocess.run([str(UV), "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    new.uv("install", "--quiet", "--constraint", ROOT / "constraints.txt", *wheels)
    return new


@contextmanager
def running(environment: Environment, *arguments: object, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`aigc` of an environment, running in a process group of its own."""
    command = [str(environment.folder / "bin" / "aigc"), *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=environment.folder, env=environment.variables(**more), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.wait(60)
