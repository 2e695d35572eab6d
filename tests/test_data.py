"""Data by name and by path; real files, good and bad."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SHARED, Run, write_pictures
from PIL import Image

from aigc_core.data import ArrayImages, ArrayItems, Batches, Dataset, open_data
from aigc_core.data.folder import FolderImages
from aigc_core.errors import AigcError, DamagedFileError, DataError, NotFoundError, UsageError
from aigc_core.registry import Registry
from aigc_core.specs import Output

needs_shared = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="real data sets are not here")


def write_idx(path: Path, array: np.ndarray) -> Path:  # type: ignore[type-arg]
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    raw = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def all_of(dataset: Dataset) -> np.ndarray:  # type: ignore[type-arg]
    return dataset.fetch(torch.arange(len(dataset)))[0].numpy()


def test_the_small_digits_are_real_and_complete(registry: Registry) -> None:
    digits = open_data("digits", registry)
    assert (len(digits), digits.info.shape, digits.info.classes) == (1797, (1, 8, 8), tuple("0123456789"))
    from sklearn.datasets import load_digits

    theirs = load_digits()
    assert np.array_equal(all_of(digits)[:, 0], np.round(theirs.images * 255 / 16).astype(np.uint8))
    labels = digits.fetch(torch.arange(1797))[1]
    assert labels is not None
    assert np.array_equal(labels.numpy(), theirs.target)


def test_the_digest_is_of_the_items_not_of_their_file(tmp_path: Path, registry: Registry) -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (6, 5, 7), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2])
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", pixels)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    np.savez(tmp_path / "same.npz", images=pixels[..., None], labels=labels)
    np.savez(tmp_path / "first.npz", images=pixels[:, None], labels=labels)
    for i, picture in enumerate(pixels):
        (tmp_path / "folder" / str(labels[i])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "folder" / str(labels[i]) / f"{i}.png")
    idx = open_data(tmp_path / "train-images-idx3-ubyte.gz", registry)
    assert idx.info.classes == ("0", "1", "2")
    assert idx.digest == open_data(tmp_path / "same.npz", registry).digest
    assert idx.digest == open_data(tmp_path / "first.npz", registry).digest
    folder = open_data(tmp_path / "folder", registry)
    by_label = np.argsort(labels, kind="stable")
    assert folder.digest == ArrayImages(pixels[by_label][:, None], labels[by_label], name="x").digest
    pixels[0, 0, 0] ^= 1
    assert idx.digest != ArrayImages(pixels[:, None], labels, name="x").digest


@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw", "mnist/MNIST/raw"])
def test_known_sets_are_found_in_torchvisions_layouts(
    layout: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / layout
    folder.mkdir(parents=True)
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((3, 28, 28)))
    write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((2, 28, 28)))
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.array([7, 2]))
    monkeypatch.setenv("AIGC_DATA", str(tmp_path / "data"))
    assert len(open_data("mnist", registry)) == 3
    test = open_data("mnist", registry, split="test")
    assert (len(test), test.info.classes[7]) == (2, "7")


def test_cifar_is_read_from_its_binary_files(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (4, 3073), dtype=np.uint8)
    rows[:, 0] = [3, 1, 4, 1]
    rows[:2].tofile(folder / "data_batch_1.bin")
    rows[2:].tofile(folder / "data_batch_2.bin")
    monkeypatch.setenv("AIGC_DATA", str(tmp_path))
    found = open_data("cifar10", registry)
    assert found.info.shape == (3, 32, 32)
    assert np.array_equal(all_of(found).reshape(4, -1), rows[:, 1:])
    (folder / "data_batch_2.bin").write_bytes(b"short")
    with pytest.raises(DamagedFileError, match=r"data_batch_2\.bin"):
        open_data("cifar10", registry)


def test_a_set_that_cannot_be_fetched_says_where_it_is_looked_for(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from aigc_core.data import known

    def refuse(datasets: object) -> None:
        raise OSError("no network here")

    monkeypatch.setenv("AIGC_DATA", str(tmp_path))
    with pytest.raises(NotFoundError, match="no network here") as error:
        known.fetch("mnist", refuse, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "fetching mnist" in capsys.readouterr().err


@needs_shared
def test_real_mnist_and_cifar(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_DATA", str(SHARED / "data"))
    train, test = (open_data("mnist", registry, split=s) for s in ("train", "test"))
    assert (len(train), len(test), train.info.shape) == (60000, 10000, (1, 28, 28))
    colour = open_data("cifar10", registry)
    assert (len(colour), colour.info.shape, colour.info.classes[0]) == (4000, (3, 32, 32), "airplane")


def test_a_folder_with_and_without_classes(tmp_path: Path, registry: Registry) -> None:
    write_pictures(tmp_path / "flat", 5)
    flat = open_data(tmp_path / "flat", registry)
    assert (len(flat), flat.info.shape, flat.info.classes) == (5, (3, 12, 10), ())
    write_pictures(tmp_path / "sorted" / "cats", 2)
    write_pictures(tmp_path / "sorted" / "dogs" / "small", 3)
    (tmp_path / "sorted" / "README.txt").write_text("not a picture")
    write_pictures(tmp_path / "sorted" / ".hidden", 1)
    both = open_data(tmp_path / "sorted", registry)
    assert both.info.classes == ("cats", "dogs")
    labels = both.fetch(torch.arange(5))[1]
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 1, 1]


def test_a_folder_with_splits(tmp_path: Path, registry: Registry) -> None:
    write_pictures(tmp_path / "d" / "train" / "a", 2)
    write_pictures(tmp_path / "d" / "test" / "a", 1)
    assert len(open_data(tmp_path / "d", registry)) == 2
    assert len(open_data(tmp_path / "d", registry, split="test")) == 1


def test_grey_and_colour_together_become_colour(tmp_path: Path, registry: Registry) -> None:
    write_pictures(tmp_path / "g", 2, mode="L")
    assert open_data(tmp_path / "g", registry).info.shape == (1, 12, 10)
    Image.new("RGB", (10, 12), (255, 0, 0)).save(tmp_path / "g" / "red.jpg")
    mixed = open_data(tmp_path / "g", registry)
    assert mixed.info.shape == (3, 12, 10)
    pixels = all_of(mixed)
    assert np.array_equal(pixels[0, 0], pixels[0, 1])


def test_sixteen_bit_and_transparent_and_turned_pictures(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    Image.fromarray(np.full((4, 6), 65535, np.uint16)).save(folder / "a.png")
    Image.new("LA", (6, 4), (128, 255)).save(folder / "b.png")
    turned = Image.new("L", (4, 6), 9)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "c.png", exif=exif)
    pixels = all_of(open_data(folder, registry))
    assert pixels.shape == (3, 1, 4, 6)
    assert [int(p.max()) for p in pixels] == [255, 128, 9]


def test_mixed_sizes_need_a_size(tmp_path: Path, registry: Registry) -> None:
    write_pictures(tmp_path / "m", 2, (12, 10))
    Image.new("RGB", (30, 20)).save(tmp_path / "m" / "z.png")
    with pytest.raises(DataError, match="pictures of 2 sizes .* --size 12x10"):
        open_data(tmp_path / "m", registry)
    assert open_data(tmp_path / "m", registry, size=(8, 6)).info.shape == (3, 8, 6)


def test_a_corrupt_picture_is_named_and_skipped_or_fatal(tmp_path: Path, registry: Registry) -> None:
    good = write_pictures(tmp_path / "c", 3)
    (tmp_path / "c" / "cut.png").write_bytes(good[0].read_bytes()[:200])
    (tmp_path / "c" / "text.jpg").write_text("hello")
    (tmp_path / "c" / "empty.png").touch()
    found = open_data(tmp_path / "c", registry)
    assert len(found) == 3
    assert sorted(s.partition(":")[0] for s in found.skipped) == ["cut.png", "empty.png", "text.jpg"]
    with pytest.raises(DataError, match=r"cut\.png"):
        open_data(tmp_path / "c", registry, strict=True)
    for path in good:
        path.unlink()
    with pytest.raises(DataError, match="none of 3 pictures can be read"):
        open_data(tmp_path / "c", registry)


def test_a_large_folder_streams_the_same_items(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "f" / "a", 7, mode="L")
    write_pictures(tmp_path / "f" / "b", 6)
    small = open_data(tmp_path / "f", registry)
    monkeypatch.setenv("AIGC_DATA_MEMORY", "1000")
    large = open_data(tmp_path / "f", registry)
    assert small.in_memory
    assert isinstance(large, FolderImages)
    assert large.digest == small.digest
    assert np.array_equal(all_of(small), all_of(large))
    output = Output("image", (3, 12, 10), 0.0, 1.0)
    one, two = (Batches(d, 4, 0, output, torch.device("cpu")) for d in (small, large))
    for a, b in zip(one.steps(2, 9), two.steps(2, 9), strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.index, b.index)
        assert a.labels is not None
        assert b.labels is not None
        assert torch.equal(a.labels, b.labels)
    (tmp_path / "f" / "a" / "003.png").unlink()
    with pytest.raises(DataError, match=r"003\.png"):
        all_of(large)


def test_batches_are_a_function_of_seed_and_items_seen() -> None:
    data = ArrayImages(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), name="x")
    output = Output("image", (1, 1, 1), -1.0, 1.0)
    batches = Batches(data, 4, 5, output, torch.device("cpu"))
    whole = [b.index for b in batches.steps(0, 5)]
    again = [b.index for b in Batches(data, 4, 5, output, torch.device("cpu")).steps(3, 5)]
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], again, strict=True))
    order = torch.cat(whole).tolist()
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]
    other = Batches(data, 4, 6, output, torch.device("cpu")).indices(0)
    assert not torch.equal(other, whole[0])
    assert all(len(b.x) == 25 for b in Batches(data, 25, 0, output, torch.device("cpu")).steps(0, 2))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0)])
def test_pixels_are_scaled_to_the_generators_range(low: float, high: float) -> None:
    data = ArrayImages(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), name="x")
    batches = Batches(data, 2, 0, Output("image", (1, 1, 1), low, high), torch.device("cpu"))
    batch = batches.batch(torch.tensor([0, 1]))
    assert batch.x.dtype == torch.float32
    assert batch.x.flatten().tolist() == [low, high]


BAD_ARRAYS = {
    "truncated.npz": lambda p: p.write_bytes(b"PK\3\4 not a zip"),
    "empty.npz": lambda p: p.write_bytes(b""),
    "none.npz": lambda p: np.savez(p, images=np.zeros((0, 4, 4, 1), np.uint8)),
    "floats.npz": lambda p: np.savez(p, images=np.zeros((2, 4, 4, 1))),
    "objects.npz": lambda p: np.savez(p, images=np.array([{}], dtype=object)),
    "labels.npz": lambda p: np.savez(p, images=np.zeros((2, 4, 4, 1), np.uint8), labels=np.array([1])),
    "negative.npz": lambda p: np.savez(p, images=np.zeros((1, 4, 4, 1), np.uint8), labels=np.array([-1])),
    "floatlabels.npz": lambda p: np.savez(p, images=np.zeros((1, 4, 4, 1), np.uint8), labels=np.array([0.5])),
    "shape.npz": lambda p: np.savez(p, images=np.zeros((2, 9, 9, 9), np.uint8)),
    "keys.npz": lambda p: np.savez(p, pictures=np.zeros((2, 4, 4, 1), np.uint8)),
    "cut-ubyte": lambda p: p.write_bytes(b"\0\0\x08\3" + struct.pack(">3I", 9, 9, 9) + b"xx"),
    "magic-ubyte": lambda p: p.write_bytes(b"hello world"),
    "flat-ubyte": lambda p: write_idx(p, np.zeros(5)),
    "bad-ubyte.gz": lambda p: p.write_bytes(b"\x1f\x8b broken"),
    "thing.csv": lambda p: p.write_text("1,2,3"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_get_one_clear_line(name: str, tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / name
    BAD_ARRAYS[name](path)
    with pytest.raises((DataError, DamagedFileError)) as error:
        open_data(path, registry)
    assert name in str(error.value) or path.stem in str(error.value)
    assert "\n" not in str(error.value)


def test_paths_that_are_nothing(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="no data set and no path ''"):
        open_data("", registry)
    write_pictures(tmp_path / "pictures", 1)
    monkeypatch.setenv("AIGC_DATA_MEMORY", "much")
    with pytest.raises(UsageError, match="must be a number of bytes"):
        open_data(tmp_path / "pictures", registry)
    with pytest.raises(NotFoundError, match="did you mean 'mnist'"):
        open_data("mnits", registry)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        open_data(tmp_path / "empty", registry)
    with pytest.raises(DataError, match="no split 'test'; it has: train"):
        open_data("digits", registry, split="test")
    with pytest.raises(UsageError, match="--size does not apply"):
        open_data("digits", registry, size=(4, 4))
    with pytest.raises(AigcError):
        open_data(tmp_path / "empty", registry, split="test")
    (tmp_path / "archive").mkdir()
    np.savez(tmp_path / "archive" / "x.npz", images=np.zeros((2, 4, 4, 1), np.uint8))
    assert len(open_data(tmp_path / "archive", registry)) == 2
    with pytest.raises(DataError, match="has no split 'test'"):
        open_data(tmp_path / "archive", registry, split="test")


def test_show_tells_what_data_holds(aigc: Run, tmp_path: Path) -> None:
    shown = json.loads(aigc("data", "show", "digits", "--json").out)
    assert shown["count"] == 1797
    assert shown["classes"]["3"] == 183
    write_pictures(tmp_path / "p" / "a", 2)
    shutil.copy(tmp_path / "p" / "a" / "000.png", tmp_path / "p" / "a" / "b.png")
    (tmp_path / "p" / "a" / "bad.png").write_text("x")
    told = aigc("data", "show", tmp_path / "p")
    assert "3x12x10" in told.out
    assert "bad.png" in told.err
    assert [row["name"] for row in json.loads(aigc("data", "--json").out)][:2] == ["digits", "mnist"]


def test_moments_are_those_of_the_data_and_stay_those_of_weights() -> None:
    from aigc_core.data.moments import with_moments

    values = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 9)).astype(np.uint8)
    values[:, 1] //= 2
    data = ArrayImages(values, name="made")
    found = with_moments(data)
    scaled = values / 127.5 - 1
    mean = scaled.mean((0, 2, 3))
    assert found.info.details["mean"] == pytest.approx(mean.tolist(), abs=1e-4)
    spread = np.sqrt(np.square(scaled - mean[None, :, None, None]).mean())
    assert found.info.details["deviation"] == pytest.approx(spread, rel=1e-4)
    assert found.digest == data.digest
    assert data.info.details == {}
    other = ArrayImages(values // 3, name="other")
    assert with_moments(other, kept=found.info).info.details == found.info.details
    with pytest.raises(DataError, match="is text, which has no mean"):
        with_moments(ArrayItems(np.zeros((3, 8), np.uint8), kind="text", name="t"))
