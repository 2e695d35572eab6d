"""Texts as documents: what is read, what is refused, what is held out, in which pieces."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SHARED, Run
from templates import REAL

import aigc_core
from aigc_core.data import corpus as corpus_module
from aigc_core.data import documents as documents_module
from aigc_core.data import open_data
from aigc_core.data.corpus import Corpus
from aigc_core.data.reading import text_reading
from aigc_core.errors import DataError, UsageError
from aigc_core.registry import Registry


def corpus(path: Path, **reading: Any) -> Corpus:
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return Corpus(paths, text_reading(reading))


def documents(found: Corpus, split: str) -> list[str]:
    """The documents of a split put together from their pieces."""
    whole, rest = [], ""
    for piece in found.pieces(split):
        rest += piece.text
        if piece.ends:
            whole.append(rest)
            rest = ""
    return [*whole, *([rest] if rest else [])]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def test_documents_are_files_paragraphs_or_lines(tmp_path: Path) -> None:
    text = "one\ntwo\r\n\r\n \t\n\n夏天\n  three\n\n\n"
    path = write(tmp_path / "a.txt", "\ufeff" + text)
    wanted = {
        "file": [text],
        "paragraph": ["one\ntwo", "夏天\n  three"],
        "line": ["one", "two", "夏天", "  three"],
    }
    for kind, expected in wanted.items():
        found = corpus(path, documents=kind, validation=0)
        assert documents(found, "train") == expected
        assert found.total == (len(expected), sum(map(len, expected)), len("".join(expected).encode()))


@pytest.mark.parametrize("kind", ["file", "paragraph", "line"])
@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_how_a_file_is_read_does_not_show(
    kind: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"{'夏天 ' * (i % 5)}line {i}\n{' ' * (i % 3)}\n" * (i % 4) for i in range(60)) + "x" * 300
    path = write(tmp_path / "a.txt", text)
    whole = corpus(path, documents=kind)
    wanted = [documents(whole, split) for split in ("train", "validation")]
    monkeypatch.setattr(documents_module, "BLOCK", block)
    monkeypatch.setattr(corpus_module, "PIECE", block)
    monkeypatch.setattr(corpus_module, "LONGEST", 50)
    found = corpus(path, documents=kind)
    assert found.digest == whole.digest
    assert [documents(found, split) for split in ("train", "validation")] == wanted
    for split in ("train", "validation"):
        for before, after in zip(list(found.pieces(split))[:-1], list(found.pieces(split))[1:], strict=True):
            if not before.ends and len(before.text) < 50:
                assert after.text[0].isspace()
                assert not before.text[-1].isspace()


def test_a_long_document_comes_in_pieces_of_a_megabyte(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(400_000))
    found = corpus(write(tmp_path / "a.txt", words + "x" * (18 << 20)), validation=0)
    pieces = list(found.pieces("train"))
    assert "".join(piece.text for piece in pieces) == words + "x" * (18 << 20)
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    sizes = [len(piece.text) for piece in pieces]
    assert sizes[0] == pytest.approx(1 << 20, abs=20)
    assert max(sizes) == 16 << 20, "what has no white space is cut all the same"


def test_a_row_of_jsonl_is_a_document(tmp_path: Path) -> None:
    rows = [
        {"text": "one\n\ntwo", "n": 1},
        {"text": ""},
        {"text": "夏天 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")},
    ]
    path = write(tmp_path / "a.jsonl", "\ufeff" + "".join(json.dumps(row) + "\r\n\n" for row in rows))
    assert documents(corpus(path, validation=0), "train") == ["one\n\ntwo", "夏天 😀"]
    body = write(tmp_path / "b.jsonl", '{"body": "x"}\n{"body": "y"}')
    assert documents(corpus(body, field="body", validation=0), "train") == ["x", "y"]
    write(tmp_path / "d" / "1.txt", "first")
    write(tmp_path / "d" / "2.jsonl", '{"text": "second"}')
    assert documents(corpus(tmp_path / "d", validation=0), "train") == ["first", "second"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', "line 2: no JSON: "),
        ("[1]", "line 2: no JSON object, but list"),
        ('"text"', "line 2: no JSON object, but str"),
        ('{"body": "x", "title": "y"}', "line 2: has no field 'text'; .*-d field=NAME; it has: body, title"),
        ("{}", "line 2: has no field 'text'.*it has: none"),
        ('{"text": 3}', "line 2: its field 'text' is no text, but int"),
        ('{"text": null}', "line 2: its field 'text' is no text, but NoneType"),
        ('{"text": "\\ud800"}', "line 2: its text has half of a surrogate pair"),
        ("[" * 100000, "line 2: no JSON: "),
        ('{"text": "x", "n": ' + "9" * 5000 + "}", "line 2: no JSON: "),
    ],
)
def test_a_row_that_holds_no_text_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "good"}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"a\.jsonl: {message}"):
        corpus(path)


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("content", "byte", "offset", "replaced"),
    [
        (b"\xef\xbb\xbfab\xff!", "0xff", 5, "ab\ufffd!"),
        (b"abc\xe2\x82 d", "0xe2", 3, "abc\ufffd d"),
        (b"abc\xe5\xa4", "0xe5", 3, "abc\ufffd"),
        (b"a\xed\xa0\x80b", "0xed", 1, "a\ufffd\ufffd\ufffdb"),
        (b"a\xc0\xafb", "0xc0", 1, "a\ufffd\ufffdb"),
    ],
)
def test_a_bad_byte_is_named_or_replaced(
    content: bytes,
    byte: str,
    offset: int,
    replaced: str,
    block: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents_module, "BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"a\.txt: not UTF-8: byte {byte} at offset {offset}; .*-d invalid=replace"
    ):
        corpus(path)
    assert documents(corpus(path, invalid="replace"), "train") == [replaced]


def test_a_bad_byte_of_a_row_is_named_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "b\xff"}\n{"text": "\\ud800c"}')
    with pytest.raises(DataError, match=r"byte 0xff at offset 25"):
        corpus(path)
    assert documents(corpus(path, invalid="replace"), "train") == ["a", "b\ufffd", "\ufffdc"]


def test_documents_are_held_out_by_what_they_say(tmp_path: Path) -> None:
    lines = [f"line {i % 700}" for i in range(1000)]
    one = corpus(write(tmp_path / "a.txt", "\n".join(lines)), documents="line")
    two = corpus(write(tmp_path / "b.txt", "\n".join(reversed(lines))), documents="line")
    train, held_out = (documents(one, split) for split in ("train", "validation"))
    assert sorted(train + held_out) == sorted(lines)
    assert not set(train) & set(held_out), "equal documents are on one side"
    assert 50 < len(held_out) < 150
    assert set(documents(two, "validation")) == set(held_out), "their order does not matter"
    assert one.sizes("validation").documents == len(held_out)
    assert one.digest != two.digest
    assert len(documents(corpus(tmp_path / "a.txt", documents="line", validation=0.5), "validation")) > 350


@pytest.mark.parametrize("share", [1e-9, 0.5])
def test_there_is_a_document_on_each_side(share: float, tmp_path: Path) -> None:
    for i in range(30):
        found = corpus(
            write(tmp_path / "a.txt", f"first {i}\nsecond {i}"), documents="line", validation=share
        )
        assert len(documents(found, "train")) == len(documents(found, "validation")) == 1


def test_of_one_document_the_last_tenth_of_its_characters_is_held_out(tmp_path: Path) -> None:
    text = "夏天a" * 501
    found = corpus(write(tmp_path / "a.txt", text), validation=0.1)
    assert found.total.characters == 1503
    assert (documents(found, "train"), documents(found, "validation")) == ([text[:1352]], [text[1352:]])
    assert not any(piece.ends for split in ("train", "validation") for piece in found.pieces(split))
    same = corpus(write(tmp_path / "b.txt", "same line\n" * 200), documents="line", validation=0.1)
    assert (len(documents(same, "train")), len(documents(same, "validation"))) == (180, 20)
    assert all(piece.ends for piece in same.pieces("train"))


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="real data sets are not here")
def test_shakespeare_is_divided_as_everybody_does() -> None:
    path = SHARED / "data" / "tinyshakespeare" / "input.txt"
    text, found = path.read_text(), corpus(path)
    assert documents(found, "train") == [text[: int(len(text) * 0.9)]]
    assert documents(found, "validation") == [text[int(len(text) * 0.9) :]]


def test_nothing_is_held_out_of_a_small_text_unless_it_is_said(tmp_path: Path, registry: Registry) -> None:
    path = write(tmp_path / "a.txt", "x" * 999)
    with pytest.raises(
        DataError, match=r"nothing is held out for validation of 999 bytes; say how much: -d valid"
    ):
        open_data(path, registry, split="validation")
    assert list(open_data(path, registry).parts()) == ["train"]
    assert len(open_data(path, registry, split="validation", reading={"validation": 0.1})) == 2
    write(path, "x" * 1000)
    assert open_data(path, registry, split="validation").parts()["validation"] == (1, 100, 100)
    with pytest.raises(DataError, match=r"nothing is held out for validation; say how much"):
        open_data(path, registry, split="validation", reading={"validation": "0"})


def test_bytes_of_a_split_are_its_documents_with_a_newline_between(
    tmp_path: Path, registry: Registry
) -> None:
    path = write(tmp_path / "a.txt", "\n\n".join(f"poem {i}\nof two lines" for i in range(100)))
    reading = {"documents": "paragraph"}
    for split in ("train", "validation"):
        data = open_data(path, registry, split=split, reading=reading)
        content = "\n".join(documents(corpus(path, **reading), split)).encode()
        rows = data.fetch(torch.arange(len(data)))[0].numpy()
        assert rows[:-1].tobytes() == content[: 64 * (len(data) - 1)]
        assert rows[-1].tobytes() == content[-64:]
        assert data.reading == reading


def test_a_text_that_does_not_fit_into_memory_has_the_same_items(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = open_data(REAL / "shakespeare.txt", registry)
    monkeypatch.setattr("aigc_core.data.texts.IN_MEMORY", 1000)
    monkeypatch.setattr("aigc_core.data.windows.IN_MEMORY", 1000)
    large = open_data(REAL / "shakespeare.txt", registry)
    assert (small.in_memory, large.in_memory) == (True, False)
    assert (len(large), large.digest) == (len(small), small.digest)
    index = torch.tensor([3, len(small) - 1, 0, 3])
    assert torch.equal(large.fetch(index)[0], small.fetch(index)[0])


def test_folders_with_parts_of_their_own_hold_nothing_out(tmp_path: Path, registry: Registry) -> None:
    for part in ("train", "test"):
        for i in range(40):
            write(tmp_path / part / f"{i}.txt", f"{part} {i} ".ljust(100, "x"))
    assert open_data(tmp_path, registry).parts().keys() == {"train"}
    assert b"test 0" in bytes(
        open_data(tmp_path, registry, split="test").fetch(torch.tensor([0]))[0][0].tolist()
    )
    with pytest.raises(DataError, match="nothing is held out"):
        open_data(tmp_path, registry, split="validation")
    held_out = {"validation": 0.2}
    assert open_data(tmp_path, registry, reading=held_out, split="validation").parts()["train"].documents < 40
    assert open_data(tmp_path, registry, reading=held_out, split="test").parts().keys() == {"train"}
    write(tmp_path / "validation" / "1.txt", "own " * 50)
    assert open_data(tmp_path, registry, split="validation").parts() == {"train": (1, 200, 200)}


def test_a_file_that_changes_meanwhile_is_not_half_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "some text " * 300)
    found = corpus(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"a\.txt: has changed while it was read; run the same command again"):
        list(found.pieces("train"))
    path.unlink()
    with pytest.raises(DataError, match=r"a\.txt: cannot be read: no such file"):
        list(found.pieces("train"))


def test_a_pipe_is_not_waited_for(tmp_path: Path, registry: Registry) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a\.txt: is no regular file"):
        open_data(tmp_path / "a.txt", registry)


def test_options_of_reading_are_for_texts(tmp_path: Path, registry: Registry) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 8, 8), np.uint8))
    for data in ("digits", tmp_path / "x.npz", tmp_path):
        with pytest.raises(UsageError, match="-d field=body does not apply: "):
            open_data(data, registry, reading={"field": "body"})
    text = write(tmp_path / "t.txt", "x" * 100)
    for reading, message in (
        ({"fields": "x"}, "has no option 'fields'; did you mean 'field'"),
        ({"validation": "0.6"}, "less than or equal to 0.5"),
        ({"documents": "poem"}, "'file', 'paragraph' or 'line'"),
    ):
        with pytest.raises(UsageError, match=message):
            open_data(text, registry, reading=reading)


def test_the_command_line_tells_what_is_held_out(aigc: Run, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", "".join(json.dumps({"body": f"text {i} " * 9}) + "\n" for i in range(100))
    )
    shown = json.loads(aigc("data", "show", path, "-d", "field=body", "--json").out)
    assert shown["parts"]["train"]["documents"] + shown["parts"]["validation"]["documents"] == 100
    text = aigc("data", "show", path, "-d", "field=body", "--split", "validation").out
    assert f"validation {shown['parts']['validation']['documents']} documents" in " ".join(text.split())
    assert aigc("data", "show", path).error.endswith("say which holds the text: -d field=NAME; it has: body")
    assert aigc("data", "show", "digits", "-d", "field=body").code == 2
    assert "must be of the form key=value" in aigc("data", "show", path, "-d", "field").err


def test_digests_are_of_documents_not_of_files(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.txt", "one")
    write(tmp_path / "a" / "2.txt", "two")
    write(tmp_path / "b" / "x.jsonl", '{"text": "one"}\n{"text": "two"}')
    write(tmp_path / "c" / "1.txt", "onetwo")
    write(tmp_path / "d" / "1.txt", "on")
    write(tmp_path / "d" / "2.txt", "etwo")
    digests = [corpus(tmp_path / name).digest for name in "abcd"]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert corpus(tmp_path / "a", validation=0.5).digest != digests[0]
    assert hashlib.sha256(b"").hexdigest() not in digests[0]


@pytest.fixture
def generator_of_bytes(site: Any) -> Any:
    from templates import template

    with template(site, "text"):
        yield


def test_a_run_remembers_how_its_text_was_read(generator_of_bytes: None, aigc: Run, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"body": f"text {i} " * 9}) + "\n" for i in range(60))
    path = write(tmp_path / "a.jsonl", rows)
    train = ["train", "template/small", "--data", path, "--steps", 3]
    assert aigc(*train).code == 6
    done = aigc(*train, "-d", "field=body", "-d", "validation=0.2", "--name", "one")
    assert done.code == 0, done.err
    record = aigc_core.inspect("one")
    assert record["data"]["reading"] == {"field": "body", "validation": 0.2}
    other = aigc(*train, "-d", "field=body", "--name", "two")
    assert other.code == 0, other.err
    assert aigc_core.inspect("two")["data"]["digest"] != record["data"]["digest"]
    again = aigc("runs", "resume", "one")
    assert again.code == 0, again.err
    assert aigc("train", "vae/mlp", "--data", "digits", "-d", "field=x", "--steps", 1).code == 2


@pytest.mark.slow
def test_what_is_trained_again_reads_its_text_alike(
    generator_of_bytes: None, aigc: Run, tmp_path: Path
) -> None:
    rows = "".join(json.dumps({"body": f"text {i} " * 9}) + "\n" for i in range(60))
    path = write(tmp_path / "a.jsonl", rows)
    done = aigc("train", "template/small", "--data", path, "--steps", 3, "-d", "field=body", "--name", "one")
    assert done.code == 0, done.err
    for where in ((), ("--data", path)):
        again = aigc("weights", "retrain", "one", *where)
        assert again.code == 0, again.err
