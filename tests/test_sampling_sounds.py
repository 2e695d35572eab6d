"""Sounds of any length: bit for bit the same however they are drawn and kept, with pictures, labels, given sounds and the
weights of other models."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run, Site
from hums import install, trained, write_tone
from PIL import Image

import aigc_core
from aigc_core.errors import BackendError, UsageError
from aigc_core.interfaces import Block
from aigc_core.modality import modality
from aigc_core.provenance.content import digest_of, read
from aigc_core.provenance.replay import replay
from aigc_core.sampling.draw import Samples
from aigc_core.sampling.notes import Notes
from aigc_core.sampling.records import read_record
from aigc_core.testing import cases
from aigc_core.testing.kit import outcomes
from aigc_core.weights.store import Store

OUTS = ("x.wav", "f/", "x.tar", "x.npz")


TRAINED: dict[str, Path] = {}


@pytest.fixture
def hum(
    site: Site,
    home: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The weights `hum@1` and `timbre@1` in this test's store; trained once."""
    install(site)
    if "home" not in TRAINED:
        TRAINED["home"] = tmp_path_factory.mktemp("trained")
        with monkeypatch.context() as patch:
            patch.setenv("AIGC_HOME", str(TRAINED["home"]))
            trained(TRAINED["home"] / "tones")
            trained(TRAINED["home"] / "tones", "hum/timbre", "timbre")
    shutil.copytree(TRAINED["home"], home)
    shutil.copytree(home / "tones", tmp_path / "tones")
    return "hum@1"


def drawn(weights: str, **arguments: object) -> Samples:
    found = aigc_core.sample(weights, **arguments)  # type: ignore[arg-type]
    assert found is not None
    return found


def digests(samples: Samples) -> list[str]:
    return modality("audio").digests(samples.array, samples.output)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def test_a_sample_is_the_same_alone_in_a_batch_and_in_every_file(
    hum: str, tmp_path: Path, process: Run
) -> None:
    whole = drawn(hum, count=9, start=1)
    ends = (~np.isnan(whole.array[:, 0])).sum(1)
    assert len(set(ends.tolist())) > 3
    assert whole.array.shape == (9, 1, ends.max())
    one = [drawn(hum, count=1, start=index) for index in range(1, 10)]
    assert [samples.array.shape[2] for samples in one] == ends.tolist(), "alone, nothing follows the end"
    assert [digest for samples in one for digest in digests(samples)] == digests(whole)
    aigc_core.sample(hum, count=9, start=1, out=tmp_path / "a/f/")
    several = process("sample", hum, "-n", 9, "--start", 1, "--processes", 2, "--out", tmp_path / "b/f/")
    assert several.code == 0, several.err
    files = sorted((tmp_path / "a/f").glob("*.wav"))
    assert [digest_of(path) for path in files] == digests(whole)
    assert all(
        path.read_bytes() == (tmp_path / "b/f" / path.name).read_bytes()
        for path in (tmp_path / "a/f").iterdir()
    )
    whole.save(tmp_path / "c/f/")
    for path in (tmp_path / "a/f").iterdir():
        assert path.read_bytes() == (tmp_path / "c/f" / path.name).read_bytes()


@pytest.mark.parametrize("out", OUTS)
def test_every_file_is_replayed_and_kept_again(hum: str, out: str, tmp_path: Path, aigc: Run) -> None:
    first, second = f"{tmp_path}/a/{out}", f"{tmp_path}/b/{out}"
    assert (
        aigc("sample", hum, "-n", 6, "--start", 1, "--label", "low", "--label", "2", "--out", first).code == 0
    )
    assert aigc("replay", first, "--out", second).out.startswith("exact  6 samples")
    a, b = ({p.name: digest_of(p) for p in Path(tmp_path / x).rglob("*") if p.is_file()} for x in "ab")
    assert a == b != {}
    record = read_record(Path(first) if Path(first).is_file() else Path(first) / "000003.wav")
    assert record["labels"] == ["low", "mid"]
    assert "there already" in aigc("sample", hum, "-n", 6, "--start", 1, "--label", "low", "--label", "mid", "--out",
                                   first).err or out == "x.wav"  # fmt: skip
    other = aigc("sample", hum, "-n", 6, "--start", 1, "--label", "low", "--out", first)
    assert (other.code, out) == (0, out) if out != "f/" else "labels is ['low', 'mid'] there" in other.error


def test_an_npz_says_where_each_sound_ends(hum: str, tmp_path: Path) -> None:
    whole = drawn(hum, count=9)
    aigc_core.sample(hum, count=9, out=tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        audio, ends = file["audio"], file["lengths"]
        assert sorted(file.files) == ["audio", "lengths", "record", "sample_rate"]
    assert audio.shape == whole.array.shape
    for row, end in enumerate(ends):
        assert np.array_equal(audio[row, 0, :end], whole.array[row, 0, :end])
        assert not audio[row, 0, end:].any()
        assert np.isnan(whole.array[row, 0, end:]).all()
    with np.load(tmp_path / "x.npz") as file:
        arrays = dict(file)
    ends[3] -= 1
    np.savez(tmp_path / "cut.npz", **{**arrays, "lengths": ends})
    found = replay(tmp_path / "cut.npz")
    assert (found.exact, found.differences) == (
        False,
        (f"sample 3: {ends[3]} samples there, {ends[3] + 1} here",),
    )
    np.savez(tmp_path / "cut.npz", **{key: value for key, value in arrays.items() if key != "lengths"})
    assert (
        replay(tmp_path / "cut.npz").differences[0] == "cut.npz: it does not say the lengths of its samples"
    )


def test_a_loud_clip_is_scaled_and_not_clipped(hum: str) -> None:
    loud = drawn(hum, count=3, options={"speaker": "loud"}).array
    quiet = drawn(hum, count=3).array
    for a, b in zip(loud, quiet, strict=True):
        assert np.nanmax(np.abs(a)) == 1.0
        assert np.allclose(a / np.nanmax(np.abs(a)), b / np.nanmax(np.abs(b)), atol=1e-6, equal_nan=True)


def test_a_picture_lies_beside_each_sound_where_one_was_shown(hum: str, tmp_path: Path, aigc: Run) -> None:
    labels = ["--label", "high", "--label", "low"]
    aigc("sample", hum, "-n", 3, *labels, "--out", tmp_path / "x.wav")
    aigc("sample", hum, "-n", 3, *labels, "--out", tmp_path / "f/")
    aigc("sample", hum, "-n", 3, *labels, "--out", tmp_path / "x.tar")
    aigc("sample", hum, "-n", 3, *labels, "--out", tmp_path / "x.npz")
    names = [f"{i:06d}.wav{more}" for i in range(3) for more in ("", ".png")]
    assert sorted(os.listdir(tmp_path / "f")) == names
    assert sorted(p.name for p in tmp_path.glob("x.*")) == ["x.npz", "x.tar", "x.wav", "x.wav.png"]
    with tarfile.open(tmp_path / "x.tar") as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert [name for name in members if not name.endswith(".json")] == names
    pictures = [opened(tmp_path / "f" / name) for name in names[1::2]]
    ends = (~np.isnan(drawn(hum, count=3, labels=["high", "low"]).array[:, 0])).sum(1).tolist()
    assert [(p.mode, p.size) for p in pictures] == [
        ("RGB", (ends[0], 3)),
        ("L", (ends[1], 4)),
        ("RGB", (ends[2], 3)),
    ]
    sheet = opened(tmp_path / "x.wav.png")
    assert (sheet.mode, sheet.size) == ("RGB", (max(ends), 10))
    assert np.array_equal(np.array(sheet)[3:7, : ends[1], 1], np.array(pictures[1]))
    assert members["000001.wav.png"] == (tmp_path / "f" / "000001.wav.png").read_bytes()
    found = aigc_core.inspect(tmp_path / "f" / "000001.wav.png")
    assert (found["intact"], found["picture_of"]) == (True, digest_of(tmp_path / "f" / "000001.wav"))
    assert "replay that: " in aigc("replay", tmp_path / "x.wav.png").error
    assert aigc("trace", tmp_path / "x.wav.png").code == 0
    (tmp_path / "f" / "000001.wav.png").unlink()
    again = aigc("sample", hum, "-n", 3, *labels, "--out", tmp_path / "f/")
    assert "is there already" in again.err, "the picture is not what was asked for"
    (tmp_path / "f" / "000002.wav").unlink()
    assert aigc("sample", hum, "-n", 3, *labels, "--out", tmp_path / "f/").code == 0
    assert sorted(os.listdir(tmp_path / "f")) == names
    assert aigc("replay", tmp_path / "f").out.startswith("exact  3")
    assert aigc("sample", hum, "-n", 3, "-s", "shown=false", "--out", tmp_path / "x.wav").code == 0
    assert not (tmp_path / "x.wav.png").exists(), "a picture of the sound that was there before"


def test_what_aigc_did_not_make_is_in_the_way(hum: str, tmp_path: Path, aigc: Run) -> None:
    mine = write_tone(tmp_path / "mine.wav")
    before = mine.read_bytes()
    aigc_core.sample(hum, count=1, out=tmp_path / "own.wav")
    for refused in (
        lambda: aigc_core.sample(hum, count=1, out=mine),
        lambda: replay(tmp_path / "own.wav", out=mine),
        lambda: drawn(hum, count=1).save(mine),
    ):
        with pytest.raises(UsageError, match=r"mine\.wav is there already, and aigc did not make it"):
            refused()
    assert mine.read_bytes() == before
    (tmp_path / "y.wav.png").write_bytes(b"my holiday")
    assert "y.wav.png is there already" in aigc("sample", hum, "-n", 1, "--out", tmp_path / "y.wav").error
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "000000.wav.png").write_bytes(b"my holiday")
    assert "000000.wav.png is there already" in aigc("sample", hum, "-n", 1, "--out", tmp_path / "f/").error
    np.savez(tmp_path / "mine.npz", a=np.zeros(3))
    assert "mine.npz is there already" in aigc("sample", hum, "-n", 1, "--out", tmp_path / "mine.npz").error
    assert not (tmp_path / "y.wav").exists()
    assert aigc("sample", hum, "-n", 1, "--seed", 4, "--out", tmp_path / "own.wav").code == 0, (
        "its own it replaces"
    )


def test_labels_are_names_or_numbers(hum: str, tmp_path: Path, aigc: Run) -> None:
    by_name, by_number = (drawn(hum, count=4, labels=labels) for labels in (["mid", "high"], [2, "0"]))
    assert digests(by_name) == digests(by_number)
    assert [note["label"] for note in by_name.record["notes"]] == [2, 0, 2, 0]
    assert [note["label"] for note in drawn(hum, count=4).record["notes"]] == [0, 1, 2, 0], "each in turn"
    assert len(drawn(hum, labels=["mid", "high"])) == 2, "as many as there are labels"
    for label, message in (
        ("hihg", "--label hihg: no class of hum@1; did you mean 'high'?"),
        ("3", "--label 3: no class of hum@1; they know 3: high, low, mid"),
        ("-1", "no class of"), ("", "no class of"), ("²", "no class of"),
    ):  # fmt: skip
        refused = aigc("sample", hum, f"--label={label}")
        assert (refused.code, message in refused.error) == (2, True), refused.error
    without = aigc_core.train("gan/mlp", "digits", steps=1, name="gan").weights
    assert "takes no --label" in aigc("sample", without, "--label", "3").error
    write_tone(tmp_path / "flat" / "a.wav")
    write_tone(tmp_path / "flat" / "b.wav")
    flat = aigc_core.train(
        "hum/hum", tmp_path / "flat", steps=1, name="flat", options={"batch_size": 2}
    ).weights
    assert "flat@1 were fitted on data without classes" in aigc("sample", flat, "--label", "a").error
    plain = trained(tmp_path / "tones", name="plain", conditional=False)
    assert aigc("sample", plain, "--label", "low").error.endswith("made without classes; leave out --label")


def test_sounds_are_given_in_turn_at_the_rate_of_the_weights(hum: str, tmp_path: Path, aigc: Run) -> None:
    a, b = write_tone(tmp_path / "a.wav", 100), write_tone(tmp_path / "b.wav", 400, rate=16000)
    echo = drawn(hum, sampler="echo", count=3, sounds=[a, b])
    pcm = np.frombuffer(read(a).data, "<i2") / 32768
    assert np.array_equal(echo.array[0, 0, :100][::-1], pcm.astype(np.float32))
    assert (~np.isnan(echo.array[:, 0])).sum(1).tolist() == [100, 200, 100]
    assert digests(echo)[2] == digests(echo)[0]
    assert digests(drawn(hum, sampler="echo", count=1, start=1, sounds=[a, b])) == digests(echo)[1:2]
    halved = echo.array[1, 0, :200][::-1][20:180]
    expected = 8000 / 32768 * np.sin(np.arange(200) * 0.6)[20:180]
    assert np.abs(halved - expected).max() < 2e-3
    out = tmp_path / "x.wav"
    assert (
        aigc("sample", hum, "--sampler", "echo", "--sound", a, "--sound", b, "--private", "--out", out).code
        == 0
    )
    record = read_record(out)
    assert record["count"] == 2
    assert [sound["content"] for sound in record["sounds"]] == [digest_of(a), digest_of(b)]
    assert "a.wav" not in json.dumps(record)
    assert "sounds     a private one (sha256:" in aigc("inspect", out).out
    assert "which is none of the 1 given; give it by --sound FILE" in aigc("replay", out, "--sound", a).error
    assert aigc("replay", out, "--sound", b, "--sound", a).out.startswith("exact")


def test_what_is_no_sound_is_named(hum: str, tmp_path: Path, aigc: Run) -> None:
    (tmp_path / "text.wav").write_text("hello")
    write_tone(tmp_path / "none.wav", 0)
    timbre = "timbre@1"
    long = write_tone(tmp_path / "long.wav", 302)
    for arguments, code, message in (
        ((hum, "--sampler", "echo"), 2, "works on sounds: give --sound FILE"),
        ((hum, "--sound", long), 2, "takes no --sound"),
        ((hum, "--sampler", "echo", "--sound", tmp_path / "missing.wav"), 3, "no sound "),
        ((hum, "--sampler", "echo", "--sound", tmp_path / "text.wav"), 6, "text.wav: not a sound that can be read"),
        ((hum, "--sampler", "echo", "--sound", tmp_path / "none.wav"), 6, "none.wav: not a sound that can be read"),
        ((timbre, "--sound", long), 6, "long.wav: 302 samples at 8000 Hz, but the weights make 301; cut it to"),
    ):  # fmt: skip
        refused = aigc("sample", *arguments)
        assert (refused.code, message in refused.error) == (code, True), refused.error
    short = drawn(timbre, sounds=[write_tone(tmp_path / "short.wav", 30)])
    assert short.array.shape == (1, 1, 301)
    assert not short.array[0, 0, 30:].any()


def test_a_part_is_the_weights_that_an_option_names(hum: str, tmp_path: Path, aigc: Run) -> None:
    arguments = [hum, "-n", 3, "--sampler", "colour", "--out", tmp_path / "x.wav"]
    assert aigc("sample", *arguments).code == 0
    plain = digest_of(tmp_path / "x.wav")
    assert "parts" not in read_record(tmp_path / "x.wav")
    assert aigc("sample", *arguments, "-s", "timbre=timbre").code == 0
    assert digest_of(tmp_path / "x.wav") != plain
    part = read_record(tmp_path / "x.wav")["parts"]["timbre"]
    assert (part["name"], part["model"], part["license"]) == ("timbre@1", "hum/timbre", "CC0-1.0")
    assert "parts      timbre timbre@1 of hum/timbre (sha256:" in aigc("inspect", tmp_path / "x.wav").out
    wrong = aigc("sample", *arguments, "-s", f"timbre={hum}")
    assert (
        wrong.code,
        "its timbre must be weights of hum/timbre, and hum@1 are of hum/hum" in wrong.error,
    ) == (2, True)
    assert aigc("sample", *arguments, "-s", "timbre=nothing").code == 3
    other = aigc_core.train(
        "hum/timbre", tmp_path / "tones", steps=9, name="timbre", options={"batch_size": 2}
    )
    assert other.weights == "timbre@2"
    assert aigc("replay", tmp_path / "x.wav").out.startswith("exact"), "the name means others now"
    path = tmp_path / "my secret.safetensors"
    shutil.copy(Store().resolve("timbre@1").path, path)
    private = aigc("sample", *arguments[:-1], tmp_path / "p.wav", "-s", f"timbre={path}", "--private")
    assert private.code == 0, private.err
    assert "secret" not in json.dumps(read_record(tmp_path / "p.wav"))
    assert digest_of(tmp_path / "p.wav") == digest_of(tmp_path / "x.wav")
    assert aigc("replay", tmp_path / "p.wav").out.startswith("exact"), "the store holds the same"
    assert "timbre timbre@1 of hum/timbre (sha256:" in aigc("trace", tmp_path / "x.wav").out
    assert aigc("weights", "rm", "timbre@1").code == 0
    missing = aigc("replay", tmp_path / "x.wav")
    assert (missing.code, "was made with timbre@1 as its timbre" in missing.error) == (3, True)


def test_a_folder_goes_on_with_the_same_part_alone(hum: str, tmp_path: Path, aigc: Run) -> None:
    arguments = [
        "sample",
        hum,
        "-n",
        3,
        "--sampler",
        "colour",
        "-s",
        "timbre=timbre",
        "--out",
        tmp_path / "f/",
    ]
    assert aigc(*arguments).code == 0
    aigc_core.train("hum/timbre", tmp_path / "tones", steps=9, name="timbre", options={"batch_size": 2})
    assert "parts: timbre: name is timbre@1 there, timbre@2 here" in aigc(*arguments).error


def test_floats_are_kept_as_they_are_and_have_the_same_content(hum: str, tmp_path: Path, aigc: Run) -> None:
    samples = drawn(hum, count=2).array
    for out in ("x.wav", "f/", "x.tar"):
        for encoding in ("pcm16", "float32"):
            assert (
                aigc(
                    "sample", hum, "-n", 2, "--encoding", encoding, "--out", f"{tmp_path}/{encoding}/{out}"
                ).code
                == 0
            )
        assert replay(tmp_path / "float32" / out).exact
    a, b = (tmp_path / encoding / "f" / "000001.wav" for encoding in ("pcm16", "float32"))
    assert digest_of(a) == digest_of(b)
    assert ("encoding" in read_record(a), read_record(b)["encoding"]) == (False, "float32")
    content = b.read_bytes()
    assert content[20:22] == b"\3\0"
    assert content[38:46] == b"fact\4\0\0\0"
    end = int((~np.isnan(samples[1, 0])).sum())
    assert int.from_bytes(content[46:50], "little") == end
    assert np.array_equal(np.frombuffer(content[58 : 58 + 4 * end], "<f4"), samples[1, 0, :end])
    soundfile = pytest.importorskip("soundfile")
    assert np.array_equal(soundfile.read(b, dtype="float32")[0], samples[1, 0, :end])
    replay(tmp_path / "float32" / "f", out=tmp_path / "again/")
    assert (tmp_path / "again" / "000001.wav").read_bytes()[20:22] == b"\3\0"
    assert (
        "is of the sounds in .wav"
        in aigc("sample", hum, "--encoding", "float32", "--out", tmp_path / "y.npz").error
    )
    gan = aigc_core.train("gan/mlp", "digits", steps=1, name="gan").weights
    assert "--encoding is for sounds" in aigc("sample", gan, "--encoding", "float32").error


def test_flags_that_stand_for_options(hum: str, tmp_path: Path, aigc: Run) -> None:
    done = aigc("sample", hum, "-n", 1, "--speaker", "loud", "--best-of", 3, "--out", tmp_path / "x.wav")
    assert done.code == 0, done.err
    options = read_record(tmp_path / "x.wav")["options"]
    assert (options["speaker"], options["best_of"]) == ("loud", 3)
    gan = aigc_core.train("gan/mlp", "digits", steps=1, name="gan").weights
    aigc("sample", hum, "-n", 1, "--speaker", "one", "--speaker", "two", "--out", tmp_path / "y.wav")
    assert read_record(tmp_path / "y.wav")["options"]["speaker"] == "one,two"
    assert "sampler 'prior' has no option 'speaker'" in aigc("sample", gan, "--speaker", "x").error
    assert "sampler 'prior' has no option 'best_of'" in aigc("sample", gan, "--best-of", 2).error


def test_models_show_tells_of_needs_and_parts(hum: str, aigc: Run) -> None:
    shown = aigc("models", "show", "hum/hum").out
    assert "conditions   label\n" in shown
    assert "Sampler echo: a tone [NFE 1, needs sound]" in shown
    assert "Sampler colour: a tone [NFE 1, timbre: weights of hum/timbre]" in shown
    told = json.loads(aigc("models", "show", "hum/hum", "--json").out)["samplers"]
    assert (told["colour"]["parts"], told["echo"]["needs"]) == ({"timbre": "hum/timbre"}, ["sound"])


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ("values[row, 0, 3] = NAN", "NaN before the end of a sound"),
        ("values[row] = NAN", "a sound of no length"),
        ("values[row, 0, 3] = float('inf')", "values that are not finite"),
        ("block.show(row, np.zeros((3, 4)))", "shows, of row 0, float64 of 3x4, not uint8"),
        ("block.show(row, [1])", "shows, of row 0, list, not a numpy array"),
    ],
)
def test_a_sampler_that_returns_nonsense_is_named(
    hum: str, spoilt: str, message: str, site: Site, aigc: Run, tmp_path: Path
) -> None:
    import hum_network  # type: ignore[import-not-found]

    before = hum_network.ragged

    def ragged(rows: object, block: object) -> object:
        values, row = before(rows, block), 0
        exec(spoilt, {"values": values, "row": row, "block": block, "np": np, "NAN": float("nan")})
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hum_network, "ragged", ragged)
        with pytest.raises(BackendError, match=message):
            aigc_core.sample(hum, count=2)
        assert aigc("sample", hum, "-n", 2, "--out", tmp_path / "x.wav").code == 4
    assert not list(tmp_path.glob("x*"))


def test_what_needs_labels_has_a_golden_sample_and_sheets(hum: str, tmp_path: Path, aigc: Run) -> None:
    """Of each class in turn."""
    done = aigc_core.train(
        "hum/class", tmp_path / "tones", steps=100, name="class", options={"batch_size": 2}
    )
    version = Store().version("class@1")
    assert version.manifest.golden is not None
    assert {"samples.wav"} <= set(version.manifest.files)
    assert "ok" in aigc("weights", "verify", "class@1").out
    assert done.run is not None
    sheets = sorted(path.name for path in Path(done.run).glob("sheets/*"))
    assert sheets == ["00000100.wav", "00000100.wav.png"]


def test_what_is_noted_of_private_samples_holds_no_words() -> None:
    facts = {
        "text": "my secret",
        "seconds": 1.5,
        "drawn": [{"token": "my", "probability": 0.5}],
        "stopped": True,
    }
    block = Block(0, 4, 1, torch.device("cpu"), notes=({},))
    block.note(0, **facts)
    for private, kept in ((False, facts), (True, {"seconds": 1.5, "stopped": True})):
        notes = Notes()
        notes.take(block, private=private)
        assert notes.said([4]) == {"notes": [kept]}


def test_a_training_says_what_its_sampler_needs(hum: str, tmp_path: Path, aigc: Run) -> None:
    options = ("--steps", "1", "--name", "copies", "-o", "batch_size=2")
    done = aigc("train", "hum/timbre", "--data", tmp_path / "tones", *options)
    assert "sample copies@1 --sound FILE --out copies.wav" in done.out


KIT = (
    "declares", "options", "builds", "smoke", "saves", "silent", "output", "sample-independent", "neighbours",
    "leaves-no-trace", "conditions", "stops",
)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "problems"),
    [
        ("", "", "", {}),
        ("network", "0.01 * noise[row, 1]", "0.3 * row", {"neighbours": "in blocks of 2,"}),
        ("network", "values[row, 0, :len(sound)] = sound", "values[row, 0, :len(sound)] = sound * NAN",
         {"output": "gives a sound of no length"}),
        ("network", ".flip(0) for", "[:300] * 0 + 0.5 for", {"conditions": "it needs sounds, but they change nothing"}),
        ("network", 'if "timbre" in block.parts:', "if True:", {"output": "name no timbre, it fails; do without"}),
        ("options", 'timbre: str = Field("",', 'timbre: str = Field("x",', {"options": "empty by default"}),
    ],
)  # fmt: skip
def test_the_kit_knows_sounds_of_any_length(
    hum: str, file: str, old: str, new: str, problems: dict[str, str], site: Site, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AIGC_PLUGINS", "hum")
    if file:
        path = site.path / f"hum_{file}.py"
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        for name in ("hum_network", "hum_options"):
            monkeypatch.delitem(sys.modules, name, raising=False)
    found = list(outcomes(cases("hum", tmp_path / "check", only=list(problems) or KIT)))
    told = [(o.name.partition(" ")[0], str(o.problem)) for o in found if not o.ok]
    assert {name for name, _ in told} == set(problems), told
    for name, words in problems.items():
        assert any(words in problem for check, problem in told if check == name), told
