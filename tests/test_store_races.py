"""Many processes at one store, disks that are full or read-only, and files that may not be read."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import seen
from helpers import Run, weights_bytes

from aigc_core.errors import NotFoundError, StorageError
from aigc_core.files import remove_unfinished, write_atomically
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.locks import PATIENCE
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

NOBODY = 65534


def publish(name: str, value: int = 0) -> Version:
    return Store().publish(name, {WEIGHTS_FILE: weights_bytes(value)})


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own, that has the helpers of the tests."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


HEAD = """
import os, sys, time
from helpers import weights_bytes
from aigc_core.errors import AigcError, NotFoundError
from aigc_core.weights.store import Store
store = Store()
def publish(name, value): return store.publish(name, {"weights.safetensors": weights_bytes(value)})
"""


def test_the_same_bytes_from_three_processes_are_one_blob() -> None:
    start = time.time() + 1.0
    code = HEAD + "time.sleep(max(0, float(sys.argv[1]) - time.time()))\nprint(publish('same', 5))"
    versions = sorted(ended(p).strip() for p in [python(code, start) for _ in range(3)])
    assert versions == [f"same@{n}" for n in range(1, 4)]
    assert len(list(Store().root.glob("blobs/*/*/*"))) == 1
    assert len(list(Store().root.glob("manifests/*/*/*"))) == 1
    assert seen(Store())["live"].keys() == set(versions)


PUBLISHER = (
    HEAD
    + """
name, end, number = sys.argv[1], float(sys.argv[2]), 0
while time.time() < end:
    number += 1
    version = publish(name, number)
    if number % 3:
        store.remove(str(version))
    time.sleep(0.02)
    if number % 2:
        publish("shared", number)
print(number)
"""
)
LOADER = (
    HEAD
    + """
from aigc_core.weights.blobs import digest_of
end, loads = float(sys.argv[1]), 0
while not loads or time.time() < end:
    with store.using():
        for version in store:
            if version.name == "shared":
                for file in version.manifest.files.values():
                    assert digest_of(store.layout.blob(file.digest)) == file.digest, version
                loads += 1
    time.sleep(0.02)
print(loads)
"""
)
COLLECTOR = (
    HEAD
    + """
from aigc_core.weights.gc import collect
end, collected = float(sys.argv[1]), 0
while not collected or time.time() < end:
    found = collect(store)
    collected += len(found.blobs)
    time.sleep(0.01)
print(collected)
"""
)


@pytest.mark.parametrize("seconds", [2.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_gc_takes_nothing_from_those_who_publish_and_load(seconds: float) -> None:
    """What one publishes and removes, another publishes again: the same bytes come and go."""
    publish("kept", 0)
    end = time.time() + 0.5 + seconds
    publishers = [python(PUBLISHER, name, end) for name in ("one", "two")]
    loader, collector = python(LOADER, end), python(COLLECTOR, end)
    published = [int(ended(p)) for p in publishers]
    assert int(ended(loader)) > 0
    assert int(ended(collector)) > 0, "gc never got hold of the store"
    store = Store()
    state = seen(store)  # every byte of every version
    shared = [v for v in state["live"] if v.startswith("shared@")]
    assert len(shared) == sum((n + 1) // 2 for n in published), "none is lost"
    assert [v.number for v in store.versions("shared")] == list(range(1, len(shared) + 1))
    for name, count in zip(("one", "two"), published, strict=True):
        assert [v.number for v in store.versions(name)] == list(range(3, count + 1, 3))
    assert "kept@1" in state["live"]


HOLDER = (
    HEAD
    + """
import contextlib
store.root.mkdir(parents=True, exist_ok=True)
with store.alone() if sys.argv[1] == "alone" else store.using(write=True):
    print("held", flush=True)
    time.sleep(60)
"""
)


@pytest.mark.parametrize("how", ["alone", "shared"])
def test_when_the_holder_of_the_lock_is_killed_the_next_enters_at_once(how: str) -> None:
    store = Store()
    publish("a")
    holder = python(HOLDER, how)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    entry = "using(write=True)" if how == "alone" else "alone()"
    waiting = python(f"{HEAD}print('ready', flush=True)\nwith store.{entry}:\n    print(time.time())")
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    time.sleep(0.2)
    assert waiting.poll() is None, "it waits"
    killed = time.time()
    holder.send_signal(signal.SIGKILL)
    assert float(ended(waiting)) - killed < 1.0
    holder.communicate()
    assert [str(v) for v in store] == ["a@1"]


def test_a_listing_that_was_killed_leaves_an_index_that_is_read_or_made_anew(aigc: Run) -> None:
    code = (
        HEAD
        + """
import signal, sqlite3
from aigc_core.weights.index import listing
listing(store)
database = sqlite3.connect(store.layout.index, isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE versions SET row = 'no JSON', name = 'x'")
database.executemany("INSERT INTO versions VALUES (?, 1, 1, 'x', 1, ?)", [(f"x@{n}.json", "x" * 3000) for n in range(500)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    publish("a", 1), publish("a", 2)
    listed = aigc("weights", "list", "--json").out
    killed = python(code)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert aigc("weights", "list", "--json").out == listed
    publish("b", 1)
    assert [row["weights"] for row in json.loads(aigc("weights", "list", "--json").out)] == [
        "a@1",
        "a@2",
        "b@1",
    ]


def test_readers_need_no_lock_that_a_gc_holds_for_the_listing(aigc: Run) -> None:
    publish("a")
    holder = python(HOLDER, "alone")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    begin = time.time()
    assert [row["weights"] for row in json.loads(aigc("weights", "list", "--json").out)] == ["a@1"]
    assert time.time() - begin < PATIENCE / 2
    holder.kill()
    holder.communicate()


def test_a_temporary_file_that_is_cleared_away_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkstemp

    def mkstemp(*arguments: Any, **more: Any) -> tuple[int, str]:
        handle, name = make(*arguments, **more)
        made.append(name)
        if len(made) < 3:
            remove_unfinished(tmp_path)
            assert not os.path.exists(name)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    with write_atomically(tmp_path / "file") as file:
        remove_unfinished(tmp_path)
        file.write(b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert len(made) == 3


# Disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def test_a_disk_that_is_full_or_read_only_loses_nothing(
    disk: Path, aigc: Run, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIGC_HOME", str(disk / "home"))
    publish("a", 1)
    before = seen(Store())
    source = tmp_path / "large.safetensors"
    source.write_bytes(weights_bytes(2, 200_000))
    for free in (0, 4, 40, 80, 120, 160, 188, 192, 196, 200):
        used = int(subprocess.check_output(["du", "-sk", disk], text=True).split()[0])
        remount(disk, f"size={used + free}k")
        for content in (source.read_bytes(), source):
            with pytest.raises(StorageError, match="no space left on device; free some space"):
                Store().publish("a", {WEIGHTS_FILE: content})
            assert seen(Store()) == before, f"{free} KB free"
        assert aigc("weights", "list").code == 0
    refused = aigc("weights", "import", source, "--name", "b")
    assert (refused.code, refused.error.count("no space left")) == (8, 1)
    remount(disk, "ro,size=10m")
    for command in (
        ["tag", "a@1", "x"],
        ["rm", "a@1"],
        ["import", source, "--name", "b"],
        ["gc", "--delete"],
    ):
        refused = aigc("weights", *command)
        assert (refused.code, "read-only file system" in refused.error) == (8, True), refused
    assert seen(Store()) == before
    assert aigc("weights", "verify", "--bytes-only").code == 0
    assert aigc("weights", "list").code == 0
    remount(disk, "rw")
    assert str(Store().publish("a", {WEIGHTS_FILE: source})) == "a@2"


LIMITED = (
    HEAD
    + """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in sys.argv[1:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), most))
    try:
        print(store.publish("a", {"weights.safetensors": weights_bytes(3, 5000)}))
    except AigcError as error:
        print(type(error).__name__, error)
"""
)


def test_a_file_that_may_not_grow_is_refused_at_any_size() -> None:
    publish("a", 1)
    told = ended(python(LIMITED, 0, 1, 100, 4096, 5000, 10**6)).splitlines()
    assert len(told) == 6
    assert all(line.startswith("StorageError cannot write") for line in told[:5]), told
    assert told[5] == "a@2", "what was refused has taken no number"
    assert seen(Store())["live"].keys() == {"a@1", "a@2"}


def test_a_store_may_be_a_link_to_another_disk(home: Path, tmp_path: Path, aigc: Run) -> None:
    real = tmp_path / "elsewhere" / "store"
    real.mkdir(parents=True)
    home.mkdir()
    (home / "store").symlink_to(real)
    version = publish("a", 1)
    Store().tag("a@1", "prod")
    publish("a", 2)
    Store().remove("a@2")
    assert aigc("weights", "gc", "--delete").code == 0
    assert version.path.read_bytes() == weights_bytes(1)
    assert len(list(real.glob("blobs/*/*/*"))) == 1
    assert seen(Store(real))["aliases"] == {"a@prod": 1}
    (home / "store").unlink()
    (home / "store").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError):
        publish("a", 3)
    assert aigc("weights", "list").code == 0


def as_nobody(code: str, *arguments: object) -> str:
    """Runs it as a user who owns nothing here."""
    known = "from aigc_core.weights import gc, header, index\n"  # from a folder that may be closed to others
    drop = f"{known}os.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n"
    return ended(python(HEAD.replace("store = Store()", drop + "store = Store()") + code, *arguments))


@pytest.fixture
def open_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that other users can reach."""
    if os.getuid():
        pytest.skip("only root can become another user")
    folder = Path("/tmp") / f"aigc-test-{os.getpid()}-{random.randrange(10**9)}"
    folder.mkdir(mode=0o755)
    monkeypatch.setenv("AIGC_HOME", str(folder))
    yield folder
    shutil.rmtree(folder)


TRY = """
for what in sys.argv[1:]:
    try:
        print(eval(what))
    except AigcError as error:
        print(type(error).__name__, error)
"""


def test_a_store_that_can_only_be_read_is_read(open_home: Path) -> None:
    publish("a", 1)
    told = as_nobody(
        TRY, "[str(v) for v in store]", "len(store.find('a').read_bytes())", "publish('a', 2)", "store.tag('a', 'x')",
        "store.remove('a@1')", "gc.collect(store)",
        "[f'{name}@{n}' for name, n, _ in index.listing(store).rows]",
    ).splitlines()  # fmt: skip
    assert told[:2] == ["['a@1']", str(len(weights_bytes(1)))]
    for line in told[2:6]:
        assert line.startswith("StorageError cannot write"), line
        assert "permission denied; choose a place that you may write to" in line
    assert told[6] == "['a@1']"
    assert seen(Store())["live"].keys() == {"a@1"}


@pytest.mark.parametrize("what", ["blob", "manifest", "version", "alias", "tombstone"])
def test_a_file_that_may_not_be_read_is_named_and_hides_no_other(what: str, open_home: Path) -> None:
    store = Store()
    publish("good", 1), publish("bad", 2), publish("bad", 3)
    store.tag("good", "prod")
    store.remove("bad@2")
    bad = store.version("bad@1")
    path = {
        "blob": bad.path, "manifest": store.layout.manifest(bad.manifest.digest), "version": store.layout.version("bad", 1),
        "alias": store.layout.alias("good", "prod"), "tombstone": store.layout.tombstone("bad", 2),
    }[what]  # fmt: skip
    for folder in [open_home, *(p for p in open_home.rglob("*"))]:
        os.chown(folder, NOBODY, NOBODY)
    path.chmod(0)
    told = as_nobody(
        TRY, "len(store.find('good').read_bytes())", "store.aliases()", "len(store.holders('sha256:'))",
        "[f'{name}@{n}' for name, n, _ in index.listing(store).rows]",
        "header.read_header(store.find('bad@1'))", "store.version('good@prod')",
        "gc.garbage(store)",
    ).splitlines()  # fmt: skip
    assert told[0] == str(len(weights_bytes(1)))
    assert told[1] == ("{}" if what == "alias" else "{'good': {'prod': 1}}")
    assert told[2] == "0"
    assert "good@1" in told[3]
    refused = {"blob": 4, "manifest": 4, "version": 4, "alias": 5}.get(what)
    if refused is not None:
        assert told[refused].startswith(f"StorageError cannot read {path}: permission denied"), told[refused]
    if what != "blob":
        assert told[6].startswith("DamagedFileError nothing is deleted while a record can't be read"), told[6]
        assert str(path) in told[6]


def test_what_another_user_owns_is_not_followed_out_of_the_store() -> None:
    """A name in a store is never a path: only names that can be named are looked at."""
    publish("a", 1)
    store = Store()
    (store.layout.versions / "..@1.json").write_text("{}")
    (store.layout.versions / "a@..json").write_text("{}")
    (store.layout.versions / "a@1e1.json").write_text("{}")
    assert [str(v) for v in Store()] == ["a@1"]
    with pytest.raises(NotFoundError):
        Store().find("..@1")
