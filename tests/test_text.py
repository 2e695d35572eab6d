"""Texts: data, batches, samples, files; and the template backend from data to text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run, Site, write_pictures
from templates import REAL, template

import aigc_core
from aigc_core.data import ArrayItems, Batches, open_data
from aigc_core.errors import DataError, UsageError
from aigc_core.modality import modality
from aigc_core.registry import Registry
from aigc_core.sampling.writers import write
from aigc_core.specs import Output

OUTPUT = Output("text", (64,), 0, 255)


@pytest.fixture
def language(site: Site) -> Iterator[None]:
    with template(site, "text"):
        yield


def all_of(dataset: aigc_core.data.Dataset) -> list[bytes]:
    return [bytes(row.tolist()) for row in dataset.fetch(torch.arange(len(dataset)))[0]]


def test_a_text_is_cut_into_windows_and_the_last_one_is_full(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "small.txt"
    path.write_bytes(bytes(range(32, 127)) * 2)
    data = open_data(path, registry)
    assert (data.name, data.info.modality, data.info.shape, data.info.classes) == ("small", "text", (64,), ())
    assert data.info.details == {"encoding": "utf-8"}
    content = path.read_bytes()
    assert all_of(data) == [content[:64], content[64:128], content[-64:]]
    assert data.fetch(torch.tensor([2, 0]))[0].dtype == torch.uint8
    assert data.fetch(torch.tensor([0]))[1] is None
    assert all_of(open_data(path, registry, size=(95, 95))) == [content[:95]] * 2


def test_a_folder_of_texts_is_joined_in_the_order_of_paths(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "b.txt").write_text("Größe", encoding="utf-8")
    (tmp_path / "d" / "a.txt").write_text("one")
    (tmp_path / "d" / ".hidden.txt").write_text("no")
    (tmp_path / "d" / "notes.md").write_text("no")
    data = open_data(tmp_path / "d", registry)
    assert all_of(data) == ["one\nGröße".encode()]
    assert data.info.shape == (11,)
    (tmp_path / "one.txt").write_text("one\nGröße", encoding="utf-8")
    same = open_data(tmp_path / "one.txt", registry)
    assert same.digest == data.digest
    assert same.digest != open_data(tmp_path / "one.txt", registry, size=(10, 10)).digest
    write_pictures(tmp_path / "d", 2)
    assert open_data(tmp_path / "d", registry).info.modality == "image"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good \xff bad", r"bad\.txt: not UTF-8: byte 0xff at offset 5"),
        (b"cut \xe2\x82", r"bad\.txt: not UTF-8: byte 0xe2 at offset 4"),
        (b"", r"bad\.txt: holds 0 bytes of text, an item takes 2"),
        (b"x", r"bad\.txt: holds 1 bytes of text, an item takes 2"),
    ],
)
def test_bad_text_gets_one_clear_line(
    content: bytes, message: str, tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_data(tmp_path / "bad.txt", registry)
    with pytest.raises(DataError):
        open_data(tmp_path, registry)


def test_the_length_of_a_text_is_one_number_and_fits(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "t.txt").write_text("x" * 100)
    with pytest.raises(UsageError, match="texts and sounds have a length"):
        open_data(tmp_path / "t.txt", registry, size=(10, 20))
    with pytest.raises(DataError, match="holds 100 bytes of text, an item takes 101"):
        open_data(tmp_path / "t.txt", registry, size=(101, 101))
    with pytest.raises(DataError, match="has no split 'test'"):
        open_data(tmp_path / "t.txt", registry, split="test")


def test_batches_are_bytes_as_whole_numbers() -> None:
    items = np.array([[0, 65, 255], [1, 2, 3]], np.uint8)
    data = ArrayItems(items, kind="text", name="x")
    batch = Batches(data, 2, 0, Output("text", (3,), 0, 255), torch.device("cpu")).batch(torch.tensor([0, 1]))
    assert batch.x.dtype == torch.int64
    assert batch.x.tolist() == items.tolist()
    with pytest.raises(DataError, match=r"texts must be uint8 \[N, bytes\], not int64"):
        ArrayItems(items.astype(np.int64), kind="text", name="x")


def test_samples_end_at_a_zero_and_are_always_text() -> None:
    rows = [b"abc\0def".ljust(8, b"x"), "größe\0".encode().ljust(8), b"\xff\xfe ok   ", b"\0" * 8]
    values = torch.tensor([list(row) for row in rows])
    kind = modality("text")
    assert kind.samples(values, OUTPUT).tolist() == ["abc", "größe", "\ufffd\ufffd ok   ", ""]
    assert kind.samples(torch.tensor([[300, -5, 65]]), OUTPUT).tolist() == ["\ufffd"]
    assert "must return whole numbers" in kind.problem(values.float(), OUTPUT)
    assert not kind.problem(values.to(torch.uint8), OUTPUT)


def test_texts_and_their_record_come_back_from_every_file(tmp_path: Path, aigc: Run) -> None:
    texts = np.array(["one\ntwo\n", "größe", ""])
    record = {"start": 7, "count": 3, "seed": 0}
    for name in ("x.txt", "x.npz", "folder"):
        write(tmp_path / name, iter([texts[:2], texts[2:]]), OUTPUT, record)
    assert (tmp_path / "x.txt").read_text(encoding="utf-8").split("\n---\n") == texts.tolist()
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert archive["text"].tolist() == texts.tolist()
    folder = tmp_path / "folder"
    assert sorted(p.name for p in folder.glob("*.txt")) == ["000007.txt", "000008.txt", "000009.txt"]
    assert (folder / "000007.txt").read_bytes() == b"one\ntwo\n"
    for path in (tmp_path / "x.txt", tmp_path / "x.npz"):
        found = aigc_core.inspect(path)
        assert (found["kind"], found["start"], found["count"]) == ("sample", 7, 3)
    assert aigc_core.inspect(folder / "000008.txt")["start"] == 8
    (tmp_path / "other.txt").write_text("no record")
    assert "carries no record" in aigc("inspect", tmp_path / "other.txt").error
    (tmp_path / "other.txt.json").write_text("{broken")
    assert aigc("inspect", tmp_path / "other.txt").code == 5


def test_data_show_tells_what_the_numbers_are(aigc: Run) -> None:
    text = aigc("data", "show", REAL / "shakespeare.txt").out
    assert "64 (bytes)" in text
    assert json.loads(aigc("data", "show", REAL / "shakespeare.txt", "--json").out)["details"] == {
        "encoding": "utf-8"
    }


def test_from_a_text_to_texts(
    language: None, aigc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template learns real text, and what it makes is kept in every form, the same in each."""
    monkeypatch.chdir(tmp_path)
    data = REAL / "shakespeare.txt"
    done = aigc("train", "template/small", "--data", data, "--steps", 100, "--name", "bard")
    assert done.code == 0, done.err
    assert "sample bard@1 --out bard.txt" in done.out
    assert aigc_core.inspect("bard")["training"]["metrics"]["loss"] < 2.5
    assert aigc("sample", "bard", "-n", 3).out == "bard.txt\n"
    one = (tmp_path / "bard.txt").read_text(encoding="utf-8").split("\n---\n")
    drawn = aigc_core.sample("bard", count=3)
    assert drawn is not None
    assert drawn.array.dtype.kind == "U"
    assert drawn.array.tolist() == one
    drawn.save(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == (tmp_path / "bard.txt").read_bytes()
    assert aigc("sample", "bard", "-n", 1, "--start", 2, "--out", "f/").code == 0
    assert (tmp_path / "f" / "000002.txt").read_text(encoding="utf-8") == one[2]
    assert "2 of seed 0" in aigc("inspect", tmp_path / "f" / "000002.txt").out
    for name in ("bard.txt", "f/000002.txt", "f"):
        assert aigc("replay", name).out.startswith("exact")
    (tmp_path / "f/000002.txt").write_text(f"{one[2][:5]}%{one[2][6:]}", encoding="utf-8")
    drift = aigc("replay", "f")
    assert (drift.code, f"000002.txt: character 6 is '%' there, {one[2][5]!r} here" in drift.out) == (9, True)
    few = aigc_core.sample("bard", count=3, options={"top_k": 1})
    assert few is not None
    assert len(set(few.array.tolist())) == 1, "the likeliest byte each time is one text"
    for name in ("x.png", "x.wav", "x.jpg"):
        assert (
            f"--out {name}: the samples are texts; end it in .txt ("
            in aigc("sample", "bard", "--out", name).error
        )
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("length", [2, 3, 333, 1024])
def test_the_template_works_for_any_length(language: None, length: int, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes((REAL / "shakespeare.txt").read_bytes()[:5000])
    done = aigc_core.train("template/small", tmp_path / "t.txt", size=(length, length), steps=2)
    many = aigc_core.sample(done.path, count=10, block=8)
    alone = aigc_core.sample(done.path, count=1, start=9, block=8)
    assert many is not None
    assert alone is not None
    assert alone.array[0] == many.array[9]


def test_data_of_another_modality_is_refused(language: None, aigc: Run) -> None:
    result = aigc("train", "template/small", "--data", "digits")
    assert result.code == 6
    assert "model 'template/small' is for text, 'digits' is image; see: aigc models list" in result.error
    other = aigc("train", "vae/mlp", "--data", REAL / "shakespeare.txt")
    assert "model 'vae/mlp' is for image, 'shakespeare' is text" in other.error
    short = aigc("train", "template/small", "--data", REAL / "shakespeare.txt", "--size", 1025)
    assert "items are 1025, it takes at most 1024; choose the bytes of an item by --size N" in short.error


def test_a_wrong_ending_is_found_without_torch(language: None, site: Site) -> None:
    done = aigc_core.train("template/small", REAL / "shakespeare.txt", steps=1)
    code = (
        "import sys; sys.modules['torch'] = None\nfrom aigc_core.cli import main\n"
        f"sys.argv = ['aigc', 'sample', {str(done.path)!r}, '--out', 'x.png']\nmain()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert "end it in .txt" in run.stderr
