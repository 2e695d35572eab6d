"""What the tests share beside fixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real data and the judge, where they lie beside the checkout; what needs them is skipped without."""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, f"not one line: {self.err}"
        assert lines[0].startswith("aigc: ")
        return lines[0]


Run = Callable[..., Result]


@dataclass
class Site:
    """A folder on `sys.path` into which distributions are written as an installer would."""

    path: Path

    def add(
        self,
        name: str,
        code: str,
        *,
        group: str = "aigc.v1",
        distribution: str | None = None,
        version: str = "1.0",
    ) -> str:
        """A backend `name` whose registration module holds `code`; returns its module's name."""
        distribution = distribution or f"aigc-{name}"
        module = f"{distribution.replace('-', '_')}_backend"
        (self.path / f"{module}.py").write_text(code)
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata + "Requires-Dist: aigc-core<0.2,>=0.1\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        return module


GOOD_BACKEND = """
from aigc_core import DataNeeds, ModelSpec, hookimpl

@hookimpl
def aigc_register_models(registry):
    for name in {names!r}:
        registry.add(ModelSpec(
            id="{family}/" + name, summary="a model", modality="image", license="MIT",
            generator="aigc_core.interfaces:Generator", config="aigc_core.options:Options", data=DataNeeds(modality="image"),
        ))
"""


def good_backend(family: str, *names: str) -> str:
    """The registration module of a backend that works."""
    return GOOD_BACKEND.format(family=family, names=names)


def write_pictures(
    folder: Path, count: int, size: tuple[int, int] = (12, 10), mode: str = "RGB"
) -> list[Path]:
    """Real picture files of random pixels; size is (height, width)."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        shape = (*size, 3) if mode == "RGB" else size
        path = folder / f"{i:03d}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(path)
        paths.append(path)
    return paths
