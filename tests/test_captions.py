"""What is to be seen in pictures, in words: from a file to what a trainer is given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run, write_pictures

from aigc_core.data import open_data
from aigc_core.data.captions import words_of
from aigc_core.data.dataset import Dataset
from aigc_core.errors import DataError, NotFoundError, UsageError
from aigc_core.registry import default


def lines(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", "utf-8")
    return path


def opened(data: str | Path, captions: str | Path = "", split: str | None = None) -> Dataset:
    reading = {"captions": str(captions)} if captions else {}
    return open_data(data, default(), reading=reading, split=split)


def texts(data: Dataset, *index: int) -> list[list[str]]:
    """Of some items their captions, as they come to a trainer."""
    rows = data.fetch_extras(torch.tensor(index))["captions"]
    return [[bytes((row[row > 0] - 1).tolist()).decode() for row in item] for item in rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures in two classes: a/00.png, a/01.png, b/00.png, b/01.png."""
    for name in ("a", "b"):
        write_pictures(tmp_path / "set" / name, 2)
    return tmp_path / "set"


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]


def test_a_file_beside_the_pictures_says_what_is_to_be_seen(folder: Path) -> None:
    first, second, third, _ = names(folder)
    lines(
        folder / "metadata.jsonl",
        {"file_name": first, "text": "a  red\tdress"},
        {"file_name": second, "text": ["一双鞋", "shoes"]},
        {"file": third, "text": "a bag", "price": 3},
    )
    data = opened(folder)
    assert texts(data, 0, 1, 2, 3) == [["a red dress"] * 2, ["一双鞋", "shoes"], ["a bag"] * 2, ["", ""]]
    assert data.info.details["examples"] == ["a red dress", "一双鞋", "shoes", "a bag"]
    assert data.info.assets["words"].decode().split("\n") == sorted(
        ["a", "red", "dress", *"一双鞋", "shoes", "bag"]
    )
    plain = opened(folder, "none")
    assert data.info.classes == plain.info.classes
    assert torch.equal(data.fetch(torch.arange(4))[0], plain.fetch(torch.arange(4))[0])
    assert plain.fetch_extras(torch.arange(4)) == {}
    assert data.digest != plain.digest


def test_what_is_said_of_a_class_is_said_of_all_of_it(folder: Path, tmp_path: Path) -> None:
    path = lines(
        tmp_path / "said.jsonl", {"label": "b", "text": ["a b", "乙"]}, {"label": "a", "text": "an a"},
        {"label": "a", "text": "甲"},
    )  # fmt: skip
    assert texts(opened(folder, path), 0, 3) == [["an a", "甲"], ["a b", "乙"]]
    digits = lines(tmp_path / "digits.jsonl", *({"label": str(i), "text": f"digit {i}"} for i in range(10)))
    for split in ("train", None):
        data = opened("digits", digits, split)
        labels = data.labels()
        assert labels is not None
        assert texts(data, 7, 100) == [[f"digit {labels[7]}"], [f"digit {labels[100]}"]]


def test_what_is_said_of_a_picture_goes_before_what_is_said_of_its_class(folder: Path) -> None:
    lines(
        folder / "metadata.jsonl",
        {"file_name": names(folder)[1], "text": "mine"},
        {"label": "a", "text": "ours"},
    )
    assert texts(opened(folder), 0, 1, 2) == [["ours"], ["mine"], [""]]


def test_captions_of_splits_may_lie_beside_them(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_pictures(tmp_path / "set" / split, 2)
    first = names(tmp_path / "set")[-1]
    lines(tmp_path / "set" / "metadata.jsonl", {"file_name": first, "text": "one"})
    assert texts(opened(tmp_path / "set"), 0, 1) == [[""], ["one"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no captions"),
        ("{", "metadata.jsonl:1: not JSON"),
        ("[1]", "metadata.jsonl:1: not a JSON object"),
        ('{"text": "x"}', "names neither a file nor a class"),
        ('{"file": "a", "label": "b", "text": "x"}', "names a file and a class"),
        ('{"file": "a/x.png"}', 'its "text" is neither a text nor a list of texts'),
        ('{"label": "a", "text": []}', 'its "text" is neither'),
        ('{"label": "a", "text": "  "}', "an empty caption"),
        ('\n{"label": "a", "text": "' + "很" * 100 + '"}', "metadata.jsonl:2: a caption of 300 bytes; there may be 256"),
        ('{"file": "a/x.png", "text": "x"}', "no picture 'a/x.png' beside it"),
        ('{"label": "c", "text": "x"}', "no class 'c'; there are: a, b"),
    ],
)  # fmt: skip
def test_a_file_that_says_nonsense_is_one_line(folder: Path, content: str, said: str) -> None:
    (folder / "metadata.jsonl").write_text(content, "utf-8")
    with pytest.raises(DataError, match="(?s)" + said.replace("(", r"\(")) as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


def test_what_cannot_have_captions_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "t.txt").write_text("text " * 100)
    said = lines(tmp_path / "said.jsonl", {"file": "00.png", "text": "x"})
    with pytest.raises(
        UsageError, match=r"-d captions=.* does not apply: .*t.txt is a text; what applies: documents"
    ):
        opened(tmp_path / "t.txt", said)
    with pytest.raises(NotFoundError, match=r"no file 'nowhere.jsonl' of captions"):
        opened(folder, "nowhere.jsonl")
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match="names files, and these data are no folder"):
        opened(tmp_path / "x.npz", said)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8, at byte 0"):
        opened(folder, tmp_path / "bytes.jsonl")


def test_words_are_found_in_any_script() -> None:
    assert words_of("A Three, 数字三! x-y 3") == ["a", "three", "数", "字", "三", "x", "y", "3"]


def test_the_command_line_shows_what_is_said(folder: Path, aigc: Run) -> None:
    lines(folder / "metadata.jsonl", {"label": "a", "text": "a thing"}, {"label": "b", "text": "another"})
    shown = aigc("data", "show", str(folder))
    assert shown.code == 0, shown.err
    assert "a thing" in shown.out
