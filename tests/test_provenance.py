"""Every sample leads back to what made it, and can be made again: by its record, or by its content alone."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import wave
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Run, write_pictures
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import aigc_core
from aigc_core.errors import DamagedFileError, NotFoundError, UsageError
from aigc_core.modality import modality
from aigc_core.provenance.content import digest_of, pcm, read
from aigc_core.provenance.environment import code_digest
from aigc_core.provenance.ledger import Ledger
from aigc_core.provenance.marks import SOURCE_TYPE
from aigc_core.provenance.private import hide, is_that
from aigc_core.sampling.draw import sample
from aigc_core.sampling.records import read_record
from aigc_core.sampling.writers import write
from aigc_core.specs import Output
from aigc_core.training.job import Trained, train
from aigc_core.weights.store import Store

TRAINED: dict[str, Path] = {}


@pytest.fixture
def tiny(home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """The weights `tiny@1` in this test's store, and their run; trained once."""
    if "home" not in TRAINED:
        TRAINED["home"] = tmp_path_factory.mktemp("trained")
        with monkeypatch.context() as patch:
            patch.setenv("AIGC_HOME", str(TRAINED["home"]))
            train("vae/mlp", "digits", steps=2, options={"hidden": (8,)}, name="tiny")
    shutil.copytree(TRAINED["home"], home)
    return "tiny"


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], pixel: int = 0) -> Path:
    """A PNG whose record, and whose first pixel, were changed."""
    with Image.open(path) as image:
        record, pixels = json.loads(image.info["aigc"]), np.array(image)
    change(record)
    pixels[0, 0] = (int(pixels[0, 0]) + pixel) % 256
    texts = PngInfo()
    texts.add_itxt("aigc", json.dumps(record))
    Image.fromarray(pixels).save(path, pnginfo=texts)
    return path


def info(path: Path) -> dict[str, str]:
    """The texts in a picture."""
    with Image.open(path) as image:
        image.load()
        return {str(key): value for key, value in image.info.items() if isinstance(value, str)}


# The record


def test_a_sample_says_all_that_made_it(tiny: str, tmp_path: Path, aigc: Run) -> None:
    assert aigc("sample", tiny, "-n", 3, "--start", 5, "--seed", 4, "--out", tmp_path / "f/").code == 0
    record = read_record(tmp_path / "f/000006.png")
    version = Store().version("tiny")
    assert record["weights"]["name"] == "tiny@1"
    assert record["weights"]["manifest"] == version.record.manifest
    assert record["weights"]["tensors_digest"] == version.manifest.tensors_digest
    assert record["verified"] is True
    assert (record["seed"], record["start"], record["count"], record["block"]) == (4, 6, 1, 64)
    assert (record["sampler"], record["options"], record["threads"]) == ("prior", {}, 1)
    assert (record["dtype"], record["device"], record["prompts"], record["filters"]) == (
        "float32",
        "cpu",
        None,
        [],
    )
    assert record["code"] == {"core": code_digest("aigc_core"), "backend": code_digest("aigc_vae")}
    assert None not in record["code"].values()
    assert record["numpy"] == np.__version__
    assert all(record[name] for name in ("core", "torch", "python", "hardware", "machine"))
    assert record["content"] == digest_of(tmp_path / "f/000006.png")
    shown = aigc("inspect", tmp_path / "f/000006.png").out
    for text in ("6 of seed 4, in blocks of 64", "tiny@1", record["content"], record["hardware"]):
        assert text in shown
    assert "ALTERED" not in shown


def test_weights_that_were_not_checked_are_told(tiny: str, tmp_path: Path, aigc: Run) -> None:
    blob = Store().find(tiny)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    assert aigc("sample", tiny, "--out", tmp_path / "x.png").code == 5
    assert aigc("sample", tiny, "--unverified", "--out", tmp_path / "x.png").code == 0
    assert read_record(tmp_path / "x.png")["verified"] is False
    assert "their bytes were not checked" in aigc("inspect", tmp_path / "x.png").out


def test_code_has_one_digest_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = code_digest.__wrapped__
    for place in ("a", "b"):
        (tmp_path / place / "one_package/sub").mkdir(parents=True)
        (tmp_path / place / "one_package/__init__.py").write_text("x = 1\n")
        (tmp_path / place / "one_package/sub/more.py").write_text("y = 1\n")
        (tmp_path / place / "one_module.py").write_text("z = 1\n")
    found = {}
    for place in ("a", "b"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / place))
            found[place] = [digest("one_package"), digest("one_module")]
            (tmp_path / place / "one_package/__pycache__").mkdir()
            (tmp_path / place / "one_package/__pycache__/x.py").write_text("made")
            (tmp_path / place / "one_package/notes.txt").write_text("no code")
            assert digest("one_package") == found[place][0]
            (tmp_path / place / "one_package/sub/more.py").write_text("y = 2\n")
            assert digest("one_package") != found[place][0]
    assert found["a"] == found["b"]
    assert len({*found["a"], None}) == 3
    assert digest("no_such_package") is None


def test_names_of_pictures_can_be_hidden_and_checked(tiny: str, tmp_path: Path, aigc: Run) -> None:
    given = write_pictures(tmp_path / "given", 2, (8, 8), "L")
    arguments = ["sample", tiny, "--sampler", "reconstruct", "--image", given[0], "--image", given[1]]
    assert aigc(*arguments, "--out", tmp_path / "open.png").code == 0
    assert aigc(*arguments, "--private", "--out", tmp_path / "a.png").code == 0
    assert aigc(*arguments, "--private", "--out", tmp_path / "b.png").code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"001.png" in (tmp_path / "open.png").read_bytes()
    assert b"001.png" not in (tmp_path / "a.png").read_bytes()
    names = [picture["name"] for picture in read_record(tmp_path / "a.png")["images"]]
    assert [is_that(hidden, "001.png") for hidden in names] == [False, True]
    assert "a private one" in aigc("inspect", tmp_path / "a.png").out
    assert aigc_core.replay(tmp_path / "a.png", images=given).exact
    assert hide("a prompt", b"1") != hide("a prompt", b"2")
    for broken in ("", "001.png", "pbkdf2-sha256$x$y$z", "pbkdf2-sha256$1$zz$00"):
        assert not is_that(broken, "001.png")


# The content


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_is_its_pixels_however_they_are_written(channels: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (9, 6, 5, channels), dtype=np.uint8)
    output = Output("image", (channels, 6, 5), 0, 1)
    write(tmp_path / "f/", iter([samples]), output, {"start": 0, "count": 9})
    digests = modality("image").digests(samples, output)
    path = tmp_path / "f/000007.png"
    assert digests[7] == digest_of(path) == read_record(path)["content"]
    assert len(set(digests)) == 9
    image = Image.open(path)
    for name, options in (("x.png", {"optimize": True}), ("x", {"format": "PNG"}), ("x.webp", {"lossless": True, "exact": True}),
                          ("x.tiff", {}), ("y.png", {"mode": "RGBA"})):  # fmt: skip
        mode = options.pop("mode", image.mode)
        image.convert(str(mode)).save(tmp_path / name, **options)  # type: ignore[arg-type]
        assert digest_of(tmp_path / name) == digests[7], name
    if channels < 3:
        for mode in ("RGB", "P"):
            image.convert(mode).save(tmp_path / "z.png", optimize=True)
            assert digest_of(tmp_path / "z.png") == digests[7]
    image.resize((10, 12)).save(tmp_path / "x.png")
    assert digest_of(tmp_path / "x.png") != digests[7]


def test_a_sound_is_its_pcm_and_a_text_its_characters(tmp_path: Path) -> None:
    sounds = np.linspace(-1, 1, 1200, dtype=np.float32).reshape(3, 2, 200)
    output = Output("audio", (2, 200), -1, 1, {"sample_rate": 8000})
    write(tmp_path / "f/", iter([sounds]), output, {"start": 0, "count": 3})
    digest = digest_of(tmp_path / "f/000001.wav")
    assert digest == modality("audio").digests(sounds, output)[1]
    with wave.open(str(tmp_path / "f/000001.wav")) as source, wave.open(str(tmp_path / "x"), "wb") as wide:
        wide.setparams((2, 3, 8000, 0, "NONE", ""))
        pcm = np.frombuffer(source.readframes(200), "<i2").astype("<i4") << 8
        wide.writeframes(pcm.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    assert digest_of(tmp_path / "x") == digest
    with wave.open(str(tmp_path / "x"), "wb") as other:
        other.setparams((1, 2, 8000, 0, "NONE", ""))
        other.writeframes(bytes(read(tmp_path / "f/000001.wav").data))
    assert digest_of(tmp_path / "x") != digest
    texts = np.array(["größe", ""])
    write(tmp_path / "t/", iter([texts]), Output("text", (8,), 0, 255), {"start": 0, "count": 2})
    assert (
        digest_of(tmp_path / "t/000000.txt")
        == modality("text").digests(texts, Output("text", (8,), 0, 255))[0]
    )
    assert read_record(tmp_path / "t/000000.txt")["content"] == digest_of(tmp_path / "t/000000.txt")
    for damaged in (b"\x89PNG\r\n\x1a\nrest", b"RIFF    WAVErest", b"PK\x03\x04rest", b"\xff\xfe"):
        (tmp_path / "bad").write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="bad: cannot be read"):
            digest_of(tmp_path / "bad")


def float_wav(values: np.ndarray, channels: int = 1) -> bytes:  # type: ignore[type-arg]
    """As other programs write it: without a `fact` chunk, floats of any width."""
    width, data = values.itemsize, values.tobytes()
    form = struct.pack("<HHIIHH", 3, channels, 8000, 8000 * width, width, 8 * width)
    chunks = b"".join(
        name + struct.pack("<I", len(c)) + c
        for name, c in ((b"fmt ", form), (b"junk", b"ab"), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_a_sound_of_floats_is_what_it_is_rounded_to(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sounds = rng.uniform(-1, 1, (1, 2, 5000)).astype(np.float32)
    output = Output("audio", (2, 5000), -1, 1, {"sample_rate": 8000})
    for encoding in ("pcm16", "float32"):
        write(tmp_path / f"{encoding}.wav", [sounds], output, {"start": 0, "count": 1, "encoding": encoding})
        assert aigc_core.inspect(tmp_path / f"{encoding}.wav")["intact"] is True
    assert digest_of(tmp_path / "float32.wav") == digest_of(tmp_path / "pcm16.wav")
    one = sounds[0, 0]
    for name, values in (("f4", one), ("f8", one.astype("<f8"))):
        (tmp_path / name).write_bytes(float_wav(values))
        assert read(tmp_path / name).data == pcm(one[None])
    (tmp_path / "loud").write_bytes(float_wav(np.array([3.0, -3.0], "<f4")))
    assert np.frombuffer(read(tmp_path / "loud").data, "<i2").tolist() == [32767, -32768]
    for damaged, message in (
        (float_wav(np.array([0.5, np.nan], "<f4")), "values that are not finite"),
        (float_wav(np.array([0.5], "<f2")), "neither PCM nor floats"),
        ((tmp_path / "float32.wav").read_bytes()[:9000], "truncated: [0-9]+ bytes of sound"),
        (float_wav(one, channels=0), "has no channels"),
    ):
        (tmp_path / "bad").write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=f"bad: cannot be read.*{message}"):
            digest_of(tmp_path / "bad")


def test_a_picture_tells_other_programs_that_a_model_made_it(tiny: str, tmp_path: Path) -> None:
    sample(tiny, count=4, out=tmp_path / "x.png")
    packet = info(tmp_path / "x.png")["XML:com.adobe.xmp"]
    assert packet.startswith('<?xpacket begin="\ufeff"')
    root = ET.fromstring(packet[packet.index("<x:xmpmeta") : packet.rindex("<?xpacket")])
    rdf, iptc = (
        "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}",
        "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}",
    )
    (about,) = root.findall(f"{rdf}RDF/{rdf}Description")
    said = {child.tag: child.text for child in about}
    assert said[f"{iptc}DigitalSourceType"] == SOURCE_TYPE
    assert SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")
    assert said["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == f"aigc-core {aigc_core.__version__}"
    assert said[f"{iptc}AISystemUsed"] == "vae/mlp"
    assert str(said[f"{iptc}AISystemVersionUsed"]).startswith("tiny@1 sha256:")


def test_a_sound_tells_other_programs_that_a_model_made_it(tmp_path: Path) -> None:
    record = {"core": "9.9", "weights": {"model": "a/b", "name": "c@1"}, "start": 0, "count": 1}
    sounds = np.zeros((1, 1, 8), np.float32)
    write(tmp_path / "x.wav", iter([sounds]), Output("audio", (1, 8), -1, 1, {"sample_rate": 8000}), record)
    content = (tmp_path / "x.wav").read_bytes()
    at = content.index(b"LIST")
    chunk = content[at + 8 : at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")]
    assert chunk.startswith(b"INFOISFT")
    assert b"aigc-core 9.9\0" in chunk
    assert SOURCE_TYPE.encode() in chunk
    assert b"a/b c@1\0" in chunk
    assert aigc_core.inspect(tmp_path / "x.wav")["intact"] is True


# Trace


@pytest.mark.parametrize("out", ["f/", "x.png", "x.npz", "x.tar"])
def test_a_sample_leads_back_to_weights_data_and_run(tiny: str, out: str, tmp_path: Path, aigc: Run) -> None:
    assert aigc("sample", tiny, "-n", 3, "--out", f"{tmp_path}/{out}").code == 0
    path = tmp_path / ("f/000001.png" if out == "f/" else out)
    found = json.loads(aigc("trace", path, "--json").out)
    assert found == aigc_core.trace(path)
    assert (found["found_by"], found["weights"]["stored"]) == ("record", "tiny@1")
    assert found["intact"] is (None if out == "x.tar" else True)
    assert found["data"]["name"] == "digits"
    assert found["training"]["steps"] == 2
    assert Path(found["run"]["folder"]).is_dir()
    assert found["model"]["same_code"] is True
    shown = aigc("trace", path)
    assert shown.err == ""
    for text in (
        "tiny@1",
        "vae/mlp of aigc-vae",
        "digits (train, 1797 items",
        "2 steps, seed 0",
        found["run"]["folder"],
    ):
        assert text in shown.out


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
@pytest.mark.parametrize("out", ["f/000001.png", "x.png"])
def test_a_picture_without_its_record_is_found_by_its_content(
    tiny: str, mode: str, out: str, tmp_path: Path, aigc: Run
) -> None:
    made = tmp_path / out
    sample(tiny, count=3, seed=7, out=made if out == "x.png" else made.parent)
    stripped = tmp_path / "holiday.jpeg"
    Image.open(made).convert(mode).save(stripped, "PNG", optimize=True)
    assert not info(stripped)
    shutil.rmtree(made) if made.is_dir() else made.unlink()
    found = aigc_core.trace(stripped)
    assert (found["found_by"], found["intact"], found["weights"]["stored"]) == ("ledger", None, "tiny@1")
    assert (found["sample"]["seed"], found["sample"]["start"]) == (7, 1 if out != "x.png" else 0)
    assert "the ledger, by its content" in aigc("trace", stripped).out
    assert aigc("replay", stripped).out.startswith("exact")


def test_every_sample_of_an_npz_and_of_a_tar_is_known_by_itself(
    tiny: str, tmp_path: Path, process: Run
) -> None:
    done = process("sample", tiny, "-n", 200, "--seed", 3, "--out", tmp_path / "x.npz", "--processes", 2)
    assert (done.code, done.err) == (0, "")
    sample(tiny, count=200, seed=4, out=tmp_path / "x.tar")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        pictures = archive["images"]
    for index in (0, 99, 199):
        Image.fromarray(pictures[index, :, :, 0]).save(tmp_path / "one.png")
        found = aigc_core.trace(tmp_path / "one.png")["sample"]
        assert (found["seed"], found["start"], found["count"]) == (3, index, 1)
    with tarfile.open(tmp_path / "x.tar") as archive_:
        (tmp_path / "one.png").write_bytes(archive_.extractfile("000150.png").read())  # type: ignore[union-attr]
    Image.open(tmp_path / "one.png").convert("RGB").save(tmp_path / "one.png")
    assert aigc_core.trace(tmp_path / "one.png")["sample"]["start"] == 150


def test_what_was_altered_or_carries_anothers_record_is_told(tiny: str, tmp_path: Path, aigc: Run) -> None:
    sample(tiny, count=2, out=tmp_path / "f/")
    altered = rewrite(tmp_path / "f/000000.png", lambda record: None, pixel=1)
    assert aigc_core.inspect(altered)["intact"] is False
    assert "ALTERED" in aigc("inspect", altered).out
    result = aigc("trace", altered)
    assert result.code == 0
    assert "is not what the record inside says; it was altered since" in result.err
    assert aigc_core.trace(altered)["found_by"] == "record"
    other = json.loads(info(altered)["aigc"])  # the record of sample 0 on the pixels of sample 1
    rewrite(tmp_path / "f/000001.png", lambda record: record.update(other))
    found = aigc_core.trace(tmp_path / "f/000001.png")
    assert (found["found_by"], found["intact"], found["sample"]["start"]) == ("ledger", False, 1)
    assert "the ledger knows its content" in aigc("trace", tmp_path / "f/000001.png").err


def test_what_is_not_known_is_said_with_the_next_step(tiny: str, tmp_path: Path, aigc: Run) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "foreign.png")
    (tmp_path / "foreign.txt").write_text("mine")
    for name in ("foreign.png", "foreign.txt"):
        result = aigc("trace", tmp_path / name)
        assert result.code == 3
        assert "carries no record of aigc, and no sample of that content is in" in result.error
    assert aigc("trace", tmp_path / "none.png").code == 3
    assert "is a folder; name a file in it" in aigc("trace", tmp_path).error
    sample(tiny, count=1, out=tmp_path / "x.png")
    shutil.rmtree(Store().root)
    assert "tiny@1, not in this store" in aigc("trace", tmp_path / "x.png").out
    assert aigc_core.trace(tmp_path / "x.png")["data"] is None


def test_weights_are_found_under_another_name(tiny: str, tmp_path: Path) -> None:
    sample(tiny, count=1, out=tmp_path / "by-name.png")
    sample(Store().find(tiny), count=1, out=tmp_path / "by-path.png")
    assert read_record(tmp_path / "by-path.png")["weights"]["name"] is None
    Store().commit("other", Store().version("tiny").record.manifest)
    Store().remove("tiny@1")
    for name in ("by-name.png", "by-path.png"):
        assert aigc_core.trace(tmp_path / name)["weights"]["stored"] == "other@1"
        assert aigc_core.replay(tmp_path / name).weights == "other@1"


def test_trace_and_inspect_import_no_torch(tiny: str, tmp_path: Path) -> None:
    sample(tiny, count=1, out=tmp_path / "x.png")
    Image.open(tmp_path / "x.png").convert("RGB").save(tmp_path / "y.png")
    for arguments in (["trace", "x.png"], ["trace", "y.png"], ["inspect", "x.png"], ["replay", "--help"]):
        code = (
            "import sys; sys.modules['torch'] = None\nfrom aigc_core.cli import main\n"
            f"sys.argv = ['aigc', *{arguments!r}]\nmain()"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# Replay


@pytest.mark.parametrize("out", ["f/", "x.png", "x.npz", "x.tar"])
def test_what_is_made_again_is_exact_and_can_be_kept(tiny: str, out: str, tmp_path: Path, aigc: Run) -> None:
    sample(tiny, count=70, start=30, seed=3, block=16, threads=2, out=f"{tmp_path}/one/{out}")
    result = aigc("replay", f"{tmp_path}/one/{out}", "--out", f"{tmp_path}/two/{out}")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("exact  70 samples of ")
    one, two = (sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in ("one", "two"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert json.loads(aigc("replay", f"{tmp_path}/one/{out}", "--json").out)["verdict"] == "exact"


def test_drift_names_the_difference_and_what_has_changed(tiny: str, tmp_path: Path, aigc: Run) -> None:
    sample(tiny, count=1, out=tmp_path / "x.png")

    def older(record: dict[str, Any]) -> None:
        record.update(torch="1.13.0", numpy="1.20.0", machine="vax")
        record["code"]["backend"] = f"sha256:{'0' * 64}"

    rewrite(tmp_path / "x.png", older)
    exact = aigc("replay", tmp_path / "x.png")
    assert exact.code == 0
    assert "torch 1.13.0 -> " in exact.out
    before = int(np.asarray(Image.open(tmp_path / "x.png"))[0, 0])
    rewrite(
        tmp_path / "x.png", lambda record: record.update(threads=2, block=32), pixel=5 if before < 250 else -5
    )
    drift = aigc("replay", tmp_path / "x.png")
    assert drift.code == 9
    assert "did not come out the same; see what is not as it was" in drift.error
    assert drift.out.startswith("drift  1 of 1 sample of ")
    for text in ("by at most 5 levels of 255", "largest difference 5 levels of 255, in 3 of ", "numpy 1.20.0 -> ",
                 "machine vax -> ", "code backend: sha256:000000000000 -> "):  # fmt: skip
        assert text in drift.out
    told = json.loads(aigc("replay", tmp_path / "x.png", "--json").out)
    assert (told["verdict"], told["largest"], told["differing"]) == ("drift", 5.0, 1)
    rewrite(tmp_path / "x.png", lambda record: record.update(seed=9))
    assert not aigc_core.replay(tmp_path / "x.png").exact


def test_the_samples_of_a_folder_and_an_archive_are_compared_one_by_one(
    tiny: str, tmp_path: Path, aigc: Run
) -> None:
    sample(tiny, count=200, block=16, out=tmp_path / "f/")
    rewrite(tmp_path / "f/000150.png", lambda record: None, pixel=1)
    for index in range(60, 120):
        (tmp_path / f"f/{index:06d}.png").unlink()
    done = aigc_core.replay(tmp_path / "f")
    assert (done.samples, done.differing) == (140, 1)
    assert done.differences[0].startswith("000150.png: largest difference ")
    sample(tiny, count=1, seed=2, start=200, out=tmp_path / "g/")
    shutil.move(tmp_path / "g/000200.png", tmp_path / "f/000200.png")
    with pytest.raises(UsageError, match=r"000200\.png was made otherwise than 000000\.png: seed"):
        aigc_core.replay(tmp_path / "f")
    with pytest.raises(NotFoundError, match="holds no samples"):
        aigc_core.replay(tmp_path / "g")
    sample(tiny, count=5, out=tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as archive, tarfile.open(
        tmp_path / "y.tar", "w", pax_headers={"comment": archive.pax_headers["comment"]}
    ) as other:  # fmt: skip
        for member in archive:
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "000003.png":
                content = content[:60]
            if not member.name.startswith("000004"):
                member.size = len(content)
                other.addfile(member, io.BytesIO(content))
    done = aigc_core.replay(tmp_path / "y.tar")
    assert (done.samples, done.differing) == (5, 2)
    assert done.differences[0].startswith("000003.png: cannot be read")
    assert done.differences[1] == "000004.png: it is missing"
    sample(tiny, count=5, out=tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        images, record = arrays["images"].copy(), arrays["record"]
    images[4, 0, 0, 0] ^= 2
    np.savez_compressed(tmp_path / "x.npz", images=images, record=record)
    done = aigc_core.replay(tmp_path / "x.npz")
    assert (done.differing, done.largest) == (1, 2.0)
    assert aigc("replay", tmp_path / "x.npz").code == 9
    np.savez_compressed(tmp_path / "x.npz", images=images[:4], record=record)
    with pytest.raises(DamagedFileError, match="its images are not the 5 samples of its record"):
        aigc_core.replay(tmp_path / "x.npz")


def test_what_a_replay_needs_is_asked_for(tiny: str, tmp_path: Path, aigc: Run) -> None:
    given = write_pictures(tmp_path / "given", 3, (8, 8), "L")
    sample(tiny, sampler="reconstruct", images=given, out=tmp_path / "x.png")
    refused = aigc("replay", tmp_path / "x.png", "--image", given[0], "--image", given[2])
    assert refused.code == 3
    assert "was made from a picture '001.png'" in refused.error
    renamed = shutil.copy(given[1], tmp_path / "renamed.png")
    done = aigc("replay", tmp_path / "x.png", "--image", given[2], "--image", renamed, "--image", given[0])
    assert done.out.startswith("exact  3 samples")
    sample(tiny, count=1, out=tmp_path / "y.png")
    assert "leave out --image" in aigc("replay", tmp_path / "y.png", "--image", given[0]).error
    assert "name another place" in aigc("replay", tmp_path / "y.png", "--out", tmp_path / "y.png").error
    kept = shutil.copy(Store().find(tiny), tmp_path / "kept.safetensors")
    shutil.rmtree(Store().root)
    gone = aigc("replay", tmp_path / "y.png")
    assert gone.code == 3
    assert "was made by tiny@1, weights sha256:" in gone.error
    assert "or give the file: --weights" in gone.error
    assert aigc("replay", tmp_path / "y.png", "--weights", kept).out.startswith("exact")
    other: Trained = train("vae/mlp", "digits", steps=1, options={"hidden": (8,)}, name="other")
    assert (
        "was made by weights sha256:" in aigc("replay", tmp_path / "y.png", "--weights", other.weights).error
    )
    (tmp_path / "bare.png").write_bytes((tmp_path / "y.png").read_bytes())
    rewrite(tmp_path / "bare.png", lambda record: record.pop("sampler"))
    broken = aigc("replay", tmp_path / "bare.png", "--weights", kept)
    assert (broken.code, "its record is incomplete: 'sampler' is missing" in broken.error) == (5, True)
    assert Ledger().path.is_file()


# Records that nobody wrote


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights", []), ("options", "x"), ("images", {}), ("start", "0"), ("count", 1.5), ("seed", None), ("code", 3),
     ("content", "sha256:zz"), ("content", 7), ("backend", None), ("sampler", []), ("device", 1)],
)  # fmt: skip
def test_a_record_that_cannot_be_meant_is_a_damaged_file(
    name: str, value: object, tiny: str, tmp_path: Path, aigc: Run
) -> None:
    sample(tiny, count=1, out=tmp_path / "f/")
    path = rewrite(tmp_path / "f/000000.png", lambda record: record.update({name: value}))
    for command in ("inspect", "sample"):
        arguments = [path] if command == "inspect" else [tiny, "-n", 2, "--out", path.parent]
        result = aigc(command, *arguments)
        assert (result.code, f"its record is damaged: {name} is not" in result.error) == (5, True)
    assert aigc("trace", path).out.count("the ledger, by its content") == 1
    assert aigc("replay", path).out.startswith("exact")


def test_a_sheet_that_a_training_drew_is_inspected_and_traced(tmp_path: Path, aigc: Run) -> None:
    done = train("vae/mlp", "digits", steps=2, options={"hidden": (8,)}, sheet_every=1)
    (sheet, *_) = sorted((done.run / "sheets").glob("*.png"))
    assert aigc_core.inspect(sheet)["intact"] is True
    assert "vae/mlp" in aigc("inspect", sheet).out
    traced = aigc("trace", sheet)
    assert "a training drew it on the way" in traced.out
    assert "vae/mlp" in traced.out
    replayed = aigc("replay", sheet)
    assert (replayed.code, "its record is incomplete: 'weights' is missing" in replayed.error) == (5, True)
