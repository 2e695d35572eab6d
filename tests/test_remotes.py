"""Remotes: only what is missing travels, every byte is checked, no number is ever given twice."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, weights_bytes
from hub import Hub, running
from strangers import HubStandIn, serving

import aigc_core as aigc
from aigc_core.errors import AigcError, DamagedFileError, NotFoundError, StorageError, UsageError
from aigc_core.weights.header import header_of
from aigc_core.weights.layout import WEIGHTS_FILE, blob_path, manifest_path
from aigc_core.weights.manifest import digest_of
from aigc_core.weights.remotes import bucket as bucket_module
from aigc_core.weights.remotes import fetch as fetch_module
from aigc_core.weights.remotes import trouble
from aigc_core.weights.remotes.address import open_remote
from aigc_core.weights.remotes.catalogue import listing
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

METRICS = b'{"step": 1}\n'


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    s3fs.S3FileSystem.clear_instance_cache()
    yield "http://{}:{}".format(*server.get_host_and_port())
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A bucket of its own on a real S3 server."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    name = f"bucket-{random.randrange(10**12)}"
    s3fs.S3FileSystem().call_s3("create_bucket", Bucket=name)
    return f"s3://{name}/some/where"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    import fsspec
    from fsspec.registry import _registry

    HubStandIn.root, HubStandIn.commits = tmp_path / "hub", []
    before = _registry.get("hf")
    fsspec.register_implementation("hf", HubStandIn, clobber=True)
    yield "hf://user/repository/below"
    _registry.pop("hf")
    if before is not None:
        _registry["hf"] = before


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """huggingface_hub's own file system, and a server that it talks to."""
    from fsspec.config import conf

    with running() as server:
        monkeypatch.setitem(conf, "hf", {"endpoint": server.url, "token": "hf_secret"})
        yield server


@pytest.fixture(params=["folder", "memory", "s3", "hf", "hub"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A remote of each kind."""
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    if request.param == "hf":
        return str(request.getfixturevalue("hub"))
    if request.param == "hub":
        request.getfixturevalue("hub_server")
        return "hf://user/repository/below"
    if request.param == "memory":
        return f"memory://{tmp_path.name}/{random.randrange(10**12)}"
    return str(tmp_path / "remote")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for what is never going to work."""
    for module in (trouble, fetch_module):
        monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.02))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of another host."""
    return Store(tmp_path / "other")


def publish(value: int, store: Store | None = None, name: str = "tiny", size: int = 8) -> Version:
    files: dict[str, bytes | Path] = {WEIGHTS_FILE: weights_bytes(value, size), "metrics.jsonl": METRICS}
    return (store or Store()).publish(name, files)


def large(store: Store | None = None) -> Version:
    """A version whose weights take several pieces."""
    return publish(7, store, size=1_000_003)


def bytes_of(store: Store, reference: str) -> bytes:
    return store.find(reference).read_bytes()


def versions(url: str) -> list[str]:
    found, remarks = listing(open_remote(url, writing=True))
    assert remarks == []
    return [listed.row()["weights"] for listed in found]


# There and back


def test_a_version_goes_there_and_comes_back(url: str, other: Store) -> None:
    publish(1)
    two = publish(2)
    done = aigc.push("tiny", url)
    assert (done.weights, done.new, done.files, done.manifest) == ("tiny@2", True, 2, two.record.manifest)
    assert versions(url) == ["tiny@2"]
    assert aigc.push("tiny@1", url).files == 1, "the metrics are there already"
    again = aigc.push("tiny@1", url)
    assert (again.new, again.files, again.bytes) == (False, 0, 0)
    assert versions(url) == ["tiny@1", "tiny@2"]

    assert aigc.pull("tiny", url, store=other).weights == "tiny@2"
    assert aigc.pull("tiny@1", url, store=other).files == 1
    assert aigc.pull("tiny@1", url, store=other).new is False
    for reference in ("tiny@1", "tiny@2"):
        assert bytes_of(other, reference) == bytes_of(Store(), reference)
        assert other.version(reference).record.manifest == Store().version(reference).record.manifest
        assert other.find(reference).stat().st_mode & 0o777 == 0o444
    assert list(other.layout.partial.iterdir()) == []


def test_the_command_line_says_what_was_done(url: str, aigc: Run, other: Store) -> None:
    publish(1)
    if not url.startswith("memory"):
        assert (
            "create it first" in aigc("weights", "push", "tiny", "s3://no-such-bucket").err or "s3" not in url
        )
    done = aigc("weights", "push", "tiny", url)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"pushed tiny@1 to {url} (2 files, ")
    assert f"weights pull tiny@1 {url}" in done.out
    assert aigc("weights", "push", "tiny", url).out.startswith("tiny@1 is there already")
    listed = aigc("weights", "list", "--remote", url)
    assert "tiny@1" in listed.out
    row = json.loads(aigc("weights", "list", "--remote", url, "--json").out)[0]
    assert (row["weights"], row["model"], row["steps"]) == ("tiny@1", "tiny/toy", 1)
    pulled = json.loads(aigc("weights", "pull", "tiny", url, "--as", "mine@4", "--json", "--quiet").out)
    assert (pulled["weights"], pulled["files"], pulled["new"]) == ("mine@4", 0, True)
    assert bytes_of(Store(), "mine@4") == weights_bytes(1)
    missing = aigc("weights", "pull", "tini", url)
    assert missing.code == 3
    assert "did you mean 'tiny'" in missing.error
    assert aigc("weights", "pull", "tiny@7", url).code == 3


def test_a_name_at_the_other_end(url: str, other: Store) -> None:
    publish(1)
    assert aigc.push("tiny", url, under="team-digits@12").weights == "team-digits@12"
    assert aigc.push("tiny", url, under="plain").weights == "plain@1"
    assert aigc.pull("plain", url, store=other, under="mine").weights == "mine@1"
    assert versions(url) == ["plain@1", "team-digits@12"]
    with pytest.raises(UsageError, match="not an alias"):
        aigc.push("tiny", url, under="tiny@prod")


def test_an_alias_travels_only_when_it_is_named(url: str, other: Store) -> None:
    store = Store()
    publish(1)
    publish(2)
    store.tag("tiny@1", "prod")
    aigc.push("tiny@1", url)
    with pytest.raises(NotFoundError, match="no alias tiny@prod"):
        aigc.pull("tiny@prod", url, store=other)
    assert aigc.push("tiny@prod", url).alias == "prod"
    assert aigc.pull("tiny@prod", url, store=other).weights == "tiny@1"
    assert other.aliases() == {}, "a remote moves no alias of ours"
    store.tag("tiny@2", "prod")
    aigc.push("tiny@prod", url)
    assert aigc.pull("tiny@prod", url, store=other).weights == "tiny@2"
    found, _ = listing(open_remote(url, writing=True))
    assert [listed.aliases for listed in found] == [(), ("prod",)]


# Two hosts


def test_a_number_that_is_taken_is_never_overwritten(url: str, other: Store) -> None:
    publish(1)
    publish(2, other)
    aigc.push("tiny", url)
    with pytest.raises(UsageError, match=r"tiny@1 at .* is other weights .*--as tiny@2"):
        aigc.push("tiny", url, store=other)
    assert aigc.push("tiny", url, store=other, under="tiny@2").new
    with pytest.raises(UsageError, match=r"--as OTHER-NAME, or --as tiny@2"):
        aigc.pull("tiny@1", url, store=other)
    assert aigc.pull("tiny@1", url, store=other, under="theirs").weights == "theirs@1"
    assert bytes_of(other, "theirs@1") == weights_bytes(1)
    assert bytes_of(other, "tiny@1") == weights_bytes(2)


def test_the_same_weights_of_two_hosts_are_one_version(url: str, other: Store) -> None:
    publish(1)
    publish(1, other)
    assert aigc.push("tiny", url).new
    assert not aigc.push("tiny", url, store=other).new


def test_a_name_is_created_once(url: str) -> None:
    remote = open_remote(url, writing=True)
    assert remote.create("versions/x@1.json", b"one")
    assert not remote.create("versions/x@1.json", b"two")
    assert remote.get("versions/x@1.json", 10) == b"one"
    with pytest.raises(DamagedFileError, match="larger than 2 bytes"):
        remote.get("versions/x@1.json", 2)


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_of_six_hosts_that_push_one_number_at_once_one_succeeds(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("bucket") if kind == "s3" else str(tmp_path / "remote")
    stores = [Store(tmp_path / f"host{i}") for i in range(6)]
    for i, store in enumerate(stores):
        publish(i, store)

    def one(store: Store) -> str:
        try:
            return aigc.push("tiny@1", url, store=store).manifest
        except UsageError as error:
            return str(error)

    with ThreadPoolExecutor(6) as hosts:
        results = list(hosts.map(one, stores))
    made = [result for result in results if result.startswith("sha256:")]
    assert len(made) == 1
    assert sum("is other weights" in result for result in results) == 5
    found, _ = listing(open_remote(url))
    assert [listed.manifest.digest for listed in found] == made


def test_of_two_commits_to_the_hub_upon_one_state_one_is_refused(hub_server: Hub, tmp_path: Path) -> None:
    stores = [Store(tmp_path / f"host{i}") for i in range(2)]
    for i, store in enumerate(stores):
        publish(i, store, size=8 + i)
    hub_server.at_once = threading.Barrier(2)

    def one(store: Store) -> bool:
        try:
            return aigc.push("tiny@1", "hf://user/repository", store=store).new
        except UsageError:
            return False

    with ThreadPoolExecutor(2) as hosts:
        assert sorted(hosts.map(one, stores)) == [False, True]
    assert hub_server.refused == 1
    assert versions("hf://user/repository") == ["tiny@1"]


def test_a_repository_that_is_not_there(hub_server: Hub, aigc: Run) -> None:
    publish(1)
    for verb in ("push", "pull"):
        done = aigc("weights", verb, "tiny", "hf://user/another")
        assert done.code == 3
        assert "there is no such repository, or you may not see it; create it first" in done.error


def test_what_was_removed_is_neither_pulled_nor_numbered_anew(tmp_path: Path, other: Store) -> None:
    url = str(tmp_path / "remote")
    publish(1)
    publish(2)
    aigc.push("tiny@1", url)
    aigc.push("tiny@2", url)
    Store(tmp_path / "remote").remove("tiny@2")
    assert versions(url) == ["tiny@1"]
    assert aigc.pull("tiny", url, store=other).weights == "tiny@1"
    with pytest.raises(NotFoundError, match="was removed"):
        aigc.pull("tiny@2", url, store=other)
    with pytest.raises(UsageError, match=r"no number is given twice; .*--as tiny@3"):
        aigc.push("tiny@2", url)
    publish(3, other, "mine")
    other.remove("mine@1")
    with pytest.raises(UsageError, match="was removed here"):
        aigc.pull("tiny@1", url, store=other, under="mine@1")


def test_four_commands_that_pull_one_version_at_once(tmp_path: Path, other: Store) -> None:
    version = large()
    aigc.push("tiny", tmp_path / "remote")
    with serving(tmp_path / "remote") as server, ThreadPoolExecutor(4) as commands:
        list(commands.map(lambda _: aigc.pull("tiny@1", server.url, store=other), range(4)))
    weights = version.manifest.weights.digest[7:]
    assert sum(weights in path for path, _ in server.asked) == 1, "the others wait for it"
    assert bytes_of(other, "tiny") == version.path.read_bytes()
    assert list(other.layout.partial.iterdir()) == []


def test_a_remote_folder_is_a_store(tmp_path: Path) -> None:
    publish(1)
    aigc.push("tiny", tmp_path / "remote")
    assert bytes_of(Store(tmp_path / "remote"), "tiny@1") == weights_bytes(1)
    assert aigc.pull("tiny", f"file://{tmp_path}/remote", under="again").files == 0


# Cut off, and gone on with


def test_a_pull_goes_on_from_what_has_arrived(tmp_path: Path, other: Store) -> None:
    version = large()
    aigc.push("tiny", tmp_path / "remote")
    content, digest = version.path.read_bytes(), version.manifest.weights.digest
    other.layout.partial.mkdir(parents=True)
    (other.layout.partial / digest[7:]).write_bytes(content[:600_000])
    with serving(tmp_path / "remote") as server:
        assert aigc.pull("tiny@1", server.url, store=other).bytes == len(content) + len(METRICS)
    assert [asked for path, asked in server.asked if digest[7:] in path] == ["bytes=600000-"]
    assert bytes_of(other, "tiny") == content


def test_a_pull_through_a_server_that_breaks_off_again_and_again(tmp_path: Path, other: Store) -> None:
    version = large()
    aigc.push("tiny", tmp_path / "remote")
    with serving(tmp_path / "remote", "resets") as server:
        aigc.pull("tiny@1", server.url, store=other)
    assert len(server.asked) >= 11, "it sends 100 kB at a time"
    assert bytes_of(other, "tiny") == version.path.read_bytes()


@pytest.mark.parametrize("manner", ["no ranges", "no length", "altered once", ""])
def test_a_server_may_be_odd(tmp_path: Path, other: Store, manner: str) -> None:
    version = large()
    aigc.push("tiny", tmp_path / "remote")
    other.layout.partial.mkdir(parents=True)
    content, digest = version.path.read_bytes(), version.manifest.weights.digest
    (other.layout.partial / digest[7:]).write_bytes(content[:1000])
    with serving(tmp_path / "remote", manner) as server:
        aigc.pull("tiny@1", server.url, store=other)
    assert bytes_of(other, "tiny") == content


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("altered", "not what its name says, and not the second time either"),
        ("page", "not what its name says, and not the second time either"),
        ("html", "a page of HTML"),
        ("html everywhere", "a page of HTML"),
        ("longer", "not the .* that its manifest promises"),
        ("cut off", "not the .* that its manifest promises"),
    ],
)
def test_what_a_server_sends_instead_is_refused(
    tmp_path: Path, other: Store, manner: str, message: str
) -> None:
    large()
    aigc.push("tiny", tmp_path / "remote")
    with serving(tmp_path / "remote", manner) as server:
        with pytest.raises(DamagedFileError, match=message):
            aigc.pull("tiny@1", server.url, store=other)
        assert list(other) == []
        server.manner = ""
        aigc.pull("tiny@1", server.url, store=other)
    assert bytes_of(other, "tiny") == bytes_of(Store(), "tiny")


@pytest.mark.parametrize("left", ["poisoned", "too long"])
def test_a_poisoned_download_is_started_once_more(url: str, other: Store, left: str) -> None:
    version = large()
    aigc.push("tiny", url)
    digest = version.manifest.weights.digest
    other.layout.partial.mkdir(parents=True)
    partial = other.layout.partial / digest[7:]
    partial.write_bytes(b"poison" * (10_000 if left == "poisoned" else 1_000_000))
    partial.chmod(0o444)
    aigc.pull("tiny", url, store=other)
    assert bytes_of(other, "tiny") == version.path.read_bytes()
    assert not partial.exists()


def test_a_push_to_a_folder_goes_on_from_what_has_arrived(tmp_path: Path) -> None:
    version = large()
    content, digest = version.path.read_bytes(), version.manifest.weights.digest
    partial = tmp_path / "remote/partial" / digest[7:]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content[:600_000])
    version.path.chmod(0o644)
    version.path.write_bytes(bytes(600_000) + content[600_000:])  # so that it can only come from there
    aigc.push("tiny", tmp_path / "remote")
    assert bytes_of(Store(tmp_path / "remote"), "tiny") == content


def test_a_push_to_a_bucket_takes_up_the_parts_that_have_arrived(
    bucket: str, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    size = 5 * 2**20
    monkeypatch.setattr(bucket_module, "PART", size)
    content = weights_bytes(1, 3 * size)
    Store().publish("tiny", {WEIGHTS_FILE: content})
    sent: list[int] = []
    call = s3fs.S3FileSystem.call_s3

    def watched(fs: Any, method: str, **arguments: Any) -> Any:
        if method == "upload_part":
            if len(sent) == 2:
                sent.append(0)
                raise KeyboardInterrupt
            sent.append(arguments["PartNumber"])
        return call(fs, method, **arguments)

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", watched)
    with pytest.raises(AigcError, match="stopped; parts that were sent are kept there") as stopped:
        aigc.push("tiny", bucket)
    assert stopped.value.exit_code == 130
    assert versions(bucket) == []
    aigc.push("tiny", bucket)
    assert sent == [1, 2, 0, 3, 4]
    aigc.pull("tiny", bucket, store=other)
    assert bytes_of(other, "tiny") == content


SLOW_PULL = """
import sys
from aigc_core.cli import main
sys.argv = ["aigc", "weights", "pull", "tiny@1", sys.argv[1]]
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_pull_can_be_stopped_and_gone_on_with(
    tmp_path: Path, home: Path, aigc: Run, number: int, code: int
) -> None:
    source = Store(tmp_path / "source")
    version = large(source)
    with serving(source.root, "slow") as server:
        child = subprocess.Popen(
            [sys.executable, "-c", SLOW_PULL, server.url], stderr=subprocess.PIPE, text=True
        )
        partial = Store().layout.partial / version.manifest.weights.digest[7:]
        end = time.monotonic() + 30
        while not (partial.exists() and partial.stat().st_size >= 50_000) and time.monotonic() < end:
            time.sleep(0.02)
        child.send_signal(number)
        _, err = child.communicate(timeout=30)
        assert child.returncode == code
        assert err == "aigc: stopped; what has arrived is kept, and the same command goes on from there\n", (
            err
        )
        kept = partial.stat().st_size
        assert 0 < kept < version.manifest.weights.size
        server.manner = ""
        assert aigc("weights", "pull", "tiny@1", server.url).code == 0
    assert server.asked[-1][1] == f"bytes={kept}-"
    assert bytes_of(Store(), "tiny") == version.path.read_bytes()


# Damage


def test_a_home_is_taken_for_the_store_in_it(tmp_path: Path, home: Path) -> None:
    publish(1)
    other = Store(tmp_path / "theirs" / "store")
    other.publish("other", {WEIGHTS_FILE: weights_bytes(2)})
    aigc.push("tiny", tmp_path / "theirs")
    assert [str(v) for v in other] == ["other@1", "tiny@1"]


def test_a_pull_mends_what_is_damaged_here(url: str) -> None:
    version = publish(1)
    aigc.push("tiny", url)
    version.path.chmod(0o644)
    version.path.write_bytes(b"x" * version.manifest.weights.size)
    done = aigc.pull("tiny@1", url)
    assert (done.new, done.files) == (False, 1)
    assert bytes_of(Store(), "tiny") == weights_bytes(1)


def test_a_push_replaces_what_was_cut_off_there(url: str, other: Store) -> None:
    version = publish(1)
    aigc.push("tiny", url)
    digest = version.manifest.weights.digest
    remote = open_remote(url, writing=True)
    for path in (blob_path(digest), manifest_path(version.record.manifest)):
        content = remote.get(path, 10**6)
        assert content is not None
        remote.replace(path, content[:100])
    with pytest.raises(DamagedFileError, match="altered or damaged"):
        aigc.pull("tiny", url, store=other)
    assert aigc.push("tiny", url).files == 1
    aigc.pull("tiny", url, store=other)
    assert bytes_of(other, "tiny") == weights_bytes(1)


def test_weights_that_are_damaged_here_are_not_pushed(url: str) -> None:
    version = large()
    content = version.path.read_bytes()
    version.path.chmod(0o644)
    version.path.write_bytes(content[:-1] + b"x")
    with pytest.raises(DamagedFileError, match=r"altered or damaged; pull it again from where it was pushed"):
        aigc.push("tiny", url)
    version.path.write_bytes(content[:-1])
    with pytest.raises(DamagedFileError, match="missing or cut off"):
        aigc.push("tiny", url)
    assert versions(url) == []


@pytest.mark.parametrize(
    "what", ["truncated", "empty", "altered", "of another version", "too large", "no JSON", "a later format"]
)
def test_a_damaged_record_is_named_and_the_rest_is_listed(tmp_path: Path, other: Store, what: str) -> None:
    url = str(tmp_path / "remote")
    publish(1)
    publish(2)
    aigc.push("tiny@1", url)
    aigc.push("tiny@2", url)
    remote = open_remote(url, writing=True)
    content = remote.get("versions/tiny@2.json", 10**5)
    assert content is not None
    remote.replace(
        "versions/tiny@2.json",
        {
            "truncated": content[:40],
            "empty": b"",
            "altered": content.replace(b"sha256:", b"sha257:"),
            "of another version": content.replace(b'"number": 2', b'"number": 3'),
            "too large": content + b" " * 70_000,
            "no JSON": b"<html>" + content,
            "a later format": content.replace(b'"format": 1', b'"format": 2'),
        }[what],
    )
    with pytest.raises(DamagedFileError, match=r"versions/tiny@2\.json"):
        aigc.pull("tiny", url, store=other)
    found, remarks = listing(remote)
    assert [listed.record.number for listed in found] == [1]
    assert len(remarks) == 1
    assert "versions/tiny@2.json" in remarks[0]
    with pytest.raises(AigcError, match="tiny@2"):
        aigc.push("tiny@2", url)
    assert list(other) == []


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_one_altered_bit_of_a_manifest_is_found(tmp_path: Path, other: Store, where: str) -> None:
    url = str(tmp_path / "remote")
    version = publish(1)
    aigc.push("tiny", url)
    path = manifest_path(version.record.manifest)
    remote = open_remote(url, writing=True)
    content = bytearray(remote.get(path, 10**6) or b"")
    content[{"start": 0, "middle": len(content) // 2, "end": -1}[where]] ^= 1
    remote.replace(path, bytes(content))
    with pytest.raises(DamagedFileError, match="its content is not what its name says"):
        aigc.pull("tiny", url, store=other)
    assert list(other) == []


def test_a_record_that_is_too_large_is_not_read(url: str) -> None:
    publish(1)
    publish(2)
    aigc.push("tiny@1", url)
    aigc.push("tiny@2", url)
    remote = open_remote(url, writing=True)
    remote.replace("versions/tiny@2.json", (remote.get("versions/tiny@2.json", 10**5) or b"") + b" " * 70_000)
    found, remarks = listing(remote)
    assert [listed.record.number for listed in found] == [1]
    assert ["versions/tiny@2.json" in remark for remark in remarks] == [True]


def test_a_push_that_verifies_mends_what_has_rotted_there(url: str, other: Store) -> None:
    version = publish(1)
    aigc.push("tiny", url)
    weights = version.manifest.weights
    open_remote(url, writing=True).replace(blob_path(weights.digest), b"x" * weights.size)
    assert aigc.push("tiny", url).files == 0, "it is there, and as large as it should be"
    with pytest.raises(DamagedFileError, match="not what its name says"):
        aigc.pull("tiny", url, store=other)
    assert aigc.push("tiny", url, verify=True).files == 1
    aigc.pull("tiny", url, store=other)
    assert bytes_of(other, "tiny") == weights_bytes(1)


# Strangers


def forge(root: Path, name: str, number: object, **fields: object) -> None:
    """A manifest and a version record that say whatever a stranger likes."""
    whole = header_of(io.BytesIO(weights_bytes()), Path("whole"))[0].record
    manifest: dict[str, Any] = {
        "format": 1, "kind": "weights", "model": "tiny/toy", "tensors_digest": "sha256:" + "0" * 64,
        "files": {WEIGHTS_FILE: {"digest": "sha256:" + "0" * 64, "size": 1}}, "golden": None, "record": whole, **fields,
    }  # fmt: skip
    manifest["record"] = {**manifest["record"], **{key: manifest[key] for key in ("model", "tensors_digest")}}
    content = json.dumps(manifest).encode()
    path = root / manifest_path(digest_of(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    (root / "versions").mkdir(exist_ok=True)
    record = {"format": 1, "name": name, "number": number, "manifest": digest_of(content), "published": ""}
    (root / "versions" / "tiny@1.json").write_text(json.dumps(record))


ZERO = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "fields",
    [
        {"files": {WEIGHTS_FILE: {"digest": "sha256:../../../../etc/passwd", "size": 1}}},
        {"files": {WEIGHTS_FILE: {"digest": ZERO + "\n", "size": 1}}},
        {"files": {WEIGHTS_FILE: {"digest": 7, "size": 1}}},
        {"files": {WEIGHTS_FILE: {"digest": ZERO, "size": -1}}},
        {"files": {WEIGHTS_FILE: {"digest": ZERO, "size": 2**70}}},
        {"files": {WEIGHTS_FILE: {"digest": ZERO, "size": True}}},
        {"files": {WEIGHTS_FILE: {"digest": ZERO, "size": 1.5}}},
        {"files": {WEIGHTS_FILE: {"digest": ZERO, "size": 1}, "../x": {"digest": ZERO, "size": 1}}},
        {"files": {}},
        {"files": []},
        {"kind": "letters"},
        {"format": 99},
    ],
    ids=str,
)
def test_a_manifest_of_a_stranger_is_checked_before_it_is_used(
    tmp_path: Path, other: Store, fields: dict[str, object]
) -> None:
    forge(tmp_path / "remote", "tiny", 1, **fields)
    with pytest.raises(DamagedFileError, match="manifests"):
        aigc.pull("tiny", tmp_path / "remote", store=other)
    assert not other.root.exists()


@pytest.mark.parametrize(
    ("name", "number"), [("..", 1), ("con", 1), ("a/b", 1), ("tiny", 0), ("tiny", -1), ("tiny", 2**70)]
)
def test_a_record_that_speaks_of_another_place_is_refused(
    tmp_path: Path, other: Store, name: str, number: int
) -> None:
    forge(tmp_path / "remote", name, number)
    with pytest.raises(DamagedFileError, match="of another version than its name says"):
        aigc.pull("tiny", tmp_path / "remote", store=other)
    assert not other.root.exists()


def test_hostile_names_in_a_listing_are_passed_over(tmp_path: Path) -> None:
    publish(1)
    aigc.push("tiny", tmp_path / "remote")
    record = (tmp_path / "remote/versions/tiny@1.json").read_bytes()
    hostile = (
        "..@1", "con@1", "TINY@1", "a.png@1", "tiny@0", "tiny@-1", "tiny@01", f"tiny@{2**70}", "tiny@\u0661", "tiny@2 ",
        "\x1b[31m@1", "tiny@2.json", ".tiny@2.json.x1.partial", "tiny",
    )  # fmt: skip
    for name in hostile:
        (tmp_path / "remote/versions" / f"{name}.json").write_bytes(record)
    (tmp_path / "remote/versions/tiny@1.json~").write_bytes(record)
    assert versions(str(tmp_path / "remote")) == ["tiny@1"]


def test_a_listing_shows_no_commands_to_the_terminal(tmp_path: Path, aigc: Run) -> None:
    whole = header_of(io.BytesIO(weights_bytes()), Path("whole"))[0].record
    record = {**whole, "data": {**whole["data"], "name": "\x1b]0;hi\x07"}}
    forge(tmp_path / "remote", "tiny", 1, model="\x1b[31mtiny/toy", record=record)
    done = aigc("weights", "list", "--remote", tmp_path / "remote")
    assert done.code == 0
    assert "?[31mtiny/toy" in done.out
    assert done.out.replace("\n", " ").isprintable()
    matching = ("--remote", tmp_path / "remote", "--json")
    assert len(json.loads(aigc("weights", "list", "t*", "--model", "*toy", *matching).out)) == 1
    assert json.loads(aigc("weights", "list", "x*", *matching).out) == []
    assert "no weights match" in aigc("weights", "list", "x*", *matching[:2]).error


@pytest.mark.parametrize(
    "reference",
    ["..", "../x", "CON", "con", "a/b", "tiny@0", "tiny@-1", "tiny@", "@1", "tiny@1@2", f"tiny@{2**70}", "tiny@../x"],
)  # fmt: skip
def test_hostile_references_are_refused_before_anything_is_asked(reference: str, other: Store) -> None:
    with pytest.raises(UsageError):
        aigc.pull(reference, "/no/such/folder", store=other)
    with pytest.raises(UsageError):
        aigc.pull("tiny", "/no/such/folder", store=other, under=reference)


def test_more_than_the_disk_holds_is_not_begun(tmp_path: Path, other: Store) -> None:
    forge(tmp_path / "remote", "tiny", 1, files={WEIGHTS_FILE: {"digest": ZERO, "size": 2**59}})
    with pytest.raises(StorageError, match=r"MB are to be fetched and .* MB are free"):
        aigc.pull("tiny", tmp_path / "remote", store=other)


def test_a_blob_that_is_missing_there(url: str, other: Store) -> None:
    version = publish(1)
    aigc.push("tiny", url)
    remote: Any = open_remote(url, writing=True)
    path = blob_path(version.manifest.weights.digest)
    if url.startswith("/"):
        (Path(url) / path).unlink()
    else:
        remote.fs.rm_file(remote.path(path))
    with pytest.raises(NotFoundError, match="not there"):
        aigc.pull("tiny", url, store=other)
    assert list(other) == []
    assert aigc.push("tiny", url).files == 1
    assert aigc.pull("tiny", url, store=other).new


# Addresses


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("/no/such/folder", 3, "no folder"),
        ("", 2, "empty"),
        ("s3:/bucket", 2, "a URL has '://'"),
        ("file://relative", 2, "a whole path"),
        ("foo://x", 2, "nothing is known of foo://"),
        ("s3://", 2, "names no bucket"),
        ("http://127.0.0.1:1/x?key=1", 2, "has nothing below it"),
        ("http://127.0.0.1:1/x", 8, "annot connect"),
    ],
)
def test_addresses_that_lead_nowhere(aigc: Run, bucket: str, url: str, code: int, message: str) -> None:
    done = aigc("weights", "pull", "tiny@1", url)
    assert done.code == code
    assert message in done.error


def test_a_bucket_that_is_not_there_or_not_ours(
    aigc: Run, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    done = aigc("weights", "push", "tiny", "s3://no-such-bucket-here/x")
    assert done.code == 3
    assert "there is no bucket 'no-such-bucket-here'; create it first" in done.error
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    done = aigc("weights", "push", "tiny", bucket)
    s3fs.S3FileSystem.clear_instance_cache()
    assert done.code == 8
    assert "access was refused" in done.error


def test_a_key_that_the_server_does_not_know(aigc: Run, bucket: str, moto: str) -> None:
    import requests

    publish(1)
    requests.post(f"{moto}/moto-api/reset-auth", data=b"0", timeout=10)  # from now on it asks who we are
    try:
        for arguments in (("push", "tiny", bucket), ("pull", "tiny", bucket), ("list", "--remote", bucket)):
            done = aigc("weights", *arguments)
            assert done.code == 8
            assert "access was refused" in done.error
            assert "check your credentials" in done.error
    finally:
        requests.post(f"{moto}/moto-api/reset-auth", data=b"inf", timeout=10)


def test_a_password_is_used_and_not_shown(tmp_path: Path, aigc: Run) -> None:
    with serving(tmp_path, "forbids") as server:
        url = server.url.replace("http://", "http://me:secret@")
        done = aigc("weights", "pull", "tiny@1", url)
    assert done.code == 8
    assert "access was refused" in done.error
    assert "secret" not in done.err
    assert "http://***@127.0.0.1" in done.err


def test_the_web_is_only_read(tmp_path: Path, aigc: Run) -> None:
    publish(1)
    aigc("weights", "push", "tiny", tmp_path / "remote")
    with serving(tmp_path / "remote") as server:
        done = aigc("weights", "push", "tiny", server.url)
        assert done.code == 2
        assert "can only be read" in done.error
        done = aigc("weights", "list", "--remote", server.url)
        assert done.code == 2
        assert "can't be listed; name the version: NAME@V" in done.error


def test_a_server_that_lists_its_folders_is_listed(tmp_path: Path, other: Store) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    publish(1)
    publish(2)
    aigc.push("tiny@1", tmp_path / "remote")
    aigc.push("tiny@2", tmp_path / "remote")
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "remote")
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert [listed.record.number for listed in listing(open_remote(url))[0]] == [1, 2]
        assert aigc.pull("tiny", url, store=other).weights == "tiny@2"
        server.shutdown()


def test_a_read_only_folder_is_read(tmp_path: Path, other: Store) -> None:
    publish(1)
    remote = tmp_path / "remote"
    aigc.push("tiny", remote)
    (remote / "lock").unlink()
    for folder in (remote, *(p for p in remote.rglob("*") if p.is_dir())):
        folder.chmod(0o555)
    try:
        assert aigc.pull("tiny", remote, store=other).new
        if os.geteuid():
            publish(2)
            with pytest.raises(StorageError, match="may write to"):
                aigc.push("tiny@2", remote)
    finally:
        for folder in (remote, *(p for p in remote.rglob("*") if p.is_dir())):
            folder.chmod(0o755)


WITHOUT = """
import sys
class Poison:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Poison())
from aigc_core.cli import main
sys.argv = ["aigc", "weights"] + sys.argv[1:]
try:
    main()
finally:
    assert not [m for m in sys.modules if m.partition(".")[0] in {absent!r}]
"""


def without(absent: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(absent=absent)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("absent", "url", "message"),
    [
        ("s3fs", "s3://bucket", "pip install 'aigc-core[s3]'"),
        ("huggingface_hub", "hf://user/repository", "pip install 'aigc-core[hf]'"),
        ("aiohttp", "https://host/store", "pip install 'aigc-core[http]'"),
        ("paramiko", "sftp://host/store", "paramiko"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(absent: str, url: str, message: str) -> None:
    done = without((absent,), "pull", "tiny", url)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_folders_need_neither_torch_nor_numpy_nor_fsspec(tmp_path: Path) -> None:
    publish(1)
    heavy = ("torch", "numpy", "fsspec", "s3fs", "aiohttp", "botocore", "tqdm")
    for arguments in (
        ("push", "tiny", tmp_path / "remote"), ("list", "--remote", tmp_path / "remote"),
        ("pull", "tiny", tmp_path / "remote", "--as", "mine"),
    ):  # fmt: skip
        done = without(heavy, *arguments)
        assert (done.returncode, done.stderr) == (0, "")


# Killed


def kills(verb: str, home: Path, url: str, stride: int) -> int:
    """How often it was killed, each time with the old state or the new one left, and no repair needed."""
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "remote_kills.py", verb, home, url, str(stride)],
        capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize("stride", [53, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_line_between_folders(verb: str, stride: int, home: Path, tmp_path: Path) -> None:
    publish(1)
    publish(2)
    aigc.push("tiny@1", tmp_path / "remote")
    if verb == "pull":
        aigc.push("tiny@2", tmp_path / "remote")
    assert kills(verb, home, str(tmp_path / "remote"), stride) > 400 // stride


@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize("stride", [301, pytest.param(7, marks=pytest.mark.slow)])
def test_killed_at_any_line_with_a_bucket(verb: str, stride: int, home: Path, bucket: str) -> None:
    publish(1)
    publish(2, size=5 * 2**20 + 10)  # two parts
    if verb == "pull":
        aigc.push("tiny@2", bucket)
    assert kills(verb, home, bucket, stride) >= 500 // stride
