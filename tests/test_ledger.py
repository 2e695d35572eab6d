"""The ledger keeps what it was told, whatever happens to its processes, its disk and its file; sampling never waits
for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Run
from PIL import Image

import aigc_core
from aigc_core.errors import DamagedFileError, InterruptedRun, StorageError
from aigc_core.provenance.ledger import BATCH, Ledger
from aigc_core.sampling.draw import sample
from aigc_core.training.job import train

RECORD = {"seed": 3, "start": 0, "count": 7, "content": "what is not the request's", "sampler": "prior"}

WRITER = """
import sys
from pathlib import Path
from aigc_core.provenance.ledger import Ledger
path, name, batches, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import hashlib
print("begun", flush=True)
for batch in range(batches):
    rows = [(hashlib.sha256(f"{name} {batch} {i}".encode()).digest(), batch * size + i, 1) for i in range(size)]
    Ledger(path).enter({"request": name}, rows)
    print(batch, flush=True)
"""


def content(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def writer(path: Path, name: str, batches: int, size: int = 100) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(batches), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def count(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT count(*) FROM samples").fetchone()[0])


def fill(ledger: Ledger, first: int, last: int) -> list[str]:
    """Enters samples of RECORD; the remarks."""
    remarks: list[str] = []
    with ledger.of(RECORD, remarks.append) as entries:
        for index in range(first, last):
            entries.add(content(str(index)), index, 1)
    return remarks


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "new" / "ledger.sqlite")


def test_a_sample_is_found_with_its_request_and_index(ledger: Ledger) -> None:
    assert ledger.find(content("5")) == []
    assert fill(ledger, 0, 10) == fill(ledger, 0, 10) == []
    assert count(ledger.path) == 10
    (found,) = ledger.find(content("5"))
    assert found == {"seed": 3, "sampler": "prior", "start": 5, "count": 1, "content": content("5")}
    assert ledger.find(content("10")) == []
    ledger.enter({"seed": 4}, [(bytes.fromhex(content("5")[7:]), 8, 2)])
    assert [r["seed"] for r in ledger.find(content("5"))] == [4, 3], "the latest first"


def test_an_entry_takes_less_than_a_hundred_bytes(ledger: Ledger) -> None:
    number = BATCH * 5
    began = time.perf_counter()
    assert fill(ledger, 0, number) == []
    assert (time.perf_counter() - began) / number < 100e-6
    assert ledger.path.stat().st_size < 100 * number
    assert ledger.find(content("77777"))[0]["start"] == 77777


def test_a_batch_is_there_as_a_whole_or_not_at_all_when_its_process_is_killed(ledger: Ledger) -> None:
    for round_ in range(6):
        with writer(ledger.path, f"round {round_}", 10**6) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == str(2 + round_):
                    break
            time.sleep(round_ * 0.0007)
            process.send_signal(signal.SIGKILL)
            done = [int(line) for line in process.stdout if line.strip().isdecimal()]
        last = max(done, default=2 + round_)
        assert count(ledger.path) % 100 == 0
        for batch in range(last + 1):
            assert ledger.find(content(f"round {round_} {batch} 99")), batch


def test_several_processes_enter_at_once(ledger: Ledger) -> None:
    names = ["a", "b", "c"]
    processes = [writer(ledger.path, name, 30, 20) for name in names]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert count(ledger.path) == 3 * 30 * 20
    assert all(ledger.find(content(f"{name} 29 19"))[0]["request"] == name for name in names)


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def zeroed(path: Path) -> None:
    """All but the first page."""
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(bytes(path.stat().st_size - 4096))


def renamed(path: Path) -> None:
    """What SQLite says of it is no UTF-8."""
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE samples", b"CREATE TAB\xdcE samples"))


@pytest.mark.parametrize("damage", [garbage, truncated, zeroed, renamed])
def test_a_damaged_ledger_is_said_and_moved_aside_and_a_new_one_begun(damage: object, ledger: Ledger) -> None:
    fill(ledger, 0, 2000)
    assert callable(damage)
    damage(ledger.path)
    before = ledger.path.read_bytes()
    with pytest.raises(DamagedFileError, match=r"ledger\.sqlite: cannot be read"):
        for index in range(2000):
            ledger.find(content(str(index)))
    (remark,) = fill(ledger, 2000, 4000)
    assert "was damaged; it is kept as ledger.sqlite.damaged-1" in remark
    assert ledger.path.with_name("ledger.sqlite.damaged-1").read_bytes()[:100] == before[:100]
    assert ledger.find(content("2001"))[0]["start"] == 2001
    assert count(ledger.path) == 2000
    assert fill(ledger, 0, 1) == []


def test_two_that_find_it_damaged_begin_one_new_ledger(ledger: Ledger) -> None:
    fill(ledger, 0, 10)
    garbage(ledger.path)
    processes = [writer(ledger.path, name, 10, 20) for name in ("a", "b", "c")]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert count(ledger.path) == 3 * 10 * 20
    assert len(list(ledger.path.parent.glob("*.damaged-*"))) == 1


def test_an_entry_that_was_changed_is_not_believed(ledger: Ledger) -> None:
    fill(ledger, 0, 3)
    with contextlib.closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute("UPDATE requests SET record = replace(record, '3', '4')")
    with pytest.raises(DamagedFileError, match="an entry is not what it was"):
        ledger.find(content("1"))


def test_a_ledger_of_a_newer_aigc_is_left_alone(ledger: Ledger) -> None:
    fill(ledger, 0, 3)
    with contextlib.closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute("PRAGMA user_version = 2")
    (remark,) = fill(ledger, 3, 6)
    assert "a newer aigc made it" in remark
    assert not list(ledger.path.parent.glob("*.damaged-*"))
    with pytest.raises(StorageError, match="cannot write"):
        ledger.enter(RECORD, [(b"x" * 32, 0, 1)])


# Sampling


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file outside the home."""
    made = train("gan/mlp", "digits", steps=1).path
    return Path(shutil.copy(made, tmp_path / "tiny.safetensors"))


@pytest.mark.parametrize("home", ["/proc/aigc", "{tmp}/file/home", "{tmp}/folder-there"])
def test_samples_are_written_where_the_ledger_cannot_be(
    home: str, weights: Path, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder-there/ledger.sqlite").mkdir(parents=True)
    monkeypatch.setenv("AIGC_HOME", home.format(tmp=tmp_path))
    for out in ("f/", "x.png", "x.npz"):
        result = aigc("sample", weights, "-n", 100, "--out", f"{tmp_path}/{out}")
        assert result.code == 0
        assert "aigc: the samples are whole, but a search by their content won't find them" in result.error
    assert len(list((tmp_path / "f").iterdir())) == 100
    assert aigc_core.trace(tmp_path / "f/000007.png")["found_by"] == "record"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_samples_are_written_when_the_disk_of_the_ledger_is_full(
    weights: Path, disk: Path, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_HOME", str(disk))
    assert aigc("sample", weights, "-n", 100, "--out", tmp_path / "few/").err == ""
    full = aigc("sample", weights, "-n", 5000, "--out", tmp_path / "many.npz")
    assert full.code == 0
    assert "database or disk is full" in full.error
    assert aigc_core.inspect(tmp_path / "many.npz")["intact"] is True
    assert Ledger().find(aigc_core.inspect(tmp_path / "few/000099.png")["content"])
    assert 0 < count(Ledger().path) <= 101


@pytest.mark.parametrize("out", ["f/", "x.npz", "x.tar"])
def test_what_a_killed_process_did_not_tell_is_entered_by_the_next(
    out: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aigc_gan.samplers import Prior

    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        draw, done = Prior.sample, 0

        def until(self: Prior, *arguments: object) -> object:
            nonlocal done
            done += 1
            if done > 2:
                raise KeyboardInterrupt
            return draw(self, *arguments)  # type: ignore[arg-type]

        patch.setattr(Prior, "sample", until)
        sample(weights, count=200, out=f"{tmp_path}/{out}")
    Ledger().path.unlink()
    sample(weights, count=200, out=f"{tmp_path}/{out}")
    assert count(Ledger().path) == (201 if out == "x.npz" else 200)
    drawn = sample(weights, count=1, start=5)
    assert drawn is not None
    Image.fromarray(drawn.array[0, :, :, 0]).save(tmp_path / "one.png")
    assert aigc_core.trace(tmp_path / "one.png")["sample"]["start"] == 5
