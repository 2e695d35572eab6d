"""Sounds: data, batches, samples, files; and the template backend from clips to clips."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run, Site, write_pictures
from templates import REAL, template

import aigc_core
from aigc_core.data import ArrayItems, Batches, open_data
from aigc_core.errors import DamagedFileError, DataError, UsageError
from aigc_core.modality import modality
from aigc_core.modality.audio import wav_bytes
from aigc_core.registry import Registry
from aigc_core.sampling.writers import write
from aigc_core.specs import Output

NAN = float("nan")
OUTPUT = Output("audio", (1, 400), -1.0, 1.0, {"sample_rate": 8000})


@pytest.fixture
def spectra(site: Site) -> Iterator[None]:
    with template(site, "audio"):
        yield


def write_wav(path: Path, frames: bytes, rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames)
    return path


def write_tone(path: Path, count: int = 1000, rate: int = 8000) -> Path:
    tone = (8000 * np.sin(np.arange(count) * 0.3)).astype("<i2")
    return write_wav(path, tone.tobytes(), rate)


def all_of(dataset: aigc_core.data.Dataset) -> np.ndarray:  # type: ignore[type-arg]
    return dataset.fetch(torch.arange(len(dataset)))[0].numpy()


def test_clips_are_padded_to_the_longest_or_cropped_to_what_is_asked_for(
    tmp_path: Path, registry: Registry
) -> None:
    write_tone(tmp_path / "d" / "a.wav", 300)
    write_tone(tmp_path / "d" / "b.WAV", 500)
    data = open_data(tmp_path / "d", registry)
    assert (data.info.modality, data.info.shape, data.info.details) == (
        "audio",
        (1, 500),
        {"sample_rate": 8000},
    )
    items = all_of(data)
    assert items.dtype == np.int16
    assert not items[0, 0, 300:].any()
    assert np.array_equal(items[0, 0, :300], items[1, 0, :300])
    write_tone(tmp_path / "d" / "c.wav", 9000)
    assert open_data(tmp_path / "d", registry).info.shape == (1, 9000)
    shorter = open_data(tmp_path / "d", registry, size=(8500, 8500))
    assert shorter.fetch_extras(torch.arange(3))["length"].tolist() == [300, 500, 8500]
    assert all_of(shorter)[2, 0, 8499] == np.int16(8000 * np.sin(8499 * 0.3))


def test_sub_folders_are_classes_and_splits(tmp_path: Path, registry: Registry) -> None:
    for name in ("train/no/1.wav", "train/yes/1.wav", "train/yes/2.wav", "test/no/1.wav", "test/yes/1.wav"):
        write_tone(tmp_path / "d" / name)
    data = open_data(tmp_path / "d", registry)
    labels = data.fetch(torch.arange(3))[1]
    assert data.info.classes == ("no", "yes")
    assert labels is not None
    assert labels.tolist() == [0, 1, 1]
    assert len(open_data(tmp_path / "d", registry, split="test")) == 2
    write_pictures(tmp_path / "d" / "train", 1)
    assert open_data(tmp_path / "d", registry).info.modality == "image"


def test_every_width_and_channel_becomes_one_of_sixteen_bits(tmp_path: Path, registry: Registry) -> None:
    values = np.array([0, 1, -1, 1000, -1000, 32767, -32768], np.int64)
    forms = {
        "8": ((values >> 8) + 128).astype(np.uint8).tobytes(),
        "16": values.astype("<i2").tobytes(),
        "24": b"".join(int(v << 8).to_bytes(3, "little", signed=True) for v in values),
        "32": (values << 16).astype("<i4").tobytes(),
    }
    for bits, frames in forms.items():
        write_wav(tmp_path / "d" / f"{bits}.wav", frames, width=int(bits) // 8)
    write_wav(
        tmp_path / "d" / "stereo.wav", np.stack([values, values // 2], 1).astype("<i2").tobytes(), channels=2
    )
    found = dict(
        zip(sorted([*forms, "stereo"]), all_of(open_data(tmp_path / "d", registry))[:, 0], strict=True)
    )
    for bits in ("16", "24", "32"):
        assert np.array_equal(found[bits], values), bits
    assert np.array_equal(found["8"], values >> 8 << 8)
    assert np.abs(found["stereo"] - (values + values // 2) / 2).max() <= 1


def test_unreadable_clips_are_named_and_skipped_or_fatal(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "d"
    good = write_tone(folder / "good.wav")
    (folder / "cut.wav").write_bytes(good.read_bytes()[:500])
    (folder / "head.wav").write_bytes(good.read_bytes()[:20])
    (folder / "text.wav").write_text("hello, this is no sound")
    (folder / "empty.wav").touch()
    write_wav(folder / "silent.wav", b"")
    float_form = bytearray(good.read_bytes())
    float_form[20] = 3
    (folder / "float.wav").write_bytes(float_form)
    data = open_data(folder, registry)
    assert len(data) == 1
    reasons = dict(line.split(": ", 1) for line in data.skipped)
    assert sorted(reasons) == ["cut.wav", "empty.wav", "float.wav", "head.wav", "silent.wav", "text.wav"]
    assert "truncated" in reasons["cut.wav"]
    assert "holds no sound" in reasons["silent.wav"]
    with pytest.raises(DataError, match=r"cut\.wav: truncated.*leave out --strict"):
        open_data(folder, registry, strict=True)
    good.unlink()
    with pytest.raises(DataError, match=r"none of 6 sounds can be used, first cut\.wav"):
        open_data(folder, registry)


def test_clips_that_can_be_no_data_get_one_line(tmp_path: Path, registry: Registry) -> None:
    one = write_tone(tmp_path / "d" / "a.wav")
    with pytest.raises(DataError, match=r"a\.wav: one sound is no data set; give a folder"):
        open_data(one, registry)
    with pytest.raises(UsageError, match="texts and sounds have a length"):
        open_data(tmp_path / "d", registry, size=(10, 20))


def test_an_archive_of_sounds_is_a_data_set(tmp_path: Path, registry: Registry) -> None:
    digits = open_data(REAL / "spoken-digits.npz", registry)
    assert (len(digits), digits.info.shape, digits.info.classes) == (40, (1, 4094), tuple("0123456789"))
    for i, item in enumerate(all_of(digits)):
        write_wav(tmp_path / "same" / str(i // 4) / f"{i:02d}.wav", item.tobytes())
    plain = {"audio": all_of(digits), "labels": np.arange(40) // 4, "sample_rate": 8000}
    np.savez(tmp_path / "plain.npz", **plain)  # type: ignore[arg-type]
    assert open_data(tmp_path / "same", registry).digest == open_data(tmp_path / "plain.npz", registry).digest
    assert (
        open_data(tmp_path / "plain.npz", registry).digest
        == ArrayItems(plain["audio"], plain["labels"], digits.info.classes, kind="audio", name="x").digest
    )
    good = np.zeros((2, 9), np.int16)
    for name, arrays, message in (
        ("rate", {"audio": good}, "need a 'sample_rate'"),
        ("rates", {"audio": good, "sample_rate": [8000, 8000]}, "need a 'sample_rate'"),
        ("floats", {"audio": good.astype(float), "sample_rate": 8000}, "must be int16"),
        ("flat", {"audio": good[0], "sample_rate": 8000}, "must be int16"),
        ("none", {"audio": good[:0], "sample_rate": 8000}, "must be int16"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=message):
            open_data(tmp_path / f"{name}.npz", registry)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0)])
def test_full_scale_is_the_generators_range_and_comes_back(low: float, high: float) -> None:
    items = np.array([[[-32768, 0, 16384, 32767]]], np.int16)
    data = ArrayItems(items, kind="audio", name="x", details={"sample_rate": 8000})
    output = Output("audio", (1, 4), low, high, {"sample_rate": 8000})
    batch = Batches(data, 1, 0, output, torch.device("cpu")).batch(torch.tensor([0]))
    assert batch.x.dtype == torch.float32
    assert batch.x.flatten()[:2].tolist() == [low, (low + high) / 2]
    samples = modality("audio").samples(batch.x, output)
    assert samples.dtype == np.float32
    assert samples.flatten()[:3].tolist() == [-1.0, 0.0, 0.5]
    assert modality("audio").samples(batch.x * 9 + 9, output).max() == 1.0


def test_what_a_sampler_may_not_return() -> None:
    kind, values = modality("audio"), torch.zeros(1, 1, 4)
    assert not kind.problem(values, OUTPUT)
    assert "not finite" in kind.problem(values / 0, OUTPUT)
    assert "sample rate as None" in kind.problem(values, Output("audio", (1, 4)))


RAGGED = Output("audio", (1, -1), -1.0, 1.0, {"sample_rate": 8000})


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([[0.1, 0.2, 0.3], [0.1, 0.2, NAN], [0.1, NAN, NAN]], ""),
        ([[0.1, NAN, 0.3]], "NaN before the end"),
        ([[NAN, NAN, NAN]], "a sound of no length"),
        ([[NAN, 0.1, 0.1]], "NaN before the end"),
        ([[]], "a sound of no length"),
        ([[0.1, float("inf"), NAN]], "not finite"),
    ],
)
def test_only_what_follows_the_end_of_a_sound_is_no_number(rows: list[list[float]], problem: str) -> None:
    values = torch.tensor(rows)[:, None]
    found = modality("audio").problem(values, RAGGED)
    assert (problem in found) if problem else not found
    if NAN in rows[-1]:
        assert "not finite" in modality("audio").problem(values, OUTPUT), "of one length, none may be missing"


def test_all_channels_end_together() -> None:
    values = torch.tensor([[[0.1, 0.2], [0.1, NAN]]])
    told = modality("audio").problem(values, Output("audio", (2, -1), details={"sample_rate": 8000}))
    assert told == "sounds whose channels do not end together"


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_sounds_of_any_length_are_as_long_as_the_longest(low: float) -> None:
    kind, output = modality("audio"), Output("audio", (1, -1), low, 1.0, {"sample_rate": 8000})
    values = torch.tensor([[[1.0, low, NAN, NAN]], [[1.0, NAN, NAN, NAN]]])
    samples = kind.samples(values, output)
    assert np.array_equal(samples, np.array([[[1, -1]], [[1, NAN]]], np.float32), equal_nan=True)
    joined = kind.join([samples, samples[1:, :, :1], samples], output)
    assert np.array_equal(joined[:, 0, 0], np.ones(5))
    assert np.isnan(joined[1:4, 0, 1]).tolist() == [True, True, False]
    assert kind.digests(joined[2:3], output) == kind.digests(samples[1:], output)
    content = kind.encode(joined, output, {}).files[""]
    with wave.open(io.BytesIO(content)) as file:
        assert file.getnframes() == 2 + 1 + 1 + 2 + 1 + 4 * 800
    assert kind.most(output) == (1 << 30) // (2 * (60 * 8000 + 800))


def test_a_clip_that_is_too_loud_keeps_its_form() -> None:
    tone = torch.sin(torch.arange(400) * 0.1)[None, None]
    quiet, loud = (modality("audio").samples(tone * gain, OUTPUT) for gain in (0.5, 2.5))
    assert np.abs(loud).max() == 1.0
    assert np.allclose(loud * np.abs(quiet).max(), quiet, atol=1e-6)
    assert np.array_equal(quiet, tone.numpy() * np.float32(0.5))


def test_sounds_and_their_record_come_back_from_every_file(tmp_path: Path, aigc: Run) -> None:
    sounds = np.linspace(-1, 1, 1200, dtype=np.float32).reshape(3, 1, 400)
    record = {"start": 7, "count": 3, "seed": 0, "who": "größe"}
    for name in ("x.wav", "x.npz", "folder"):
        write(tmp_path / name, iter([sounds[:2], sounds[2:]]), OUTPUT, record)
    with wave.open(str(tmp_path / "x.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(pcm) == 3 * 400 + 2 * 800
    assert not pcm[400:1200].any()
    assert np.abs(pcm[:400] / 32767 - sounds[0, 0]).max() < 1e-4
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert archive["sample_rate"] == 8000
        assert np.array_equal(archive["audio"], sounds)
    folder = tmp_path / "folder"
    assert sorted(p.name for p in folder.iterdir()) == ["000007.wav", "000008.wav", "000009.wav"]
    for path in (tmp_path / "x.wav", tmp_path / "x.npz"):
        found = aigc_core.inspect(path)
        assert (found["kind"], found["start"], found["who"]) == ("sample", 7, "größe")
    assert aigc_core.inspect(folder / "000008.wav")["start"] == 8
    plain = write_tone(tmp_path / "plain.wav")
    assert "carries no record" in aigc("inspect", plain).error
    for content in (b"", b"RIFF", plain.read_bytes()[:99], (tmp_path / "x.wav").read_bytes()[:-9]):
        (tmp_path / "bad.wav").write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"bad\.wav: cannot be read"):
            aigc_core.inspect(tmp_path / "bad.wav")


@pytest.mark.parametrize("text", ["odd", "even"])
def test_a_wav_is_a_whole_riff_file_and_never_out_of_range(text: str) -> None:
    content = wav_bytes(np.array([[9.0, -9.0, 0.0], [1.0, -1.0, 0.5]], np.float32), 8000, {"x": text})
    assert len(content) % 2 == 0
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 3)
        pcm = np.frombuffer(file.readframes(9), "<i2").reshape(3, 2)
    assert pcm.tolist() == [[32767, 32767], [-32768, -32767], [0, 16384]]


def test_data_show_tells_what_the_numbers_are(aigc: Run) -> None:
    shown = aigc("data", "show", REAL / "spoken-digits.npz")
    assert "1x4094 (channels x samples at 8000 Hz)" in shown.out
    assert json.loads(aigc("data", "show", REAL / "spoken-digits.npz", "--json").out)["classes"]["3"] == 4


def spectrum(sounds: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
    """The mean log-magnitude spectrum of sounds [N, 1, T]."""
    x = torch.from_numpy(sounds[:, 0]).float()
    parts = torch.stft(x, 256, 64, window=torch.hann_window(256), return_complex=True)
    return (parts.abs() + 1e-2).log().mean((0, 2))


def test_from_clips_to_clips(
    spectra: None, aigc: Run, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template comes far nearer to the spectrum of real speech, and its sounds are kept in every form."""
    monkeypatch.chdir(tmp_path)
    path = REAL / "spoken-digits.npz"
    real = spectrum(all_of(open_data(path, registry)) / 32768)
    untrained = aigc_core.sample(aigc_core.train("template/small", path, steps=1).path, count=40)
    done = aigc("train", "template/small", "--data", path, "--steps", 300, "--name", "digits")
    assert done.code == 0, done.err
    assert "sample digits@1 --out digits.wav" in done.out
    drawn = aigc_core.sample("digits", count=40)
    assert drawn is not None
    assert untrained is not None
    assert (drawn.array.dtype, drawn.array.shape) == (np.float32, (40, 1, 4094))
    before, after = ((spectrum(s.array) - real).abs().mean() for s in (untrained, drawn))
    assert after < 0.2 * before
    assert drawn.array.std(axis=0).mean() > 0.1 * drawn.array.std(), "all samples sound alike"
    assert aigc("sample", "digits", "-n", 2).out == "digits.wav\n"
    with wave.open("digits.wav") as file:
        assert file.getnframes() == 2 * 4094 + 800
    assert aigc("sample", "digits", "-n", 1, "--start", 39, "--out", "f/").code == 0
    with wave.open("f/000039.wav") as file:
        pcm = np.frombuffer(file.readframes(4094), "<i2")
    assert np.array_equal(pcm, np.round(drawn.array[39, 0] * 32767))
    assert aigc("sample", "digits", "-n", 2, "--out", "x.npz").code == 0
    for name in ("digits.wav", "f/000039.wav", "f", "x.npz"):
        assert aigc("replay", name).out.startswith("exact")
    content = bytearray(Path("digits.wav").read_bytes())
    content[44] ^= 4  # of the first value
    Path("digits.wav").write_bytes(content)
    drift = aigc("replay", "digits.wav")
    assert (drift.code, "largest difference 4 PCM steps of 65535, in 1 of" in drift.out) == (9, True)
    for name in ("x.png", "x.txt"):
        assert (
            f"--out {name}: the samples are sounds; end it in .wav ("
            in aigc("sample", "digits", "--out", name).error
        )


@pytest.mark.parametrize("length", [256, 257, 1001, 16384])
def test_the_template_works_for_any_length_and_rate(spectra: None, length: int, tmp_path: Path) -> None:
    for i in range(8):
        write_tone(tmp_path / "d" / f"{i}.wav", length - i, rate=22050)
    done = aigc_core.train("template/small", tmp_path / "d", steps=2)
    drawn = aigc_core.sample(done.path, count=2, block=4, options={"iterations": 4})
    assert drawn is not None
    assert drawn.array.shape == (2, 1, length)
    assert drawn.output.details == {"sample_rate": 22050}
