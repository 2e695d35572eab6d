"""Sounds as data: every form of file, what is known of each, what can't be used and why."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from helpers import SHARED, Run, Site
from templates import REAL, template
from test_audio import all_of, write_tone, write_wav

import aigc_core
from aigc_core.data import Batches, open_data
from aigc_core.data.clips import Sounds
from aigc_core.data.reading import readings
from aigc_core.data.sounds import decode
from aigc_core.errors import DamagedFileError, DataError, NotFoundError, UsageError
from aigc_core.registry import Registry
from aigc_core.specs import DataInfo, Output
from aigc_core.training.retrain import _data

FSDD = SHARED / "data" / "fsdd" / "fsdd-recordings.tar.gz"


def chirp(rate: int, seconds: float = 0.5) -> np.ndarray:  # type: ignore[type-arg]
    """[T] from 200 to 1700 Hz, which fades in and out."""
    t = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * (200 + 1500 * t) * t) * np.hanning(len(t))


def sounds(path: Path | str, registry: Registry, **reading: object) -> Sounds:
    found = open_data(path, registry, reading=reading)
    assert isinstance(found, Sounds)
    return found


def reasons(data: Sounds) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in data.skipped)


def spoken(data: Sounds) -> list[str]:
    """What is said, by the numbers that models are given."""
    characters = data.info.assets["characters"].decode()
    rows = data.fetch_extras(torch.arange(len(data)))["text"].tolist()
    return ["".join(characters[code - 1] for code in row if code) for row in rows]


def test_a_stereo_flac_is_its_mix_resampled(tmp_path: Path, registry: Registry) -> None:
    tmp_path = tmp_path / "d"
    tmp_path.mkdir()
    wide = chirp(44100)
    for name, subtype in (("a.flac", "PCM_24"), ("b.ogg", "VORBIS"), ("c.wav", "FLOAT")):
        soundfile.write(tmp_path / name, np.stack([wide, np.zeros_like(wide)], 1), 44100, subtype=subtype)
    data = sounds(tmp_path, registry, sample_rate=16000)
    assert (data.info.details["sample_rate"], data.info.shape[1]) == (16000, 8000)
    flac, ogg, floats = all_of(data)[:, 0, :8000] / 32768
    middle = slice(100, -100)
    assert np.abs(flac - chirp(16000) / 2)[middle].max() < 1e-3
    assert np.abs(flac - floats).max() < 1e-4
    assert np.abs(ogg - floats).max() < 0.05
    assert data.reading == {"sample_rate": 16000}


def test_flac_holds_the_same_sixteen_bits_as_wav(tmp_path: Path, registry: Registry) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, (2, 3000)).astype(np.int16)
    for i, row in enumerate(pcm):
        write_wav(tmp_path / "wav" / f"{i}.wav", row.tobytes())
        (tmp_path / "flac").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "flac" / f"{i}.flac", row, 8000)
        extensible = tmp_path / "extensible" / f"{i}.wav"
        extensible.parent.mkdir(exist_ok=True)
        soundfile.write(extensible, row, 8000, format="WAVEX")
    digests = {sounds(tmp_path / name, registry).digest for name in ("wav", "flac", "extensible")}
    assert len(digests) == 1
    assert np.array_equal(all_of(sounds(tmp_path / "flac", registry))[:, 0], pcm)


def test_sounds_of_several_rates_get_the_commonest_and_of_two_the_lower(
    tmp_path: Path, registry: Registry
) -> None:
    for name, rate in (("a", 8000), ("b", 16000), ("c", 16000), ("d", 192000)):
        write_wav(tmp_path / f"{name}.wav", (chirp(rate) * 32767).astype("<i2").tobytes(), rate)
    data = sounds(tmp_path, registry)
    assert data.info.details == {"sample_rate": 16000}
    assert data.fetch_extras(torch.arange(4))["length"].tolist() == [8000] * 4
    items = all_of(data)[:, 0] / 32768
    assert np.abs(items[:, 100:-100] - items[1, 100:-100]).max() < 1e-3
    (tmp_path / "c.wav").unlink()
    (tmp_path / "d.wav").unlink()
    assert sounds(tmp_path, registry).info.details == {"sample_rate": 8000}


def bad_folder(folder: Path) -> dict[str, str]:
    """A folder with two good sounds and one of each bad kind; the reasons for these."""
    folder.mkdir()
    good, tone = write_tone(folder / "good.wav"), chirp(8000)
    soundfile.write(folder / "stereo.flac", np.stack([tone, tone], 1), 8000)
    soundfile.write(folder / "whole.ogg", tone, 8000)
    (folder / "text.wav").write_text("no sound at all")
    (folder / "text.flac").write_text("fLaC but then no more")
    (folder / "empty.ogg").touch()
    write_wav(folder / "zero.wav", b"")
    write_wav(folder / "silent.wav", bytes(2000))
    (folder / "cut.wav").write_bytes(good.read_bytes()[:700])
    (folder / "cut.flac").write_bytes((folder / "stereo.flac").read_bytes()[:-400])
    write_tone(folder / "slow.wav", rate=1)
    write_tone(folder / "fast.wav", rate=1_000_000)
    for name, value in (("nan", np.nan), ("inf", -np.inf), ("huge", 32767)):
        soundfile.write(folder / f"{name}.wav", np.append(tone, value), 8000, subtype="FLOAT")
    content = bytearray((folder / "inf.wav").read_bytes())
    (folder / "float-cut.wav").write_bytes(content[:-40])
    return {
        "text.wav": "is no WAV, FLAC or OGG file", "text.flac": "can't be read: unknown error in", "empty.ogg": "is empty",
        "zero.wav": "holds no sound", "silent.wav": "is silent", "cut.wav": "truncated: 2000 bytes",
        "cut.flac": "", "slow.wav": "a sample rate of 1 Hz, not 1,000 .. 768,000",
        "fast.wav": "a sample rate of 1000000 Hz", "nan.wav": "no numbers (NaN or infinite), first number 4000",
        "inf.wav": "no numbers (NaN or infinite)", "huge.wav": "as large as 3.277e+04", "float-cut.wav": "truncated",
    }  # fmt: skip


def test_one_sound_is_decoded_at_its_own_rate_or_says_why_not(tmp_path: Path) -> None:
    wanted = bad_folder(tmp_path / "d")
    clip = decode(tmp_path / "d" / "stereo.flac", 1000)
    assert clip.sound is not None
    assert (clip.rate, clip.sound.shape, clip.problem) == (8000, (1000,), "")
    for name, reason in wanted.items():
        clip = decode(tmp_path / "d" / name)
        assert clip.sound is None
        assert reason in clip.problem


def test_every_bad_sound_is_skipped_with_its_reason_and_counted(
    tmp_path: Path, registry: Registry, aigc: Run
) -> None:
    wanted = bad_folder(tmp_path / "d")
    data = sounds(tmp_path / "d", registry)
    assert len(data) == 3
    found = reasons(data)
    assert found.keys() == wanted.keys()
    for name, reason in wanted.items():
        assert reason in found[name], (name, found[name])
        assert "\n" not in found[name]
    with pytest.raises(DataError, match="cut.wav: truncated.*leave out --strict"):
        open_data(tmp_path / "d", registry, strict=True)
    shown = aigc("data", "show", tmp_path / "d")
    assert shown.code == 0
    assert "skipped 13 in all, 3 more than these" in shown.err
    assert shown.err.count("aigc: skipped") == 11


@pytest.mark.parametrize(("missing", "file"), [("soundfile", "b.flac"), ("soxr", "b.wav")])
def test_without_the_extra_a_file_that_needs_it_says_what_to_install(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, missing: str, file: str
) -> None:
    write_tone(tmp_path / "a.wav", rate=8000)
    soundfile.write(tmp_path / file, chirp(16000), 16000)
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    data = sounds(tmp_path, registry)
    assert len(data) == 1
    assert reasons(data)[file].endswith(f"needs {missing}; install it: pip install 'aigc-core[sound]'") or (
        reasons(data)[file] == "needs soundfile to be read; install it: pip install 'aigc-core[sound]'"
    )


def test_silence_is_trimmed_and_added_and_lengths_are_bounded(tmp_path: Path, registry: Registry) -> None:
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 0.5), ("b", 0.05), ("c", 3.0)):
        tone = 0.5 * np.sin(np.arange(round(8000 * seconds)))
        quiet = 0.0005 * rng.standard_normal(4000)
        wave = np.concatenate([quiet, tone, quiet])
        write_wav(tmp_path / f"{name}.wav", (wave * 32767).astype("<i2").tobytes())
    data = sounds(tmp_path, registry, trim=40, pad=0.1, shortest="0.2", longest=2)
    assert data.fetch_extras(torch.arange(1))["length"].item() == 4000 + 1600
    item = all_of(data)[0, 0]
    assert not item[:800].any()
    assert not item[-800:].any()
    assert np.abs(item[800:820]).max() > 10000
    assert reasons(data) == {
        "b.wav": "its 0.05 s are shorter than shortest=0.2",
        "c.wav": "its 3 s are longer than longest=2",
    }
    assert len(open_data(tmp_path, registry, strict=True, reading={"longest": 2})) == 2
    with pytest.raises(UsageError, match="shortest=3 is longer than longest=1"):
        open_data(tmp_path, registry, reading={"shortest": 3, "longest": 1})


def test_lines_of_a_metadata_file_say_what_is_said(tmp_path: Path, registry: Registry) -> None:
    """The layout of LJSpeech."""
    for name in ("LJ-1", "LJ-2", "LJ-3", "LJ-4", "LJ-5", "extra"):
        write_tone(tmp_path / "wavs" / f"{name}.wav", 400 + len(name))
    lines = (
        "\ufeffLJ-1|Printing,\u00a0 in\tthe only  sense|Printing", "LJ-2.wav|cafe\u0301|", "wavs/LJ-3|你好。",
        "LJ-9|not there", "LJ-4", "LJ-5| ", "", "LJ-1|once more",
    )  # fmt: skip
    (tmp_path / "metadata.csv").write_bytes("\r\n".join(lines).encode() + b"\r\nLJ-4|\xff\r\n")
    data = sounds(tmp_path, registry)
    assert spoken(data) == ["Printing, in the only sense", "caf\u00e9", "你好。"]
    assert data.info.details["examples"] == spoken(data)
    assert data.info.classes == ()
    characters = data.info.assets["characters"].decode()
    assert list(characters) == sorted(set("".join(spoken(data))))
    missing = "no line of metadata.csv is about it"
    assert reasons(data) == {
        "metadata.csv:4": "there is no sound 'LJ-9'",
        "metadata.csv:5": "has 1 of 2 columns (file|text)",
        "metadata.csv:6": "its text is empty",
        "metadata.csv:8": "says 'LJ-1' again, after line 1",
        "metadata.csv:9": "is not UTF-8 (byte 5 of the line)",
        "wavs/extra.wav": missing,
    }
    with pytest.raises(DataError, match="metadata.csv:4: there is no sound 'LJ-9'"):
        open_data(tmp_path, registry, strict=True)
    assert len(sounds(tmp_path, registry, metadata="none")) == 6
    with pytest.raises(DataError, match="no metadata file 'list.txt'"):
        sounds(tmp_path, registry, metadata="list.txt")
    (tmp_path / "metadata.csv").write_text("LJ-1.wav,with a comma\nLJ-2.wav,and another\n")
    with pytest.raises(
        DataError, match=r"first metadata.csv:1: has 1 of 2 columns .* -d metadata=none ignores it"
    ):
        sounds(tmp_path, registry)
    (tmp_path / "metadata.csv").write_text(f"LJ-1|{'x' * 20_000}\nLJ-2|short\n")
    assert (
        reasons(sounds(tmp_path, registry))["metadata.csv:1"]
        == "its text has 20,000 characters, more than 16,384"
    )


def test_columns_can_name_speakers_and_splits_share_one_file(tmp_path: Path, registry: Registry) -> None:
    for name in ("train/a", "train/b", "test/c"):
        write_tone(tmp_path / f"{name}.wav")
    lines = "train/a|x|mia|hallo\nb|x|bo|welt\nc|x|mia|ende\nd|x|mia|fehlt"
    (tmp_path / "lines.txt").write_text(lines)
    given = {"metadata": "lines.txt", "columns": "file|_|speaker|text"}
    data = sounds(tmp_path, registry, **given)
    assert spoken(data) == ["hallo", "welt"]
    assert data.info.details["speakers"] == ["bo", "mia"]
    assert data.fetch_extras(torch.tensor([1, 0]))["speaker"].tolist() == [0, 1]
    assert data.skipped == ["lines.txt:4: there is no sound 'd'"]
    test = open_data(tmp_path, registry, split="test", reading=given)
    assert isinstance(test, Sounds)
    assert spoken(test) == ["ende"]
    assert test.fetch_extras(torch.tensor([0]))["speaker"].tolist() == [0]
    with pytest.raises(DataError, match="weights have never seen 'd'"):
        test.numbered(data.info)
    details = {"speakers": ["bo", "mia"]}
    known = test.numbered(DataInfo("audio", (1, 9), (), details, {"characters": b"dehnt"}))
    assert known.fetch_extras(torch.tensor([0]))["text"].tolist() == [[2, 4, 1, 2]]
    assert known.fetch_extras(torch.tensor([0]))["speaker"].tolist() == [1]


def test_names_of_files_and_classes_say_it_too(tmp_path: Path, registry: Registry) -> None:
    for name in ("3_jackson_0", "3_theo_12", "7_theo_1", "readme"):
        write_tone(tmp_path / "d" / f"{name}.wav")
    data = sounds(tmp_path / "d", registry, names="{label}_{speaker}_{}", transcripts="label")
    labels = data.labels()
    assert labels is not None
    assert (data.info.classes, labels.tolist()) == (("3", "7"), [0, 0, 1])
    assert data.info.details["speakers"] == ["jackson", "theo"]
    assert spoken(data) == ["3", "3", "7"]
    assert data.skipped == ["readme.wav: its name is not like {label}_{speaker}_{}"]
    with pytest.raises(DataError, match="transcripts=label takes the names of classes"):
        sounds(tmp_path / "d", registry, transcripts="label")
    for name in ("mia/yes_1", "mia/no_1", "bo/yes_1"):
        write_tone(tmp_path / "e" / f"{name}.wav")
    data = sounds(tmp_path / "e", registry, names="{speaker}/{label}_{}")
    assert (data.info.classes, data.info.details["speakers"]) == (("no", "yes"), ["bo", "mia"])
    for pattern in ("x", "{label}{speaker}", "{label}_{label}", "{text}_{label}", "{label"):
        with pytest.raises(UsageError, match="names"):
            readings({"names": pattern})


def test_beyond_the_memory_limit_sounds_are_decoded_again_and_are_the_same(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(6):
        soundfile.write(tmp_path / f"{i}_x_0.flac", chirp(16000, 0.1 + 0.05 * i), 16000)
    given = {"names": "{label}_{speaker}_{}", "sample_rate": 8000, "pad": 0.01, "transcripts": "label"}
    held = sounds(tmp_path, registry, **given)
    monkeypatch.setenv("AIGC_DATA_MEMORY", "5000")
    filed = sounds(tmp_path, registry, **given)
    assert (held.in_memory, filed.in_memory) == (True, False)
    assert filed.digest == held.digest
    assert filed.info == held.info
    output = Output("audio", held.info.shape, -1.0, 1.0, held.info.details)
    for one, other in zip(
        *(Batches(d, 4, 3, output, torch.device("cpu")).steps(0, 4) for d in (held, filed)), strict=True
    ):
        assert torch.equal(one.x, other.x)
        assert one.extras.keys() == other.extras.keys() == {"length", "speaker", "text"}
        for name in one.extras:
            assert torch.equal(one.extras[name], other.extras[name])
    (tmp_path / "0_x_0.flac").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"0_x_0\.flac: is no WAV, FLAC or OGG file, since the run began"):
        filed.fetch(torch.tensor([0]))


def test_an_archive_says_lengths_speakers_and_texts(tmp_path: Path, registry: Registry) -> None:
    digits = sounds(REAL / "spoken-digits.npz", registry)
    assert spoken(digits)[:5] == ["zero"] * 4 + ["one"]
    lengths = digits.fetch_extras(torch.arange(40))["length"]
    assert int(lengths.max()) == 4094
    assert len(lengths.unique()) > 20
    assert "theo" in digits.info.details["speakers"]
    good = {"audio": np.ones((2, 9), np.int16), "sample_rate": 8000}
    for name, values, message in (
        ("lengths", [9, 10], r"lengths must lie in 1 \.\. 9"),
        ("lengths", [9.0, 1.0], "lengths must be integers"),
        ("speakers", [1], r"speakers must be integers \[2\]"),
        ("texts", ["a", " "], "none of them empty"),
        ("texts", [b"a", b"b"], "texts must be texts"),
    ):
        np.savez(tmp_path / "x.npz", **good, **{name: values})  # type: ignore[arg-type]
        with pytest.raises(DataError, match=message):
            open_data(tmp_path / "x.npz", registry)
    np.savez(tmp_path / "x.npz", **good, lengths=[9, 9])
    same = sounds(tmp_path / "x.npz", registry)
    np.savez(tmp_path / "y.npz", **good)
    assert sounds(tmp_path / "y.npz", registry).digest == same.digest
    np.savez(tmp_path / "y.npz", **good, lengths=[9, 8])
    assert sounds(tmp_path / "y.npz", registry).digest != same.digest


def test_options_apply_to_what_they_are_for(tmp_path: Path, registry: Registry) -> None:
    write_tone(tmp_path / "d" / "a.wav")
    (tmp_path / "t.txt").write_text("x" * 100)
    with pytest.raises(
        UsageError, match="documents=line does not apply: .* holds sounds; what applies: sample_r"
    ):
        open_data(tmp_path / "d", registry, reading={"documents": "line"})
    with pytest.raises(UsageError, match="trim=40.0 does not apply: .* is a text; what applies: documents, "):
        open_data(tmp_path / "t.txt", registry, reading={"trim": "40"})
    for given, message in (
        ({"sample_rate": "999"}, "greater than or equal to 1000"),
        ({"columns": "file|words"}, "there is no 'words'"),
        ({"columns": "text"}, "must name the file"),
        ({"transcript": "label"}, "did you mean 'transcripts'"),
    ):
        with pytest.raises(UsageError, match=message):
            open_data(tmp_path / "d", registry, reading=given)


def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None = None) -> Path:
    """A folder of data in which the archive is found."""
    (tmp_path / "fsdd").mkdir()
    file = tmp_path / "fsdd" / "fsdd-recordings.tar.gz"
    if content is None:
        file.symlink_to(FSDD)
    else:
        file.write_bytes(content)
    monkeypatch.setenv("AIGC_DATA", str(tmp_path))
    return file


@pytest.mark.skipif(not FSDD.is_file(), reason="the Free Spoken Digit Dataset is not beside the checkout")
def test_spoken_digits_are_read_from_their_archive(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked(tmp_path, monkeypatch)
    train, test = (open_data("fsdd", registry, split=split) for split in ("train", "test"))
    assert isinstance(train, Sounds)
    assert isinstance(test, Sounds)
    assert (len(train), len(test), train.info.shape) == (2700, 300, (1, 18262))
    assert train.info.classes == test.info.classes
    assert train.info.classes[3] == "three"
    assert train.info.details["speakers"] == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    assert spoken(test)[149:151] == ["four", "five"]
    fitting = test.like(train.sized(8000).info)
    assert fitting.info == train.sized(8000).info
    small = open_data(
        "fsdd", registry, split="test", size=(4000, 4000), reading={"trim": 30, "sample_rate": 16000}
    )
    assert (small.info.shape, small.info.details["sample_rate"]) == ((1, 4000), 16000)
    with pytest.raises(UsageError, match="-d names does not apply: it is known what each sound of 'fsdd' is"):
        open_data("fsdd", registry, reading={"names": "{label}_{}"})
    with tarfile.open(FSDD) as archive:
        for name in ("5_theo_3", "5_theo_12"):
            archive.extract(f"free-spoken-digit-dataset/recordings/{name}.wav", tmp_path, filter="data")
    shutil.rmtree(tmp_path / "fsdd")
    assert len(open_data("fsdd", registry, split="test")) == 1


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_archive_is_named(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is None:
        write_tone(tmp_path / "3_theo_9.wav", 100_000)
        with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "3_theo_9.wav")
        content = (tmp_path / "whole.tar.gz").read_bytes()[:-500]
    file = linked(tmp_path, monkeypatch, content)
    with pytest.raises(DamagedFileError, match=f"{file.name}: "):
        open_data("fsdd", registry)


def test_resampling_is_that_of_soxr_at_its_best(tmp_path: Path, registry: Registry) -> None:
    values = (chirp(22050) * 32767).astype("<i2")
    write_wav(tmp_path / "a.wav", values.tobytes(), 22050)
    best = soxr.resample(values / 32768, 22050, 16000, quality="VHQ")
    found = all_of(sounds(tmp_path, registry, sample_rate=16000))[0, 0] / 32768
    assert np.abs(found - best).max() < 2e-5


@pytest.fixture
def speaker(site: Site) -> Iterator[None]:
    """The template backend, with a model that must know what is said."""
    with template(site, "audio"):
        code = site.path / "aigc_template" / "__init__.py"
        text = code.read_text()
        code.write_text(text.replace("largest=(1, 16384)", "largest=(1, 16384), transcripts=True"))
        yield


def speeches(folder: Path, count: int = 6) -> Path:
    for i in range(count):
        write_tone(folder / f"{i}_{'theo' if i % 2 else 'mia'}.wav", 900 + i)
    return folder


def test_a_model_that_must_know_what_is_said_is_not_trained_without(
    speaker: None, aigc: Run, tmp_path: Path
) -> None:
    folder = speeches(tmp_path / "d")
    train = ["train", "template/small", "--data", folder, "--steps", 1, "--batch-size", 4, "--name", "one"]
    refused = aigc(*train)
    assert refused.code == 6
    assert (
        "it needs to know what is said; put a metadata.csv of lines file|text beside the sounds"
        in refused.err
    )
    (folder / "metadata.csv").write_text(
        "".join(f"{i}_{n}|ja {i}\n" for i, n in enumerate(["mia", "theo"] * 3))
    )
    (folder / "bad.wav").write_text("no sound")
    done = aigc(*train, "-d", "names={}_{speaker}", "-d", "trim=60")
    assert done.code == 0, done.err
    assert "skipped bad.wav: no line of metadata.csv is about it" in done.err
    record = aigc_core.inspect("one")
    assert record["data"]["reading"] == {"names": "{}_{speaker}", "trim": 60.0}
    info = aigc_core.load("one").generator.data
    assert (info.details["speakers"], info.assets["characters"]) == (["mia", "theo"], b" 012345aj")
    assert aigc("runs", "resume", "one").code == 0
    arguments = _data(record, None)
    assert arguments[-4:] == ["-d", "names={}_{speaker}", "-d", "trim=60.0"]
    assert arguments[:2] == ["--data", str(folder)]


@pytest.mark.slow
def test_what_is_trained_again_reads_its_sounds_alike(speaker: None, aigc: Run, tmp_path: Path) -> None:
    folder = speeches(tmp_path / "d")
    given = ("-d", "names={label}_{speaker}", "-d", "transcripts=label", "-d", "sample_rate=16000")
    done = aigc("train", "template/small", "--data", folder, "--steps", 3, *given, "--name", "one")
    assert done.code == 0, done.err
    for where in ((), ("--data", folder)):
        again = aigc("weights", "retrain", "one", *where)
        assert again.code == 0, again.err


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server of the files in a folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_spoken_digits_are_fetched_whole_or_not_at_all(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = tmp_path / "web"
    for take in (4, 5):
        write_tone(web / f"7_lucas_{take}.wav", 50_000)
    with tarfile.open(web / "whole.tar.gz", "w:gz") as archive:
        for path in sorted(web.glob("*.wav")):
            archive.add(path, f"some-commit/recordings/{path.name}")
    (web / "cut.tar.gz").write_bytes((web / "whole.tar.gz").read_bytes()[:-600])
    monkeypatch.setenv("AIGC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with served(web) as address:
        for name, reason in (("cut", "what came is not the whole archive"), ("none", "404")):
            monkeypatch.setattr("aigc_core.data.spoken.URL", f"{address}/{name}.tar.gz")
            with pytest.raises(
                NotFoundError, match=f"cannot be fetched .*{reason}.*put it into .AIGC_DATA/fsdd"
            ):
                open_data("fsdd", registry)
            assert not list((tmp_path / "data" / "fsdd").iterdir())
        monkeypatch.setattr("aigc_core.data.spoken.URL", f"{address}/whole.tar.gz")
        train = sounds("fsdd", registry)
        assert (len(train), spoken(train)) == (1, ["seven"])
    assert [p.name for p in (tmp_path / "data" / "fsdd").iterdir()] == ["fsdd.tar.gz"]
    assert len(open_data("fsdd", registry, split="test")) == 1
