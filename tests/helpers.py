"""What the tests share beside fixtures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigc_core.registry import default

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


def data_of(model_id: str) -> str:
    """The tiny real data set of a registered model's modality."""
    from aigc_core.testing.material import SETS  # it imports torch, and processes that race import this file

    return SETS[default().models[model_id].modality]


SMALL: dict[str, dict[str, Any]] = {
    "image": {},
    "text": {"layers": 1, "width": 16, "heads": 2, "context": 16},
    "audio": {
        "layers": 1, "width": 8, "rounds": 2, "embedding": 16, "speaker": 4, "prenet": 16, "decoder": 16, "attention": 8,
        "postnet": 8, "latent": 4, "critic_width": 2,
    },
}  # fmt: skip


SMALL_FAMILY: dict[str, dict[str, Any]] = {"diffusion": {"layers": 1, "width": 16, "heads": 2}}


def small_options(model_id: str) -> dict[str, Any]:
    """Options that make a model small, so that tests are short; none for those that are small anyway."""
    model = default().load(model_id)
    known = {*model.config.model_fields, *({"critic_width"} & {*model.trainer_config.model_fields})}
    small = SMALL_FAMILY.get(model_id.partition("/")[0], SMALL[model.spec.modality])
    return {k: v for k, v in small.items() if k in known}


def quick_options(model_id: str, sampler: str | None = None) -> dict[str, Any]:
    """Options of a sampler that make short texts, and sounds and pictures with little work, so that tests are short."""
    model = default().load(model_id)
    fields = model.sampler_config(model.sampler_spec(sampler)[0]).model_fields
    quick = {"max_tokens": 24, "seconds": 0.2, "iterations": 2, "picture": False}
    if sampler == "restore":
        quick |= {"candidates": 4, "restarts": 2, "steps": 3, "rounds": 2, "tries": 2}
    if model.spec.id.startswith("diffusion/"):
        quick |= {"steps": 4, "rounds": 2}
    return {k: v for k, v in quick.items() if k in fields}


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


def weights_bytes(value: int = 0, size: int = 8, **record: object) -> bytes:
    """A whole weights file of one tensor of bytes, made without torch; of a model that no backend has."""
    data = bytes([value % 256]) * size
    head = json.dumps(["generator.w", "U8", [size]], separators=(",", ":")).encode()
    full = {
        "format": 1, "model": "tiny/toy", "backend": {"name": "tiny", "distribution": "aigc-tiny", "version": "1.0"},
        "core": "0.1.0", "license": "MIT", "config": {}, "parameters": size, "shared": {},
        "data": {"name": "bytes", "split": "train", "digest": "sha256:" + "0" * 64, "count": 1},
        "output": {"modality": "image", "shape": [1, 2, 2], "low": 0.0, "high": 1.0, "details": {}},
        "training": {"steps": value, "seed": 0, "options": {}, "metrics": {}, "parents": []},
        "tensors_digest": f"sha256:{hashlib.sha256(head + data).hexdigest()}", **record,
    }  # fmt: skip
    header = {
        "__metadata__": {"aigc": json.dumps(full, sort_keys=True, separators=(",", ":"))},
        "generator.w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def lengthy(cases: Iterable[Any], *which: str, mark: str = "long") -> list[Any]:
    """Cases of a test, those of such names (or of cases with such a `name`) marked `long`, or `slow`."""
    return [
        pytest.param(case, marks=getattr(pytest.mark, mark)) if getattr(case, "name", case) in which else case
        for case in cases
    ]


def write_sounds(folder: Path, count: int) -> list[Path]:
    """Real WAV files, of spoken digits."""
    import wave

    from aigc_core.testing.material import SETS

    folder.mkdir(parents=True, exist_ok=True)
    with np.load(SETS["audio"], allow_pickle=False) as archive:
        clips, lengths, rate = archive["audio"], archive["lengths"], int(archive["sample_rate"])
    paths = [folder / f"{i:03d}.wav" for i in range(count)]
    for path, clip, length in zip(paths, clips, lengths, strict=False):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(clip.reshape(-1)[:length].astype("<i2").tobytes())
    return paths


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


def write_masks(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Masks, each white from another row down; size is (height, width)."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        mask = np.zeros(size, np.uint8)
        mask[size[0] // 2 + i :] = 255
        paths.append(folder / f"{i:03d}.png")
        Image.fromarray(mask).save(paths[-1])
    return paths
