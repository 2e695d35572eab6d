"""`aigc weights`: what a user sees of the store, and may do to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import Result, Run, weights_bytes

from aigc_core.errors import DamagedFileError, StorageError, UsageError
from aigc_core.training.job import train
from aigc_core.training.retrain import compare
from aigc_core.weights.gc import collect, garbage
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version


def publish(name: str, value: int = 0, **record: object) -> Version:
    return Store().publish(name, {WEIGHTS_FILE: weights_bytes(value, **record)})


def rows(result: Result) -> list[dict[str, object]]:
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert isinstance(found, list)
    return found


def names(result: Result) -> list[object]:
    return [row["weights"] for row in rows(result)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two trainings, made once."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGC_HOME", str(home))
        for seed in (0, 1):
            train("vae/mlp", "digits", steps=50, seed=seed, options={"hidden": (8,)}, name="tiny")
    return home


@pytest.fixture
def kept(trained: Path, home: Path) -> Store:
    """The same home, for a test to spoil."""
    shutil.copytree(trained, home)
    return Store()


def test_the_list_is_the_same_without_its_index(aigc: Run, home: Path) -> None:
    for value in range(12):
        publish("a", value)
    publish("b")
    Store().tag("a@2", "prod")
    first = aigc("weights", "list", "--json")
    assert names(first) == [*(f"a@{n}" for n in range(1, 13)), "b@1"]
    assert first.out == aigc("weights", "list", "--json").out
    index = home / "store" / "index.sqlite"
    index.unlink()
    assert aigc("weights", "list", "--json").out == first.out
    index.write_bytes(b"no database at all" * 1000)
    assert aigc("weights", "list", "--json").out == first.out
    assert aigc("weights", "list", "--json").out == first.out, "it is made anew"
    publish("b", 2)
    Store().remove("a@1")
    assert names(aigc("weights", "list", "--json")) == [*(f"a@{n}" for n in range(2, 13)), "b@1", "b@2"]
    moved = home / "elsewhere"
    shutil.copytree(home / "store", moved / "store")
    for row in rows(aigc("weights", "list", "--json")):
        assert Path(str(row["path"])).is_file()


def test_a_list_is_filtered(aigc: Run) -> None:
    publish("digits", 1)
    publish("faces", 2, model="tiny/other")
    Store().tag("faces", "prod")
    assert names(aigc("weights", "list", "dig*", "--json")) == ["digits@1"]
    assert names(aigc("weights", "list", "--model", "tiny/o*", "--json")) == ["faces@1"]
    assert names(aigc("weights", "list", "--data", "bytes", "--json")) == ["digits@1", "faces@1"]
    assert aigc("weights", "list", "none*").error == "aigc: no weights match; see them all: aigc weights list"
    assert [row["aliases"] for row in rows(aigc("weights", "list", "--json"))] == [[], ["prod"]]
    assert "prod" in aigc("weights").out


def test_an_empty_store_says_what_to_do(aigc: Run, home: Path) -> None:
    assert aigc("weights").error.startswith("aigc: no weights are kept yet; train some")
    assert aigc("weights", "list", "--json").out == "[]\n"
    assert not home.exists(), "a listing writes nothing"


def test_a_card_shows_what_weights_are(aigc: Run, kept: Store, tmp_path: Path) -> None:
    shown = aigc("weights", "show", "tiny@1", "--sheet", tmp_path / "x.png")
    for text in (
        "vae/mlp",
        "latent=16",
        "digits (train, 1797 items",
        "50 steps, seed 0",
        "MIT",
        "aigc sample tiny@1",
    ):
        assert text in shown.out
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads(aigc("weights", "show", "tiny@1", "--json").out)
    assert record["tensors_digest"] == kept.version("tiny@1").manifest.tensors_digest
    assert record["golden"]["count"] == 16
    assert aigc("weights", "show", "tiny", "--sheet", tmp_path / "x.wav").code == 2
    publish("bare")
    assert "has no sheet of samples" in aigc("weights", "show", "bare", "--sheet", tmp_path / "y.png").error
    assert "aigc inspect" in aigc("weights", "show", str(kept.find("tiny"))).error


def test_verify_checks_bytes_and_behaviour(aigc: Run, kept: Store) -> None:
    good = aigc("weights", "verify")
    assert good.code == 0
    assert good.out.splitlines() == [f"tiny@{n}  bytes ok; golden sample ok" for n in (1, 2)]
    version = kept.version("tiny@1")
    lied = {**(version.manifest.golden or {}), "content": "sha256:" + "0" * 64}
    whole = {name: kept.layout.blob(file.digest) for name, file in version.manifest.files.items()}
    kept.publish("lied", whole, golden=lied)
    other = aigc("weights", "verify", "lied")
    assert other.code == 9
    assert "differs from what it drew when it was published (in the same environment" in other.out
    assert aigc("weights", "verify", "lied", "--bytes-only").code == 0
    blob = kept.find("tiny@2")
    blob.chmod(0o644)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    bad = aigc("weights", "verify", "--json")
    assert bad.code == 5
    assert [row["bytes"] == "ok" for row in json.loads(bad.out)] == [True, True, False]
    refused = aigc("sample", "tiny@2", "--out", "x.png")
    assert refused.code == 5
    assert str(blob) in refused.error


def test_gc_shows_first_and_deletes_when_told(aigc: Run, home: Path) -> None:
    store = Store()
    one, two = publish("a", 1), publish("a", 2)
    gone = two.path
    (store.layout.partial / "left.partial").write_bytes(b"x" * 100)
    assert aigc("weights", "rm", "a").code == 2
    assert aigc("weights", "rm", "a@2").out == "removed a@2; bring it back: aigc weights restore a@2\n"
    assert aigc("weights", "list", "--removed").out == "a@2\n"
    dry = aigc("weights", "gc", "--explain")
    assert "would delete a@2, that was removed" in dry.out
    assert "a@1 weights.safetensors" in dry.out
    assert gone.is_file()
    assert aigc("weights", "restore", "a@2").out == "restored a@2\n"
    store.remove("a@2")
    found = json.loads(aigc("weights", "gc", "--delete", "--json").out)
    assert found["versions"] == ["a@2"]
    assert found["partial"] == ["left.partial"]
    assert not gone.exists()
    assert one.path.is_file()
    assert "removed for good" in aigc("weights", "restore", "a@2").error
    assert aigc("weights", "gc", "--delete").out == "nothing to delete\n"
    assert str(publish("a", 3)) == "a@3"


@pytest.mark.parametrize("folder", ["versions", "aliases", "tombstones", "manifests"])
def test_gc_refuses_while_a_record_is_unreadable(folder: str) -> None:
    store = Store()
    publish("a", 1), publish("a", 2), publish("a", 3)
    store.tag("a@1", "prod")
    store.remove("a@3")
    damaged = sorted(path for path in (store.root / folder).rglob("*.json"))[0]
    if folder == "manifests":
        damaged = store.layout.manifest(store.version("a@1").manifest.digest)
    damaged.write_bytes(b"{")
    before = sorted(path for path in store.root.rglob("*"))
    for act in (garbage, collect):
        with pytest.raises(DamagedFileError, match="nothing is deleted while a record can't be read"):
            act(store)
    assert sorted(path for path in store.root.rglob("*")) == before


def test_gc_waits_for_nobody_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    publish("a", 1)
    monkeypatch.setattr("aigc_core.weights.locks.alone.__wrapped__.__defaults__", (0.1,))
    with store.using(), pytest.raises(UsageError, match="other commands are using this store"):
        collect(store)


def test_an_export_is_deterministic_checked_and_taken_back(aigc: Run, kept: Store, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert aigc("weights", "export", "tiny@1", tmp_path / name).code == 0
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == [
        "README.md",
        "SHA256SUMS",
        "manifest.json",
        "metrics.jsonl",
        "samples.png",
        "weights.safetensors",
    ]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    card = (tmp_path / "one" / "README.md").read_text()
    assert card.startswith('---\nlibrary_name: "aigc"\nlicense: "mit"\n')
    taken = aigc("weights", "import", tmp_path / "one", "--name", "back", "--alias", "prod")
    assert taken.out.startswith("kept back@1, which is back@prod\n")
    assert kept.version("back@prod").manifest.digest == kept.version("tiny@1").manifest.digest
    assert "not empty" in aigc("weights", "export", "tiny@1", tmp_path / "one").error
    single = aigc("weights", "import", tmp_path / "one" / "weights.safetensors", "--name", "file")
    assert single.out.startswith("kept file@1\n")
    assert kept.version("file").manifest.golden == kept.version("tiny@1").manifest.golden
    for name, spoil in (
        ("weights.safetensors", b"x"), ("manifest.json", b"{}"), ("SHA256SUMS", b""), ("SHA256SUMS", b"rubbish"),
        ("samples.png", None), ("README.md", b"# Another\n"),
    ):  # fmt: skip
        bad = tmp_path / f"bad-{name}-{spoil!r:.9}"
        shutil.copytree(tmp_path / "one", bad)
        (bad / name).unlink()
        if spoil is not None:
            (bad / name).write_bytes(spoil)
        refused = aigc("weights", "import", bad, "--name", "bad")
        assert refused.code == 5, refused.err
        assert "\n" not in refused.error
    assert "bad" not in kept.names()
    assert aigc("weights", "import", tmp_path, "--name", "none").code == 3
    assert aigc("weights", "import", tmp_path / "nowhere").code == 3
    assert aigc("weights", "import", tmp_path / "one", "--name", "NO").code == 2


def test_a_diff_tells_config_data_and_tensors_apart(aigc: Run, kept: Store) -> None:
    assert aigc("weights", "diff", "tiny@1", "tiny@1").out == "no difference: 23 tensors, bit for bit\n"
    shown = aigc("weights", "diff", "tiny@1", "tiny@2")
    assert shown.code == 0
    assert "training.seed" in shown.out
    assert "1 tensor equal, 22 not" in shown.out
    found = json.loads(aigc("weights", "diff", "tiny@1", "tiny@2", "--json").out)
    assert found["fields"]["training.seed"] == [0, 1]
    assert 1.0 < found["tensors"]["generator.encoder.0.weight"] < 1.8


def test_a_version_is_trained_again_to_the_same_tensors(process: Run, kept: Store) -> None:
    result = process("weights", "retrain", "tiny@1")
    assert result.code == 0, result.err
    assert result.out.startswith("tiny@1: exact: the same tensors, sha256:")
    assert [str(v) for v in kept] == ["tiny@1", "tiny@2"], "nothing of it is kept"


def test_a_training_that_comes_out_otherwise_is_told_by_its_first_step(kept: Store) -> None:
    one, two = kept.versions("tiny")
    found = compare(one, two)
    assert not found.exact
    assert found.step == 25
    assert found.metrics is not None
    assert found.metrics[0]["loss"] != found.metrics[1]["loss"]
    assert compare(one, one).exact
    assert compare(one, one).step is None


def test_a_store_that_only_can_be_read_is_used(aigc: Run, kept: Store, tmp_path: Path) -> None:
    """As root everything can be written: a file in the way stands for what can't."""
    shutil.rmtree(kept.layout.partial)
    kept.layout.partial.write_bytes(b"")
    with pytest.raises(StorageError):
        kept.publish("new", {WEIGHTS_FILE: weights_bytes(9)})
    assert aigc("sample", "tiny@1", "-n", 1, "--out", tmp_path / "x.png").code == 0
    assert names(aigc("weights", "list", "--json")) == ["tiny@1", "tiny@2"]
