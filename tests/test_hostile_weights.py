"""Weights files, manifests and folders that were made to harm their reader: one clear error, and no harm done."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import safetensors
from helpers import Result, Run, weights_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated_json, mutated_weights, seeds

from aigc_core.errors import AigcError, DamagedFileError, NotFoundError
from aigc_core.weights import manifest, strict
from aigc_core.weights.header import canonical, header_of, read_header, tensors_digest
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

REPEATABLE = settings(deadline=None, derandomize=True, database=None)


def publish(name: str, value: int = 0) -> Version:
    return Store().publish(name, {WEIGHTS_FILE: weights_bytes(value)})


def file_of(text: bytes | str, data: bytes = b"") -> bytes:
    text = text.encode() if isinstance(text, str) else text
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype: str = "U8", shape: str = "[1]", offsets: str = "[0,1]") -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def with_record(text: str) -> bytes:
    return file_of(json.dumps({"__metadata__": {"aigc": text}}))


HEADERS: dict[str, bytes] = {
    "a length of 2^63": (2**63).to_bytes(8, "little") + b"{}",
    "a length of 2^64 - 1": b"\xff" * 8 + b"{}",
    "a length of zero": bytes(8) + b"{}",
    "a length beyond 100 MB": (100_000_001).to_bytes(8, "little") + b"{}",
    "a tensor twice": file_of(f'{{"a":{tensor()},"a":{tensor()}}}', b"x"),
    "the metadata twice": file_of('{"__metadata__":{},"__metadata__":{}}'),
    "the record twice": file_of('{"__metadata__":{"aigc":"{}","aigc":"{}"}}'),
    "a field twice": file_of('{"a":{"dtype":"U8","dtype":"U8","shape":[]}}'),
    "an unknown field": file_of('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', b"x"),
    "NaN in a shape": file_of(f'{{"a":{tensor(shape="[NaN]")}}}', b"x"),
    "a negative shape": file_of(f'{{"a":{tensor(shape="[-1]")}}}', b"x"),
    "a shape of fractions": file_of(f'{{"a":{tensor(shape="[1.0]")}}}', b"x"),
    "a shape that is text": file_of(f'{{"a":{tensor(shape=chr(34) * 2)}}}', b"x"),
    "a shape whose product overflows": file_of(
        f'{{"a":{tensor(shape="[4294967296,4294967296,0]", offsets="[0,0]")}}}'
    ),
    "a shape of 1000 dimensions": file_of(f'{{"a":{tensor(shape=str([1] * 1000))}}}', b"x"),
    "negative offsets": file_of(f'{{"a":{tensor(offsets="[-1,0]")}}}', b"x"),
    "offsets that run backwards": file_of(f'{{"a":{tensor(offsets="[1,0]")}}}', b"x"),
    "offsets beyond the file": file_of(f'{{"a":{tensor(shape="[9]", offsets="[0,9]")}}}', b"x"),
    "overlapping tensors": file_of(f'{{"a":{tensor()},"b":{tensor()}}}', b"x"),
    "a hole between tensors": file_of(f'{{"a":{tensor()},"b":{tensor(offsets="[2,3]")}}}', b"xxx"),
    "an unknown type of nothing": file_of(f'{{"a":{tensor("X7", "[0]", "[0,0]")}}}'),
    "half a byte": file_of(f'{{"a":{tensor("F4", "[3]", "[0,1]")}}}', b"x"),
    "half of a surrogate pair": file_of(f'{{"\\ud800":{tensor()}}}', b"x"),
    "half of a surrogate pair in foreign metadata": file_of('{"__metadata__":{"a":"\\ud800"}}'),
    "no UTF-8": file_of(b'{"\xff":' + tensor().encode() + b"}", b"x"),
    "UTF-16": file_of("{}".encode("utf-16")),
    "a byte order mark": file_of("\ufeff{}"),
    "metadata that is no text": file_of('{"__metadata__":{"a":1}}'),
    "metadata that is a list": file_of('{"__metadata__":[]}'),
    "brackets": file_of("[" * 100_000),
    "nested objects": file_of('{"a":' * 100_000),
    "a record of brackets": with_record("[" * 100_000),
    "a record nested 70 deep": with_record('{"format":1,"a":' + "[" * 70 + "]" * 70 + "}"),
    "a record with NaN": with_record('{"format":1,"a":NaN}'),
    "a record with infinity": with_record('{"format":1,"a":1e999}'),
    "a record with an endless number": with_record('{"format":1,"a":' + "9" * 5000 + "}"),
    "a record with a key twice": with_record('{"format":1,"format":1}'),
    "a record with half of a pair": with_record('{"format":1,"a":"\\ud800"}'),
    "a record of format true": with_record('{"format":true}'),
    "a record that is a list": with_record("[]"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_hostile_header_is_refused_in_one_line(what: str, tmp_path: Path, aigc: Run) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HEADERS[what])
    with pytest.raises(DamagedFileError, match="hostile.safetensors"):
        read_header(path)
    refused = aigc("inspect", path)
    assert refused.code == 5
    assert len(refused.error) < 400
    with pytest.raises(DamagedFileError):
        Store().publish("a", {WEIGHTS_FILE: HEADERS[what]})
    assert aigc("weights", "import", path, "--name", "a").code == 5
    assert list(Store()) == []


def test_a_million_empty_tensors_are_read_in_bounded_time_and_memory(tmp_path: Path) -> None:
    """Thirty thousand here: time and memory grow with the file."""
    path = tmp_path / "many.safetensors"
    text = ",".join(f'"{n}":{tensor(shape="[0]", offsets="[0,0]")}' for n in range(30_000))
    path.write_bytes(file_of(f"{{{text}}}"))
    tracemalloc.start()
    assert len(read_header(path).tensors) == 30_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * path.stat().st_size


BOMBS: dict[str, Callable[[int], bytes]] = {
    "foreign metadata": lambda n: file_of('{"__metadata__":{"a":"' + "x" * n + '"}}'),
    "escapes": lambda n: file_of('{"__metadata__":{"a":"' + "\\n" * (n // 2) + '"}}'),
    "a record of one text": lambda n: with_record('{"format":1,"a":"' + "x" * n + '"}'),
    "a record of empty lists": lambda n: with_record('{"format":1,"a":[' + "[]," * (n // 3) + "0]}"),
    "a record of objects": lambda n: with_record('{"format":1,"a":[' + '{"a":1},' * (n // 8) + "0]}"),
    "a record of keys": lambda n: with_record(
        '{"format":1,' + ",".join(f'"{i}":1' for i in range(n // 11)) + "}"
    ),
    "a record of brackets": lambda n: with_record("[" * n),
    "brackets": lambda n: file_of("[" * n),
    "a long shape": lambda n: file_of(f'{{"a":{tensor(shape="[" + "1," * (n // 2) + "1]")}}}', b"x"),
    "spaces": lambda n: file_of("{" + " " * n + "}"),
}


@pytest.mark.parametrize("size", [5_000_000, pytest.param(95_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", BOMBS)
def test_a_header_takes_memory_in_proportion_to_its_size(what: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(BOMBS[what](size))
    tracemalloc.start()
    try:
        read_header(path)
    except DamagedFileError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 12 * path.stat().st_size


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, aigc: Run) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    long = tmp_path / ("x" * 300 + ".safetensors")
    within = tmp_path / "folder.safetensors" / "x" / "y.safetensors"
    for path in (*tmp_path.iterdir(), long, within, Path("/dev/zero"), Path("a\0b.safetensors")):
        with pytest.raises(NotFoundError):
            read_header(path)
    assert aigc("inspect", tmp_path / "pipe.safetensors").code == 3
    assert aigc("inspect", long).code == 3


def readers() -> dict[str, tuple[list[bytes], Callable[[bytes, Random], bytes], Callable[[bytes], Any]]]:
    digest = "sha256:" + "a" * 64
    files = {WEIGHTS_FILE: manifest.File(digest, 1)}
    record = header_of(io.BytesIO(weights_bytes(1)), Path("whole"))[0].record
    return {
        "manifest": (
            [manifest.encode(record, files, {"seed": 0})], mutated_json,
            lambda c: canonical(manifest.parse(c, manifest.digest_of(c), "x").record).encode(),
        ),
        "version": (
            [manifest.VersionRecord("a", 1, digest, "2026-11-22T10:00:00+00:00").encode()], mutated_json,
            lambda c: manifest.parse_version(c, "a", 1, "x"),
        ),
        "alias": ([manifest.encode_alias("a", "b", 1)], mutated_json, lambda c: manifest.parse_alias(c, "a", "b", "x")),
        "tombstone": (
            [manifest.encode_tombstone("a", 1, "2026-11-22")], mutated_json,
            lambda c: manifest.parse_tombstone(c, "a", 1, "x"),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", readers())
def test_a_reader_of_the_store_returns_or_says_why_not(kind: str) -> None:
    """Two million inputs: benchmarks/fuzz.py"""
    wholes, mutate, read = readers()[kind]
    random = Random(kind)
    ended = {True: 0, False: 0}
    for _ in range(1500):
        content = mutate(random.choice(wholes), random)
        try:
            read(content)
        except AigcError:
            ended[False] += 1
        else:
            ended[True] += 1
    assert min(ended.values()) > 100, "damage that is always, or never, seen tests nothing"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A file that is on no disk."""
    handle = os.memfd_create("weights")
    yield Path(f"/proc/self/fd/{handle}")
    os.close(handle)


def library_reads(content: bytes) -> dict[str, tuple[str, list[int]]] | None:
    try:
        return {name: (t["dtype"], t["shape"]) for name, t in safetensors.deserialize(content)}
    except safetensors.SafetensorError:
        return None


def check_weights(content: bytes, path: Path) -> bool:
    """Whether they are read; if so, the library must read the same."""
    path.write_bytes(content)
    try:
        header = read_header(path)
    except AigcError:
        return False
    tensors_digest(header)
    canonical(header.record).encode()
    assert {n: (i.dtype, list(i.shape)) for n, i in header.tensors.items()} == library_reads(content)
    return True


def test_weights_that_are_read_are_read_as_by_the_library(tmp_path: Path) -> None:
    random = Random(0)
    read = sum(
        check_weights(mutated_weights(random.choice(seeds()), random), tmp_path / "x") for _ in range(3000)
    )
    assert 500 < read < 2500


@settings(REPEATABLE, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), unique=True, max_size=4),
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=4, max_size=4),
    ascii=st.booleans(), indent=st.sampled_from([None, 1, "\t"]), order=st.randoms(),
)  # fmt: skip
def test_whatever_the_format_allows_is_read(
    names: list[str], shapes: list[list[int]], ascii: bool, indent: Any, order: Any, memory: Path
) -> None:
    position, items = 0, []
    for name, shape in zip(names, shapes, strict=False):
        end = position + 2 * int(math.prod(shape))
        fields: list[tuple[str, Any]] = [
            ("dtype", "BF16"),
            ("shape", shape),
            ("data_offsets", [position, end]),
        ]
        order.shuffle(fields)
        if name != "__metadata__":
            items.append((name, dict(fields)))
            position = end
    order.shuffle(items)
    items.insert(order.randrange(len(items) + 1), ("__metadata__", {"format": "pt", "é\n": "\\ \"'"}))
    text = json.dumps(dict(items), ensure_ascii=ascii, indent=indent)
    assert check_weights(file_of(text + "   ", bytes(position)), memory)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(REPEATABLE, max_examples=200)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_strict_json_takes_all_that_is_written(value: Any) -> None:
    assert strict.parse(canonical(value)) == value
    assert strict.parse(json.dumps(value, indent=1).encode()) == value


STRANGE: list[Any] = [None, -1, 1e300, "", "\x1b[2J\n", [], [[]], {}, {"a": {}}, "DROPPED"]


@pytest.mark.parametrize("key", ["model", "backend", "core", "license", "config", "parameters", "shared", "data", "output",
                                 "training", "tensors_digest"])  # fmt: skip
def test_a_record_that_is_not_as_it_should_be_is_no_bug_of_ours(key: str, aigc: Run, tmp_path: Path) -> None:
    path = tmp_path / "strange.safetensors"
    whole = header_of(io.BytesIO(weights_bytes(1)), path)[0].record
    for value in STRANGE:
        record = {k: v for k, v in {**whole, key: value}.items() if v != "DROPPED"}
        text = json.dumps(
            {
                "__metadata__": {"aigc": json.dumps(record)},
                "generator.w": json.loads(tensor("U8", "[8]", "[0,8]")),
            }
        )
        path.write_bytes(file_of(text, bytes([1] * 8)))
        commands = [
            ["inspect", path],
            ["weights", "import", path, "--name", "a"],
            ["sample", path, "--out", "x.png"],
        ]
        for command in commands:
            check_told(aigc(*command), f"{command[:2]} of {key} = {value!r}")
        for version in Store().versions("a"):
            check_told(aigc("weights", "list"), f"list of {key} = {value!r}")
            for command in ("show", "verify", "inspect"):
                words = [command, version] if command == "inspect" else ["weights", command, version]
                check_told(aigc(*words), f"{command} of {key} = {value!r}")
            check_told(aigc("weights", "diff", version, version), f"diff of {key} = {value!r}")
            check_told(
                aigc("weights", "export", version, tmp_path / "out" / str(version)),
                f"export of {key} = {value!r}",
            )
            Store().remove(str(version))


def check_told(result: Result, what: str) -> None:
    assert "a bug" not in result.err, f"{what}: {result.err}"
    assert "\x1b[2J" not in result.out, f"{what}: {result.out!r}"
    if result.code:
        assert result.code in (2, 3, 4, 5, 9), f"{what}: {result}"
        assert result.error.isprintable() or "\x1b" not in result.error, f"{what}: {result.err!r}"


def test_a_record_may_lack_what_a_failed_training_lacks(aigc: Run, tmp_path: Path) -> None:
    path = tmp_path / "last-good.safetensors"
    path.write_bytes(weights_bytes(1, training={"steps": 3, "seed": 0, "options": {}, "stopped": "nan"}))
    assert aigc("inspect", path).code == 0
    assert aigc("weights", "import", path, "--name", "a").code == 0
    assert aigc("weights", "show", "a").code == 0


def test_a_hostile_folder_is_not_imported(aigc: Run, tmp_path: Path) -> None:
    """Each has sums and digests that are right; what they say is not."""
    publish("a", 1)
    whole = tmp_path / "whole"
    assert aigc("weights", "export", "a", whole).code == 0
    value = json.loads((whole / "manifest.json").read_bytes())
    weights, record = value["files"][WEIGHTS_FILE], value["record"]
    changes: dict[str, dict[str, Any]] = {
        "a file outside": {"files": {WEIGHTS_FILE: weights, "../x": weights}},
        "an absolute file": {"files": {WEIGHTS_FILE: weights, "/etc/passwd": weights}},
        "no weights": {"files": {"other": weights}},
        "another record": {"record": {**record, "license": "mine"}},
        "another model": {"model": "tiny/other"},
        "another digest": {"tensors_digest": "sha256:" + "0" * 64},
        "a size that lies": {"files": {WEIGHTS_FILE: {**weights, "size": -1}}},
        "a digest that is a path": {"files": {WEIGHTS_FILE: {**weights, "digest": "sha256:../../x"}}},
    }
    for what, change in changes.items():
        folder = tmp_path / what.replace(" ", "-")
        shutil.copytree(whole, folder)
        content = canonical({**value, **change}).encode()
        (folder / "manifest.json").write_bytes(content)
        sums = {WEIGHTS_FILE: weights["digest"], "manifest.json": manifest.digest_of(content), "../x": weights["digest"],
                "/etc/passwd": weights["digest"], "other": weights["digest"]}  # fmt: skip
        (folder / "SHA256SUMS").write_text("".join(f"{d[7:]}  {n}\n" for n, d in sums.items()))
        refused = aigc("weights", "import", folder, "--name", "b")
        assert refused.code == 5, f"{what}: {refused}"
        assert refused.error
    assert [str(v) for v in Store()] == ["a@1"]
    assert aigc("weights", "import", whole, "--name", "b").code == 0
