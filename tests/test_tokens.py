"""Tokens of texts: made once, kept in a file, cut into windows; batches of them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest
import torch
from templates import REAL

from aigc_core.data import ArrayItems, Batches, open_data
from aigc_core.data import tokens as tokens_module
from aigc_core.data.order import permuted
from aigc_core.data.texts import TextItems
from aigc_core.data.tokens import Tokens, for_model, tokenised
from aigc_core.errors import BackendError, DataError, StorageError, UsageError
from aigc_core.interfaces import Tokenizer
from aigc_core.options import Options
from aigc_core.registry import Registry
from aigc_core.specs import Output

TEXT = REAL / "shakespeare.txt"
OUTPUT = Output("text", (-1,), 0, 255)


class Letters(Options):
    context: int = 16


class LetterTokens(Tokenizer):
    """The characters of the training text, and an end."""

    def __init__(self, letters: str, context: int) -> None:
        self.letters, self.context = letters, context

    @classmethod
    def fit(cls, config: Options, pieces: Callable[[], Iterable[str]], kept: Mapping[str, bytes]) -> Self:
        assert isinstance(config, Letters)
        if kept:
            return cls(kept["letters"].decode(), config.context)
        return cls("".join(sorted(set().union(*pieces()))), config.context)

    @property
    def assets(self) -> Mapping[str, bytes]:
        return {"letters": self.letters.encode()}

    @property
    def name(self) -> str:
        return "letters"

    @property
    def size(self) -> int:
        return len(self.letters) + 1

    @property
    def end(self) -> int:
        return len(self.letters)

    @property
    def window(self) -> int:
        return self.context + 1

    def encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        try:
            return np.array([self.letters.index(c) for c in text], np.int64)
        except ValueError:
            raise DataError(f"no token for a letter of {text[:10]!r}") from None


def letters(registry: Registry, path: Path = TEXT, context: int = 16, **reading: Any) -> Tokens:
    opened = open_data(path, registry, reading=reading)
    return for_model(opened, LetterTokens, Letters(context=context), {}, None)


def all_of(data: Tokens) -> list[list[int]]:
    found: list[list[int]] = data.fetch(torch.arange(len(data)))[0].tolist()
    return found


def cached(home: Path) -> list[str]:
    folder = home / "cache" / "tokens"
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock")) if folder.is_dir() else []


def test_windows_share_their_last_token_with_the_next_one(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcdefghij\n\nklm\n\nabc")
    data = letters(registry, path, context=4, documents="paragraph")
    name = "abcdefghijklm"
    row = [*range(10), 13, 10, 11, 12, 13, 0, 1, 2, 13]
    assert data.row.tolist() == row, "an end after each document"
    assert all_of(data) == [row[0:5], row[4:9], row[8:13], row[12:17], row[14:19]]
    assert data.fetch(torch.tensor([1]))[0].dtype == torch.int64
    assert data.info.shape == (5,)
    assert data.info.details == {"encoding": "utf-8", "tokenizer": "letters", "tokens": 14}
    assert data.info.assets == {"letters": name.encode()}
    assert (data.name, data.split, data.info.modality) == ("a", "train", "text")


@pytest.mark.parametrize(
    ("size", "dtype"), [(256, np.uint8), (257, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)]
)
def test_tokens_take_as_few_bytes_as_they_can(
    size: int, dtype: type, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LetterTokens, "size", property(lambda self: size))
    monkeypatch.setattr(LetterTokens, "encode", lambda self, text: np.arange(size - 40, size))
    data = letters(registry)
    assert data.row.dtype == dtype
    assert data.row[-1] == size - 1


def test_tokens_are_made_once(registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = letters(registry)
    files = cached(home)
    assert len(files) == 1

    def no(*_: object) -> None:
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "_encoded", no)
        again = letters(registry)
        longer = letters(registry, context=32)
    assert (again.digest, all_of(again)) == (first.digest, all_of(first))
    assert longer.digest != first.digest
    assert cached(home) == files, "the length of an item is no matter of the file"
    letters(registry, documents="line")
    assert len(cached(home)) == 2


def test_the_held_out_part_has_the_tokenizer_of_the_other(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc" * 600 + "cab" * 66)
    train = for_model(open_data(path, registry), LetterTokens, Letters(), {}, None)
    held_out = for_model(
        open_data(path, registry, split="validation"), LetterTokens, Letters(), train.info.assets, None
    )
    assert held_out.split == "validation"
    assert held_out.info == train.info
    assert train.row.tolist() + held_out.row.tolist() == [0, 1, 2] * 600 + [2, 0, 1] * 66
    assert train.digest != held_out.digest


@pytest.mark.parametrize("harm", ["cut", "longer", "header", "empty", "other"])
def test_a_file_that_is_not_whole_is_made_again(harm: str, registry: Registry, home: Path) -> None:
    whole = letters(registry)
    file = home / "cache" / "tokens" / cached(home)[0]
    content = file.read_bytes()
    damaged = {
        "cut": content[:-1], "longer": content + b"x", "header": b"x" + content[1:], "empty": b"",
        "other": content.replace(b'"|u1"', b'"<u2"', 1),
    }[harm]  # fmt: skip
    assert damaged != content
    file.unlink()
    file.write_bytes(damaged)
    assert all_of(letters(registry)) == all_of(whole)
    assert file.read_bytes() == content


def test_a_failure_leaves_nothing(registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LetterTokens, text: str) -> npt.NDArray[np.int64]:
        raise DataError("no token for this")

    with monkeypatch.context() as patch:
        patch.setattr(LetterTokens, "encode", broken)
        with pytest.raises(DataError, match=r"shakespeare\.txt: no token for this"):
            letters(registry)
    assert cached(home) == []
    with monkeypatch.context() as patch:
        patch.setattr(LetterTokens, "encode", lambda self, text: np.array([self.size]))
        with pytest.raises(BackendError, match="LetterTokens gave tokens outside 0 .. "):
            letters(registry)
    assert cached(home) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="no space left on device; free some space"):
            letters(registry)
    assert cached(home) == []
    assert len(letters(registry)) > 1


def test_a_home_that_cannot_be_written_to_is_said(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot write"):
        letters(registry)


SLOW = """
import sys, time
sys.path[:0] = {paths!r}
import numpy as np
from test_tokens import LetterTokens, TEXT, letters
from aigc_core.registry import default
encode = LetterTokens.encode
def slowly(self, text):
    print("at it", flush=True)
    time.sleep({seconds})
    return encode(self, text)
LetterTokens.encode = slowly
print(letters(default()).digest)
"""


def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(registry: Registry, home: Path) -> None:
    code = SLOW.format(paths=[str(Path(__file__).parent)], seconds=60)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at it\n"
        process.send_signal(signal.SIGKILL)
    assert [name.endswith(".partial") for name in cached(home)] == [True]
    data = letters(registry)
    assert len(data) > 1
    assert [name.endswith(".bin") for name in cached(home)] == [True], "what it left is gone"


def test_who_needs_the_same_tokens_waits_for_them(
    registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, made = LetterTokens.encode, []

    def slowly(self: LetterTokens, text: str) -> npt.NDArray[Any]:
        made.append(text)
        time.sleep(0.3)
        return encode(self, text)

    monkeypatch.setattr(LetterTokens, "encode", slowly)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(letters(registry).digest)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 3
    assert len(made) == 1
    assert len(cached(home)) == 1


def test_too_few_tokens_name_both_numbers_and_the_option(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcdefgh")
    with pytest.raises(
        DataError, match=r"a\.txt: its train text is 9 tokens, an item takes 17 .*-o context=8"
    ):
        letters(registry, path)
    assert len(letters(registry, path, context=8)) == 1


def test_what_is_no_text_of_documents_has_no_tokens(registry: Registry) -> None:
    bare = ArrayItems(np.zeros((3, 8), np.uint8), kind="text", name="bare")
    with pytest.raises(DataError, match="'bare' holds no documents of text"):
        for_model(bare, LetterTokens, Letters(), {}, None)
    sized = open_data(TEXT, registry, size=(32, 32))
    with pytest.raises(UsageError, match="--size does not apply: .* -o context=N"):
        for_model(sized, LetterTokens, Letters(), {}, None)


def test_a_long_row_is_read_from_its_file(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    small = letters(registry)
    monkeypatch.setattr("aigc_core.data.windows.IN_MEMORY", 1000)
    large = letters(registry)
    assert (small.in_memory, large.in_memory) == (True, False)
    assert all_of(small) == all_of(large)
    assert small.digest == large.digest
    assert small.part(100, 200).tolist() == large.part(100, 200).tolist() == small.row[100:200].tolist()
    one, two = (Batches(d, 8, 3, OUTPUT, torch.device("cpu")) for d in (small, large))
    for a, b in zip(one.steps(0, 40), two.steps(0, 40), strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.index, b.index)


def test_each_epoch_cuts_the_text_elsewhere(registry: Registry) -> None:
    data = letters(registry)
    row = torch.from_numpy(data.row.astype(np.int64))
    batches = Batches(data, len(data), 7, OUTPUT, torch.device("cpu"))
    places = []
    for epoch, batch in enumerate(batches.steps(0, 6)):
        assert sorted(batch.index.tolist()) == list(range(len(data))), "the index says which item it was"
        phase = batches.phases(epoch)
        assert phase.unique().numel() == 1
        places.append(int(phase[0]))
        starts = (batch.index * 16 + phase).clamp_max(len(row) - 17)
        assert torch.equal(batch.x, torch.stack([row[s : s + 17] for s in starts.tolist()]))
    assert len(set(places)) > 1
    assert all(0 <= place < 16 for place in places)
    again = next(iter(Batches(data, len(data), 7, OUTPUT, torch.device("cpu")).steps(4, 5)))
    assert torch.equal(again.x, batches.batch(again.index, batches.phases(4)).x)


def test_a_batch_over_the_end_of_an_epoch_has_rows_of_both(registry: Registry) -> None:
    data = letters(registry)
    batches = Batches(data, 100, 1, OUTPUT, torch.device("cpu"))
    step = len(data) // 100
    assert batches.phases(step).unique_consecutive().numel() == 2
    shared = [
        torch.cat([part.x for part in parts])
        for parts in batches.shares(step, step + 1, [slice(0, 30), slice(30, 100)])
    ]
    assert torch.equal(shared[0], next(iter(batches.steps(step, step + 1))).x)


def test_other_data_are_cut_in_one_way(registry: Registry) -> None:
    data = open_data("digits", registry)
    assert data.phases == 1
    assert Batches(data, 5, 0, Output("image", (1, 8, 8)), torch.device("cpu")).phases(3).tolist() == [0] * 5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 1000, 4096, 4097, 65537])
def test_an_order_that_is_computed_has_each_item_once(count: int) -> None:
    places = np.arange(count)
    one, two = permuted(places, count, 1), permuted(places, count, 2)
    assert sorted(one.tolist()) == places.tolist()
    assert one.dtype == np.int64
    if count > 16:
        assert one.tolist() != two.tolist()
        assert one.tolist() != places.tolist()
    part = places[count // 3 : count // 2 + 1]
    assert permuted(part, count, 1).tolist() == one[part].tolist(), "a part is computed alone"


def test_an_order_that_is_computed_looks_random() -> None:
    count = 100_000
    for key in (0, 1, 2**63 - 1):
        order = permuted(np.arange(count), count, key)
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.02
        assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.02
        assert (order == np.arange(count)).sum() < 15
        thirds = np.histogram(order[: count // 10], 10, (0, count))[0]
        assert np.abs(thirds / (count / 100) - 1).max() < 0.15


def test_an_order_of_very_many_items_takes_no_time() -> None:
    began = time.perf_counter()
    found = permuted(np.arange(10**12, 10**12 + 1000), 10**13 + 1, 5)
    assert time.perf_counter() - began < 0.5
    assert len(set(found.tolist())) == 1000
    assert 0 <= found.min() <= found.max() <= 10**13


def test_large_sets_are_shuffled_without_a_list(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    data = letters(registry)
    listed = Batches(data, 64, 0, OUTPUT, torch.device("cpu")).indices(0)
    monkeypatch.setattr(Batches, "LISTED", 10)
    batches = Batches(data, 64, 0, OUTPUT, torch.device("cpu"))
    index = torch.cat([batches.indices(step) for step in range(2 * len(data) // 64 + 1)])
    first, second = index[: len(data)], index[len(data) : 2 * len(data)]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(data)))
    assert first.tolist() != second.tolist()
    assert first[:64].tolist() != listed.tolist()


def test_a_text_carries_its_corpus(registry: Registry) -> None:
    opened = open_data(TEXT, registry)
    assert isinstance(opened, TextItems)
    data = tokenised(
        opened.corpus, LetterTokens("".join(sorted(set(TEXT.read_text()))), 16), "train", name="x"
    )
    assert (data.name, data.split) == ("x", "train")
    assert data.corpus is opened.corpus
