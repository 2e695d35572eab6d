"""What a disk, a clock or a user may do to the store: the damage is named, and the rest is shown and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from helpers import Run, weights_bytes
from mutations import mutated_bytes

from aigc_core.errors import DamagedFileError, NotFoundError, UsageError
from aigc_core.weights.gc import collect
from aigc_core.weights.layout import NAME, WEIGHTS_FILE
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version


def publish(name: str, value: int = 0) -> Version:
    return Store().publish(name, {WEIGHTS_FILE: weights_bytes(value)})


def damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "truncated", content[: len(content) // 2]
    yield "one byte less", content[:-1]
    middle = len(content) // 2
    yield "a flipped bit", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    yield "zeros", bytes(len(content))
    yield "rubbish", mutated_bytes(os.urandom(200), Random(0))


DAMAGE = ["empty", "truncated", "one byte less", "a flipped bit", "zeros", "rubbish"]


def spoil(path: Path, how: str) -> None:
    content = dict(damaged(path.read_bytes()))[how]
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("kind", ["version", "manifest", "blob"])
def test_a_damaged_version_is_named_and_the_rest_is_shown_and_kept(kind: str, how: str, aigc: Run) -> None:
    store = Store()
    good, bad = publish("good", 1), publish("bad", 2)
    path = {
        "version": store.layout.version("bad", 1),
        "manifest": store.layout.manifest(bad.manifest.digest),
        "blob": bad.path,
    }[kind]
    whole = path.read_bytes()
    spoil(path, how)
    if how == "one byte less" and kind == "version":  # its last byte is the end of a line
        assert Store().find("bad").is_file()
        return
    rows = aigc("weights", "list", "--json")
    assert str(good) in [row["weights"] for row in json.loads(rows.out)]
    verified = aigc("weights", "verify", "--bytes-only")
    assert verified.code == 5
    assert str(path) in verified.out + verified.err
    assert aigc("weights", "verify", "good", "--bytes-only").code == 0
    refused = aigc("sample", "bad", "--out", "x.png")
    assert refused.code in (4, 5)
    if kind == "blob":
        assert Store().publish("again", {WEIGHTS_FILE: weights_bytes(2)}).path.read_bytes() == whole, "healed"
    else:
        assert refused.code == 5
        assert str(path) in refused.error
        for command in (["gc"], ["gc", "--delete"]):
            stopped = aigc("weights", *command)
            assert stopped.code == 5, "what it needs is not known"
            assert str(path) in stopped.error
        assert bad.path.is_file()
        following = Store().publish("bad", {WEIGHTS_FILE: weights_bytes(2)})
        assert following.number == 2, "no number is given twice"
        assert path.read_bytes() == whole or kind == "version", "a manifest is healed by the same publish"
    assert Store().find("good").read_bytes() == weights_bytes(1)


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_alias_hides_nothing_else(how: str, aigc: Run) -> None:
    store = Store()
    publish("a", 1)
    store.tag("a", "prod"), store.tag("a", "test")
    path = store.layout.alias("a", "prod")
    spoil(path, how)
    if how == "one byte less":
        return
    with pytest.raises(DamagedFileError, match="a@prod.json"):
        Store().find("a@prod")
    assert Store().find("a@test") == Store().find("a")
    assert aigc("weights", "list").code == 0
    assert aigc("weights", "gc").code == 5
    assert aigc("weights", "tag", "a@1", "prod").code == 0, "given anew, it is whole"
    assert Store().find("a@prod") == Store().find("a")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_tombstone_still_hides_its_version(how: str, aigc: Run) -> None:
    store = Store()
    publish("a", 1), publish("a", 2)
    store.remove("a@2")
    path = store.layout.tombstone("a", 2)
    spoil(path, how)
    assert [v.number for v in Store().versions("a")] == [1]
    assert publish("a", 3).number == 3
    if how != "one byte less":
        with pytest.raises(DamagedFileError, match="a@2.json"):
            collect(Store())
    assert aigc("weights", "restore", "a@2").code == 0
    assert Store().find("a@2").read_bytes() == weights_bytes(2)


@pytest.mark.parametrize("when", [0, 4e9, 2**33])
def test_a_clock_that_jumps_changes_nothing(when: float, aigc: Run) -> None:
    """Files of 1970, 2096 and 2242; and versions that say they were published in another century."""
    store = Store()
    for value in (1, 2):
        publish("a", value)
    for number, year in ((1, "2999"), (2, "0001")):
        path = store.layout.version("a", number)
        record = json.loads(path.read_bytes())
        path.write_text(json.dumps({**record, "published": f"{year}-01-01T00:00:00+00:00"}))
    before = aigc("weights", "list", "--json").out
    for path in store.root.rglob("*"):
        if path.suffix != ".sqlite":
            os.utime(path, (when, when))
    assert aigc("weights", "list", "--json").out == before
    assert Store().find("a") == Store().version("a@2").path
    assert publish("a", 3).number == 3
    os.utime(store.layout.version("a", 3), (when, when))
    store.remove("a@1")
    rows = json.loads(aigc("weights", "list", "--json").out)
    assert [row["weights"] for row in rows] == ["a@2", "a@3"]
    (store.root / "index.sqlite").unlink()
    assert json.loads(aigc("weights", "list", "--json").out) == rows
    collect(store)
    assert [str(v) for v in Store()] == ["a@2", "a@3"]


NAMES = [
    "", ".", "..", "../a", "a/../b", "/etc/passwd", "CON", "con", "nul.txt", "aux.", "com1", "lpt9.x", "a.", "a ", " a",
    "A", "x" * 300, "a\nb", "a\tb", "a\x1b[2J", "a\\b", "a:b", "a*", "a?b", "a|b", "~", "~root", "-rf", "--help-me",
    "а", "ａ", "a\u200b", "é", "ﬁ", "i̇", "\u202egnp.a", "a.safetensors", "a.png", "a.json/", "@", "a@", "@1", "a@@1", "a@0",
    "a@-1", "a@1e3", "a@01", "a@٣", "a@99999999999999999999", "a@../b", "a@1@2", "a@" + "x" * 300, "a@PROD", "a@a/b", "%61",
    "$HOME", "`id`", "a;b",
]  # fmt: skip
ALIASES = [name for name in NAMES if not NAME.fullmatch(name)]
"""`con` may be an alias: its file is `a@con.json`, which any system can hold."""
COMMANDS = {
    "show": ["NAME"], "tag": ["NAME", "new"], "tag of": ["a@1", "NAME"], "tag --remove": ["--remove", "NAME"], "rm": ["NAME"],
    "restore": ["NAME"], "verify": ["NAME", "--bytes-only"], "diff": ["NAME", "a@1"], "diff with": ["a@1", "NAME"],
    "export": ["NAME", "OUT"], "import": ["FILE", "--name", "NAME"], "import as": ["FILE", "--name", "b", "--alias", "NAME"],
    "retrain": ["NAME"], "list": ["NAME"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_hostile_name_is_refused_in_one_line_and_touches_nothing(
    command: str, aigc: Run, home: Path, tmp_path: Path
) -> None:
    publish("a", 1)
    source = tmp_path / "file.safetensors"
    source.write_bytes(weights_bytes(7))
    aigc("weights", "list")
    before = tree(tmp_path)
    taken = ALIASES if command in ("tag of", "import as") else NAMES
    for name in taken:
        if command == "list" and name in ("", "a*"):
            continue
        given = {"NAME": name, "OUT": str(tmp_path / "out"), "FILE": str(source)}
        words = [given.get(word, word) for word in COMMANDS[command]]
        if name.startswith("-") and not words[0].startswith("--"):
            words.insert(0, "--")
        result = aigc("weights", command.split()[0], *words)
        assert result.code in ((0, 2) if command == "list" else (2, 3, 5)), f"{name!r}: {result}"
        assert result.error.isprintable(), f"{name!r}: {result.error!r}"
        assert len(result.error) < 600
        assert "a bug" not in result.error
        assert tree(tmp_path) == before, name


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the cache and the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*")) if path.name not in ("index.sqlite", "lock")
    }  # fmt: skip


def test_names_that_differ_in_case_alone_are_not_possible() -> None:
    publish("a")
    with pytest.raises(UsageError):
        publish("A")
    with pytest.raises(NotFoundError):
        Store().find("A")
