"""Samples become files that a person opens, and that say how they were made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Run, write_pictures
from PIL import Image

import aigc_core
from aigc_core.errors import BackendError, DataError, NotFoundError, UsageError
from aigc_core.interfaces.sampler import stream
from aigc_core.modality.image import sheet
from aigc_core.sampling.draw import sample
from aigc_core.specs import Output
from aigc_core.training.job import train


@pytest.fixture
def vae() -> Path:
    return train("vae/mlp", "digits", steps=2, options={"hidden": (8,)}, name="tiny").path


def test_an_npz_holds_the_pictures_and_their_record(vae: Path, tmp_path: Path, aigc: Run) -> None:
    out = tmp_path / "x.npz"
    assert aigc("sample", "tiny", "-n", 10, "--seed", 3, "--out", out).out.strip() == str(out)
    with np.load(out, allow_pickle=False) as archive:
        images, record = archive["images"], json.loads(str(archive["record"]))
    assert images.shape == (10, 8, 8, 1)
    assert images.dtype == np.uint8
    assert (record["seed"], record["start"], record["count"], record["block"]) == (3, 0, 10, 64)
    assert record["weights"]["tensors_digest"] == aigc_core.inspect(vae)["tensors_digest"]
    in_memory = aigc_core.sample("tiny@1", count=10, seed=3)
    assert in_memory is not None
    assert np.array_equal(in_memory.array, images)
    assert {**in_memory.record, "content": record["content"]} == record


def test_a_folder_holds_one_exact_picture_a_sample_named_by_its_index(
    vae: Path, tmp_path: Path, aigc: Run
) -> None:
    out = tmp_path / "new" / "folder"
    assert aigc("sample", "tiny", "-n", 3, "--start", 70, "--out", out).code == 0
    assert sorted(p.name for p in out.iterdir()) == ["000070.png", "000071.png", "000072.png"]
    drawn = sample("tiny", count=1, start=71)
    assert drawn is not None
    assert np.array_equal(np.asarray(Image.open(out / "000071.png")), drawn.array[0, :, :, 0])
    record = json.loads(aigc("inspect", out / "000071.png", "--json").out)
    assert (record["start"], record["count"]) == (71, 1)
    assert "71 of seed 0" in aigc("inspect", out / "000071.png").out
    assert aigc("sample", "tiny", "-n", 1, "--out", f"{tmp_path}/dotted.v1/").code == 0
    assert (tmp_path / "dotted.v1" / "000000.png").is_file()
    again = aigc("sample", "tiny", "--out", out)
    assert again.code == 2
    assert "folder with files in it" in again.error


def test_a_sheet_shows_every_picture(tmp_path: Path) -> None:
    pictures = np.zeros((6, 4, 5, 3), np.uint8)
    pictures[:, :, :, 0] = np.arange(1, 7, dtype=np.uint8)[:, None, None] * 40
    image = np.asarray(sheet(pictures, columns=3, scale=2))
    assert image.shape == (2 * 9 + 1, 3 * 11 + 1, 3)
    assert [int(v) for v in np.unique(image[:, :, 0][image[:, :, 1] == 0])] == [40, 80, 120, 160, 200, 240]
    assert np.array_equal(np.asarray(sheet(pictures[:1])), pictures[0])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGBA")])
def test_any_number_of_channels_can_be_looked_at(channels: int, mode: str) -> None:
    image = sheet(np.zeros((5, 8, 8, channels), np.uint8))
    assert image.mode == mode
    assert sheet(np.zeros((1, 8, 6, channels), np.uint8)).size == (12 if channels == 2 else 6, 8)


def test_the_record_of_a_sheet_can_be_read_back(vae: Path, tmp_path: Path, aigc: Run) -> None:
    out = tmp_path / "sheet.png"
    aigc("sample", vae, "--sampler", "interpolate", "-s", "steps=4", "--out", out)
    record = aigc_core.inspect(out)
    assert record["sampler"] == "interpolate"
    assert record["options"] == {"steps": 4}
    Image.new("L", (4, 4)).save(tmp_path / "plain.png")
    assert "carries no record" in aigc("inspect", tmp_path / "plain.png").error
    (tmp_path / "cut.png").write_bytes(out.read_bytes()[:100])
    assert aigc("inspect", tmp_path / "cut.png").code == 5
    assert aigc("inspect", tmp_path / "none.png").code == 3


def test_given_pictures_are_reconstructed_one_by_one(vae: Path, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "given", 3, (8, 8), "L")
    one = sample(vae, sampler="reconstruct", images=paths)
    assert one is not None
    assert len(one) == 3
    assert [given["name"] for given in one.record["images"]] == ["000.png", "001.png", "002.png"]
    more = sample(vae, sampler="reconstruct", images=paths, count=5)
    assert more is not None
    assert np.array_equal(more.array[3:], one.array[:2])
    colour = write_pictures(tmp_path / "colour", 1, (8, 8))
    assert sample(vae, sampler="reconstruct", images=colour) is not None


def test_pictures_that_do_not_fit_are_named(vae: Path, tmp_path: Path) -> None:
    large = write_pictures(tmp_path / "large", 1, (9, 8), "L")
    with pytest.raises(DataError, match=r"000\.png: 9x8, but the weights make 8x8"):
        sample(vae, sampler="reconstruct", images=large)
    (tmp_path / "text.png").write_text("x")
    with pytest.raises(DataError, match="not a picture"):
        sample(vae, sampler="reconstruct", images=[tmp_path / "text.png"])
    with pytest.raises(NotFoundError, match=r"no picture .*gone\.png"):
        sample(vae, sampler="reconstruct", images=[tmp_path / "gone.png"])
    with pytest.raises(UsageError, match="give --image"):
        sample(vae, sampler="reconstruct")
    with pytest.raises(UsageError, match="takes no --image"):
        sample(vae, images=large)


def test_requests_that_cannot_be_meant_are_refused_before_anything_is_written(
    vae: Path, tmp_path: Path, aigc: Run
) -> None:
    out = tmp_path / "x.png"
    for arguments, message in (
        (["-n", "0"], "-n must lie in 1 .."), (["--start", "-1"], "--start must lie"),
        (["--seed", "-1"], "--seed must lie"), (["--seed", str(2**63)], "--seed must lie"),
        (["--block", "0"], "--block must lie"), (["--sampler", "proir"], "did you mean 'prior'"),
        (["--sampler", "interpolate", "-s", "setps=3"], "did you mean 'steps'"),
        (["--sampler", "interpolate", "-s", "steps=0"], "greater than or equal to 1"),
        (["-s", "steps"], "must be of the form key=value"), (["-n", "many"], "is not a valid integer"),
    ):  # fmt: skip
        result = aigc("sample", "tiny", *arguments, "--out", out)
        assert result.code == 2, arguments
        assert message in result.error, arguments
    for name in ("x.jpg", "x.safetensors"):
        assert "end it in .png" in aigc("sample", "tiny", "--out", tmp_path / name).error
    assert not out.exists()


def test_another_block_size_is_the_users_choice_and_recorded(vae: Path) -> None:
    drawn = sample(vae, count=3, block=2)
    assert drawn is not None
    assert drawn.record["block"] == 2
    assert drawn.array.shape[0] == 3


def test_random_streams_depend_on_seed_and_index_alone() -> None:
    a, b = stream(3, 7).standard_normal(100), stream(3, 7).standard_normal(100)
    assert np.array_equal(a, b)
    others = [stream(3, 8), stream(4, 7), stream(7, 3), stream(0, 0)]
    assert all(not np.array_equal(a, s.standard_normal(100)) for s in others)
    many = np.stack([stream(0, i).standard_normal(64) for i in range(2000)])
    assert abs(many.mean()) < 0.01
    assert abs(many.std() - 1) < 0.01
    neighbours = np.mean(many[:-1] * many[1:])
    assert abs(neighbours) < 0.01


def test_a_sampler_that_fails_or_returns_nonsense_is_named(
    vae: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aigc_vae.samplers import Prior

    monkeypatch.setattr(Prior, "sample", lambda self, generator, block: generator.decode(block.randn(16))[:3])
    with pytest.raises(BackendError, match=r"sampler 'prior' of vae/mlp returned \(3, 1, 8, 8\)"):
        sample(vae)
    monkeypatch.setattr(Prior, "sample", lambda self, generator, block: 1 / 0)
    with pytest.raises(BackendError, match="ZeroDivisionError"):
        sample(vae)


def test_the_default_file_is_named_after_the_weights(
    vae: Path, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert aigc("sample", "tiny@1").out == "tiny-1.png\n"
    assert (tmp_path / "tiny-1.png").is_file()
    assert aigc("sample", vae).out == f"{vae.name}.png\n"


def test_there_is_no_writer_for_what_has_none_yet(tmp_path: Path) -> None:
    from aigc_core.sampling.writers import write

    with pytest.raises(UsageError, match="no writer for video"):
        write(tmp_path / "x.png", iter([]), Output("video", ()), {})
