"""The store: versions, aliases, removal; nothing lost, nothing given twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Run, weights_bytes

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError
from aigc_core.files import create_exclusively
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version


def publish(name: str, value: int = 0, store: Store | None = None) -> Version:
    return (store or Store()).publish(name, {WEIGHTS_FILE: weights_bytes(value)})


def test_versions_are_numbered_and_found() -> None:
    store = Store()
    one, two = publish("tiny", 1), publish("tiny", 2)
    assert [str(v) for v in store] == ["tiny@1", "tiny@2"] == [str(one), str(two)]
    assert store.find("tiny") == store.find("tiny@2") == two.path
    assert store.find("tiny@1") == one.path == store.find(str(one.path))
    assert one.path.read_bytes() == weights_bytes(1)
    assert one.path.stat().st_mode & 0o777 == 0o444
    for reference, message in (
        ("tiny@7", "no version '7'; there are: 1, 2"), ("tinny", "did you mean 'tiny'"),
        ("x/y.safetensors", "no weights file"), ("../tiny", "no weights file"), ("TINY", "no weights"),
        ("tiny@", "no version ''"), ("tiny@0", "no version"), ("tiny@1@2", "no version"), ("@1", "no weights ''"),
    ):  # fmt: skip
        with pytest.raises(NotFoundError, match=message):
            store.find(reference)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "a/b",
        "A",
        "ä",
        "-x",
        "con ",
        "con",
        "nul.txt",
        "x" * 101,
        ".h",
        "dot.",
        "a.png",
        "a.safetensors",
        "a@b",
    ],
)
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="can't be named"):
        publish(name)
    assert list(Store()) == []


def test_eight_processes_that_publish_one_name_lose_none() -> None:
    code = (
        "import sys; from helpers import weights_bytes; from aigc_core.weights.store import Store\n"
        "for i in range(5): Store().publish('race', {'weights.safetensors': weights_bytes(int(sys.argv[1]) * 5 + i)})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    running = [subprocess.Popen([sys.executable, "-c", code, str(i)], env=environment) for i in range(8)]
    assert [p.wait() for p in running] == [0] * 8
    versions = Store().versions("race")
    assert [v.number for v in versions] == list(range(1, 41))
    assert sorted(v.manifest.record["training"]["steps"] for v in versions) == list(range(40))
    left = [path for path in Store().root.rglob("*") if path.name.startswith(".")]
    assert left == []


def test_the_same_bytes_are_kept_once() -> None:
    one, two = publish("a"), publish("b")
    assert one.path == two.path
    assert one.manifest.digest == two.manifest.digest
    assert len(list(Store().root.glob("blobs/*/*/*"))) == 1


def test_publishing_again_heals_a_damaged_blob() -> None:
    version = publish("a")
    version.path.chmod(0o644)
    version.path.write_bytes(b"rubbish")
    publish("a")
    assert version.path.read_bytes() == weights_bytes()


def test_publishing_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "no links on this file system")

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path / "fat")
    assert [str(publish("n", value, store)) for value in (1, 2)] == ["n@1", "n@2"]
    assert [v.path.read_bytes() for v in store.versions("n")] == [weights_bytes(1), weights_bytes(2)]
    with pytest.raises(FileExistsError), create_exclusively(store.layout.version("n", 1)) as out:
        out.write(b"other")
    assert store.find("n@1").read_bytes() == weights_bytes(1)


def test_an_alias_follows_the_version_that_it_was_given_to() -> None:
    store = Store()
    publish("a", 1), publish("a", 2)
    store.tag("a@1", "prod")
    assert store.find("a@prod") == store.find("a@1")
    store.tag("a", "prod")
    assert store.find("a@prod") == store.find("a@2")
    assert store.aliases() == {"a": {"prod": 2}}
    for bad in ("7", "", "UP", "a/b"):
        with pytest.raises(UsageError):
            store.tag("a@1", bad)
    store.untag("a", "prod")
    with pytest.raises(NotFoundError):
        store.find("a@prod")


def test_a_removed_version_comes_back_and_its_number_is_never_given_again() -> None:
    store = Store()
    publish("a", 1), publish("a", 2)
    store.tag("a@2", "prod")
    with pytest.raises(UsageError, match="tag --remove a@prod"):
        store.remove("a@2")
    store.untag("a", "prod")
    store.remove("a@2")
    assert [str(v) for v in store.versions("a")] == ["a@1"]
    with pytest.raises(NotFoundError, match="weights restore a@2"):
        store.find("a@2")
    assert str(publish("a", 3)) == "a@3"
    store.restore("a@2")
    assert [v.number for v in store.versions("a")] == [1, 2, 3]


def test_a_damaged_version_does_not_hide_the_others(aigc: Run) -> None:
    good, bad = publish("a", 1), publish("b", 2)
    Store().layout.manifest(bad.manifest.digest).write_bytes(b"rubbish")
    with pytest.raises(DamagedFileError):
        Store().find("b")
    result = aigc("weights", "list", "--json")
    assert [row["weights"] for row in json.loads(result.out)] == [str(good)]
    assert "b@1" in result.err
