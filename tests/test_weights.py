"""The weights file and the store: self-describing, checked, never half-written, never overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Run
from safetensors.torch import load_file, save_file

import aigc_core
from aigc_core.errors import BackendError, DamagedFileError, NotFoundError, StorageError
from aigc_core.files import create_exclusively, write_atomically
from aigc_core.registry import default
from aigc_core.training.job import train
from aigc_core.training.state import check_state, load_state, save_state
from aigc_core.weights.file import _unshared, load
from aigc_core.weights.header import read_header, tensors_digest
from aigc_core.weights.store import Store


@pytest.fixture
def file() -> Path:
    return train("vae/mlp", "digits", steps=2, options={"hidden": (8,)}, name="tiny").path


def test_a_weights_file_explains_itself(file: Path) -> None:
    record = aigc_core.inspect(file)
    assert record["model"] == "vae/mlp"
    assert record["config"] == {"latent": 16, "likelihood": "gaussian", "hidden": [8]}
    assert record["backend"] == {"name": "vae", "distribution": "aigc-vae", "version": "0.1.0", "api": 1}
    assert record["data"]["info"]["shape"] == [1, 8, 8]
    assert record["data"]["count"] == 1797
    assert record["data"]["digest"].startswith("sha256:")
    assert record["training"]["steps"] == 2
    assert record["training"]["options"]["batch_size"] == 128
    assert record["output"] == {
        "modality": "image",
        "shape": [1, 8, 8],
        "low": 0.0,
        "high": 1.0,
        "details": {},
    }
    assert record["license"] == "MIT"
    metadata = json.loads(file.read_bytes()[8 : 8 + int.from_bytes(file.read_bytes()[:8], "little")])[
        "__metadata__"
    ]
    assert list(metadata) == ["aigc"]
    assert metadata["aigc"] == json.dumps(
        json.loads(metadata["aigc"]), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def test_the_digest_is_of_the_tensors_alone(file: Path, tmp_path: Path) -> None:
    header = read_header(file)
    copy = tmp_path / "copy.safetensors"
    save_file(dict(reversed(load_file(file).items())), copy, metadata={"other": "header"})
    assert tensors_digest(read_header(copy)) == tensors_digest(header) == header.record["tensors_digest"]
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1
    save_file(tensors, copy)
    assert tensors_digest(read_header(copy)) != header.record["tensors_digest"]


def test_the_same_training_makes_the_same_bytes() -> None:
    names = [train("vae/mlp", "digits", steps=2, name="bytes", again=True).weights for _ in range(2)]
    assert names == ["bytes@1", "bytes@2"]
    one, two = (Store().version(name).manifest for name in names)
    assert one.digest == two.digest
    assert one.golden is not None
    assert sorted(one.files) == ["metrics.jsonl", "samples.png", "weights.safetensors"]


def damage(content: bytes, where: str) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]

    def rebuilt(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + data

    return {
        "empty": b"",
        "seven bytes": content[:7],
        "in the header": content[: length // 2],
        "in the tensors": content[:-5],
        "too long": content + b"x",
        "huge header": (2**63).to_bytes(8, "little") + content[8:],
        "no json": rebuilt(b"x" * length),
        "not an object": rebuilt(b"[1,2]"),
        "bit flip": content[:-3] + bytes([content[-3] ^ 4]) + content[-2:],
        "overlap": rebuilt(header.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1)),
        "other dtype": rebuilt(header.replace(b'"F32"', b'"F16"', 1)),
        "unknown dtype": rebuilt(header.replace(b'"F32"', b'"X32"', 1)),
        "duplicate key": rebuilt(b'{"__metadata__":{},' + header[1:]),
        "nan": rebuilt(header.replace(b'"data_offsets":[0,', b'"data_offsets":[NaN,', 1)),
        "record no json": rebuilt(header.replace(b'{\\"backend', b'{{\\"backend', 1)),
        "other format": rebuilt(header.replace(b'\\"format\\":1', b'\\"format\\":9', 1)),
    }[where]


@pytest.mark.parametrize(
    "where",
    [
        "empty", "seven bytes", "in the header", "in the tensors", "too long", "huge header", "no json",
        "not an object", "bit flip", "overlap", "other dtype", "unknown dtype", "duplicate key", "nan",
        "record no json", "other format",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(where: str, file: Path, tmp_path: Path, aigc: Run) -> None:
    bad = tmp_path / "bad.safetensors"
    content = file.read_bytes()
    bad.write_bytes(damage(content, where))
    assert bad.read_bytes() != content
    with pytest.raises(DamagedFileError):
        load(bad, default())
    result = aigc("sample", bad, "--out", tmp_path / "x.png")
    assert result.code == 5
    assert "bad.safetensors" in result.error
    assert not (tmp_path / "x.png").exists()
    assert aigc("inspect", bad, "--verify").code == 5


def test_a_file_of_other_origin_is_told_apart(tmp_path: Path, aigc: Run) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(3)}, other)
    assert "not aigc" in aigc("inspect", other).out
    assert "carries no digest" in aigc("inspect", other, "--verify").error
    assert aigc("inspect", "~nobody-of-this-name").code == 3
    result = aigc("sample", other)
    assert result.code == 2
    assert "aigc did not write" in result.error


def rewrite(file: Path, target: Path, change: Callable[[dict[str, object]], object]) -> Path:
    record = json.loads(json.dumps(read_header(file).record))
    change(record)
    save_file(load_file(file), target, metadata={"aigc": json.dumps(record)})
    return target


def test_weights_of_a_missing_backend_name_its_install_command(
    file: Path, tmp_path: Path, process: Run
) -> None:
    renamed = {
        "model": "gam/dcgan",
        "backend": {"name": "vae", "distribution": "aigc-vae", "version": "1", "api": 1},
    }
    gone = rewrite(file, tmp_path / "gone.safetensors", lambda r: r.update(renamed))
    with pytest.raises(NotFoundError, match="gam/dcgan"):
        load(gone, default())
    strange = {
        "model": "zeta/foo",
        "backend": {"name": "zeta", "distribution": "acme-zeta", "version": "1", "api": 1},
    }
    stranger = rewrite(file, tmp_path / "stranger.safetensors", lambda r: r.update(strange))
    with pytest.raises(
        BackendError,
        match="needs backend 'zeta', which is not installed; install it: aigc plugins install acme-zeta==1",
    ):
        load(stranger, default())
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "import aigc_core.plugins.entrypoints as e\nfound = e.entry_points\n"
        "e.entry_points = lambda: [p for p in found() if p.name != 'vae']\n"
    )
    result = process("sample", file, PYTHONPATH=str(hide))
    assert result.code == 4
    assert "'vae', which is not installed; install it: aigc plugins install vae" in result.error


def test_weights_that_the_installed_backend_cannot_take(file: Path, tmp_path: Path, aigc: Run) -> None:
    odd = rewrite(file, tmp_path / "odd.safetensors", lambda r: r["config"].update(latent=3))  # type: ignore[attr-defined]
    result = aigc("sample", odd)
    assert result.code == 4
    assert "can't take" in result.error
    strange = rewrite(file, tmp_path / "strange.safetensors", lambda r: r["config"].update(depth=3))  # type: ignore[attr-defined]
    assert "has no option 'depth'" in aigc("sample", strange).error
    partial = rewrite(file, tmp_path / "partial.safetensors", lambda r: r.pop("data"))
    assert aigc("sample", partial).code == 5


def test_tied_weights_are_kept_once() -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    tensors, shared = _unshared({"a": tied, "b": tied, "c": tied.clone(), "d": tied.T})
    assert sorted(tensors) == ["generator.a", "generator.c", "generator.d"]
    assert shared == {"b": "a"}
    assert tensors["generator.d"].is_contiguous()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "file"
    with pytest.raises(RuntimeError), write_atomically(target) as out:
        out.write(b"half")
        raise RuntimeError
    assert not list((tmp_path / "sub").iterdir())
    with write_atomically(target) as out:
        out.write(b"whole")
    with pytest.raises(FileExistsError), create_exclusively(target) as out:
        out.write(b"other")
    assert target.read_bytes() == b"whole"
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["file"]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    with pytest.raises(StorageError, match="cannot write"), write_atomically(blocked / "x"):
        pass


def test_training_state_survives_as_it_was(tmp_path: Path) -> None:
    state = {
        "a": {0: {"step": torch.tensor(3.0), "m": torch.ones(2, 2).T}, 1: {}},
        "b": [1, 2.5, "x", None, True, (1, 2), float("inf")],
        "c": torch.tensor([1, 2], dtype=torch.bfloat16),
        "d": torch.tensor([[7.0]]).expand(2, 2),
    }
    save_state(tmp_path / "s.safetensors", state)
    back = load_state(tmp_path / "s.safetensors")
    assert back["b"] == state["b"]
    assert list(back["a"]) == [0, 1]
    assert torch.equal(back["a"][0]["m"], torch.ones(2, 2))
    assert back["c"].dtype == torch.bfloat16
    assert back["a"][0]["m"].stride() == (1, 2), "a moment must lie in memory as its parameter does"
    assert back["d"].tolist() == [[7.0, 7.0]] * 2
    with pytest.raises(TypeError, match="can't hold a set"):
        save_state(tmp_path / "t.safetensors", {"x": {1}})
    assert not (tmp_path / "t.safetensors").exists()
    check_state(state)
    with pytest.raises(TypeError, match="can't hold a set"):
        check_state({"x": [{"y": {1}}]})
    save_file({"w": torch.zeros(1)}, tmp_path / "u.safetensors")
    with pytest.raises(DamagedFileError, match="not a checkpoint"):
        load_state(tmp_path / "u.safetensors")


def test_only_the_header_of_a_large_file_is_read(tmp_path: Path) -> None:
    """A file whose tensors are a hole of 200 MB: what reads them would find the digest wrong."""
    size = 200 * 2**20
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        out.truncate(8 + len(header) + size)
    assert aigc_core.inspect(path)["bytes"] == 8 + len(header) + size
