"""Large numbers of samples: by any number of processes, cut off and gone on with, in memory that does not grow."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import Result, Run, data_of, lengthy, quick_options, small_options, write_pictures, write_sounds

import aigc_core
from aigc_core import registry as registry_module
from aigc_core.errors import InterruptedRun, UsageError
from aigc_core.modality import default_ending
from aigc_core.sampling.draw import draw, sample
from aigc_core.sampling.request import request
from aigc_core.sampling.writers import write
from aigc_core.specs import Output
from aigc_core.training.job import train

MODELS = sorted(registry_module.default().models)
OUTS = ("x/", "x.npz", "x.tar")


@pytest.fixture
def gan() -> Path:
    return train("gan/mlp", "digits", steps=1, name="tiny").path


def content(out: Path) -> dict[str, str]:
    """The names and digests of a folder's files, or of a file or shards."""
    paths = sorted(out.rglob("*")) if out.is_dir() else sorted(out.parent.glob(f"{out.stem}*"))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths if p.is_file()}


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "aigc_core", "sample", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_pieces(out: Path, count: int) -> None:
    """Until so many files of a sampling are there."""
    folder = out if out.suffix == "" else out.with_name(f".{out.name}.aigc-parts")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if folder.is_dir() and len(os.listdir(folder)) > count:
            return
        time.sleep(0.001)
    raise AssertionError("it does not begin")


@pytest.mark.parametrize(
    "model", lengthy(MODELS, *{*MODELS} - {"audio/tacotron", "gan/dcgan", "text/lstm", "vae/conv"})
)
def test_two_processes_write_what_one_does(model: str, tmp_path: Path, process: Run) -> None:
    """Whatever the environment says of threads."""
    weights = train(model, data_of(model), steps=1, options={"batch_size": 32, **small_options(model)}).path
    options = quick_options(model)
    needs = next(iter(registry_module.default().models[model].samplers.values())).needs
    sounds = write_sounds(tmp_path / "given", 1) if "sound" in needs else []
    sample(weights, count=300, start=30, out=tmp_path / "one/x/", options=options, sounds=sounds)
    several = process(
        "sample", weights, "-n", 300, "--start", 30, "--out", tmp_path / "two/x/", "--processes", 2,
        *(f"-s{name}={value}" for name, value in options.items()), *(f"--sound={path}" for path in sounds),
        OMP_NUM_THREADS="3",
    )  # fmt: skip
    ending = default_ending(registry_module.default().models[model].modality)
    assert (several.code, several.out, several.err) == (0, f"{tmp_path / 'two/x'}\n", "")
    names = [name for name in sorted(content(tmp_path / "one/x")) if name.endswith(ending)]
    assert (len(names), names[::299]) == (300, [f"000030{ending}", f"000329{ending}"])
    assert content(tmp_path / "one/x") == content(tmp_path / "two/x")
    assert os.listdir(tmp_path / "two") == ["x"]


@pytest.mark.parametrize("out", ["x.npz", "x.tar --shard-size 70"])
def test_three_processes_make_one_file_of_the_same_bytes(
    gan: Path, out: str, tmp_path: Path, process: Run
) -> None:
    name, *shards = out.split()
    sample(gan, count=300, start=30, block=16, out=tmp_path / "one" / name, shard_size=70 if shards else None)
    arguments = ["-n", 300, "--start", 30, "--block", 16, *shards, "--processes", 3]
    several = process("sample", gan, *arguments, "--out", tmp_path / "three" / name)
    assert several.code == 0, several.err
    assert content(tmp_path / "one" / name) == content(tmp_path / "three" / name) != {}
    assert not list(tmp_path.glob("*/.*"))


@pytest.mark.parametrize(("out", "processes"), [("x/", 1), ("x.npz", 1), ("x.tar", 2)])
def test_what_was_killed_goes_on_to_the_same_bytes(
    gan: Path, out: str, processes: int, tmp_path: Path, process: Run
) -> None:
    sample(gan, count=300, block=2, out=f"{tmp_path}/whole/{out}")
    arguments = [gan, "-n", 300, "--block", 2, "--out", f"{tmp_path}/cut/{out}", "--processes", processes]
    cut = started(*arguments)
    wait_for_pieces(tmp_path / "cut" / out, 20)
    cut.send_signal(signal.SIGKILL)
    cut.communicate()
    assert cut.returncode == -9
    if out != "x/":
        assert not (tmp_path / "cut" / out).exists()
    done = process("sample", *arguments)
    assert (done.code, done.err) == (0, "")
    assert content(tmp_path / "cut" / out) == content(tmp_path / "whole" / out)
    assert not list(tmp_path.glob("cut/**/.*"))


@pytest.mark.long
def test_one_of_three_is_killed_and_the_same_command_goes_on(gan: Path, tmp_path: Path, process: Run) -> None:
    sample(gan, count=600, block=2, out=tmp_path / "whole.tar")
    arguments = [gan, "-n", 600, "--block", 2, "--out", tmp_path / "cut.tar", "--processes", 3]
    cut = started(*arguments)
    wait_for_pieces(tmp_path / "cut.tar", 20)
    children = Path(f"/proc/{cut.pid}/task/{cut.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    _, err = cut.communicate(timeout=60)
    assert (cut.returncode, len(err.splitlines())) == (128 + 9, 1)
    assert "aigc: process 2 of 3 was ended by SIGKILL" in err
    assert "the same command goes on" in err
    assert process("sample", *arguments).code == 0
    assert (tmp_path / "cut.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes()


@pytest.mark.parametrize(("out", "processes"), [("x/", 1), ("x.tar", 2)])
def test_after_ctrl_c_the_same_command_goes_on(
    gan: Path, out: str, processes: int, tmp_path: Path, process: Run
) -> None:
    sample(gan, count=1000, block=2, out=f"{tmp_path}/whole/{out}")
    arguments = [gan, "-n", 1000, "--block", 2, "--out", f"{tmp_path}/cut/{out}", "--processes", processes]
    cut = started(*arguments)
    wait_for_pieces(tmp_path / "cut" / out, 5)
    cut.send_signal(signal.SIGINT)
    _, err = cut.communicate(timeout=60)
    error = Result(cut.returncode, "", err).error
    assert cut.returncode == 130
    if processes == 1:  # of two, the first to end may be one that has not begun
        assert error.startswith("aigc: stopped; ")
        assert error.endswith("of 1000 samples are kept: the same command goes on from there")
    assert not list(tmp_path.glob("cut/**/*.partial"))
    assert process("sample", *arguments).code == 0
    assert content(tmp_path / "cut" / out) == content(tmp_path / "whole" / out)


def stop_after(blocks: int, patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes with that block."""
    from aigc_gan.samplers import Prior

    sampled, before = 0, Prior.sample

    def counted(self: Prior, *arguments: object) -> torch.Tensor:
        nonlocal sampled
        sampled += 1
        if sampled > blocks:
            raise KeyboardInterrupt
        return before(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(Prior, "sample", counted)


def cut_off(weights: Path, out: str | Path, blocks: int = 1) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRun, match="64 of 300 samples"):
        stop_after(blocks, patch)
        sample(weights, count=300, out=out)


@pytest.mark.parametrize("out", ["x.npz", "x.tar"])
def test_pieces_of_another_sampling_are_not_mixed_in(gan: Path, out: str, tmp_path: Path, aigc: Run) -> None:
    path = tmp_path / out
    cut_off(gan, path)
    other = train("gan/mlp", "digits", steps=2).path
    for arguments, message in (
        ([gan, "--seed", 4], "seed is 0 there, 4 here"), ([gan, "--block", 32], "block is 64 there, 32 here"),
        ([gan, "--start", 1], "start is 0 there, 1 here"), ([gan, "-n", 299], "count is 300 there, 299 here"),
        ([gan, "--threads", 2], "threads is 1 there, 2 here"), ([other], "weights: tensors_digest is sha256"),
    ):  # fmt: skip
        result = aigc("sample", "-n", 300, *arguments, "--out", path)
        assert result.code == 2
        assert message in result.error
        assert "holds the pieces of another sampling" in result.error
    assert aigc("sample", gan, "-n", 300, "--out", path).code == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_folder_takes_no_samples_of_another_request_and_no_other_files(
    gan: Path, tmp_path: Path, aigc: Run
) -> None:
    out = tmp_path / "x"
    cut_off(gan, out)
    assert len(os.listdir(out)) == 64
    before = content(out)
    seed = aigc("sample", gan, "-n", 300, "--seed", 4, "--out", out)
    assert (seed.code, "000000.png was made otherwise: seed is 0 there, 4 here" in seed.error) == (2, True)
    assert aigc("sample", gan, "-n", 30, "--out", out).code == 2
    (out / "000100.png").write_bytes(b"damaged")
    damaged = aigc("sample", gan, "-n", 300, "--out", out)
    assert damaged.code == 5
    assert "remove it" in damaged.error
    (out / "000100.png").unlink()
    (out / "cat.png").touch()
    assert "files in it that are none of these samples (cat.png)" in aigc("sample", gan, "--out", out).error
    (out / "cat.png").unlink()
    assert content(out) == before
    assert aigc("sample", gan, "-n", 400, "--out", out).code == 0  # more of the same is the same folder
    assert len(os.listdir(out)) == 400


@pytest.mark.parametrize("out", OUTS)
def test_the_same_command_again_says_that_it_is_done(gan: Path, out: str, tmp_path: Path, aigc: Run) -> None:
    arguments = ["sample", gan, "-n", 100, "--out", f"{tmp_path}/{out}"]
    first = aigc(*arguments)
    assert (first.code, first.err) == (0, "")
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("x*/**/*")}
    again = aigc(*arguments)
    assert (again.code, again.out) == (0, first.out)
    assert "is there already, made by the same request" in again.error
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("x*/**/*")} == stamps
    if out != "x/":
        assert aigc(*arguments, "--seed", 1).err == ""  # a file is replaced
        assert aigc_core.inspect(tmp_path / out)["seed"] == 1


@pytest.mark.parametrize("out", OUTS)
def test_two_commands_do_not_write_to_the_same_output(gan: Path, out: str, tmp_path: Path, aigc: Run) -> None:
    parts = tmp_path / ("x/.aigc-parts" if out == "x/" else f".{out}.aigc-parts")
    parts.mkdir(parents=True)
    for more in ([], ["--processes", 2]):
        with FileLock(parts / "lock"):
            result = aigc("sample", gan, "--out", f"{tmp_path}/{out}", *more)
        assert result.code == 2
        assert "another process is writing to" in result.error


def test_where_nothing_could_be_written_nothing_is_left(gan: Path, tmp_path: Path) -> None:
    for out in OUTS:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_after(0, patch)
            sample(gan, count=3, out=f"{tmp_path}/new/folder/{out}")
    assert not (tmp_path / "new").exists()


def test_a_tar_holds_files_and_records_in_their_order(gan: Path, tmp_path: Path) -> None:
    sample(gan, count=70, start=99, out=tmp_path / "x.tar")
    sample(gan, count=70, start=99, out=tmp_path / "x/")
    with tarfile.open(tmp_path / "x.tar") as archive:
        members = archive.getmembers()
        files = {m.name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    names = [f"{i:06d}.{ending}" for i in range(99, 169) for ending in ("png", "json")]
    assert [m.name for m in members] == names
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert all(files[p.name] == p.read_bytes() for p in (tmp_path / "x").iterdir())
    record = json.loads(files["000105.json"])
    assert (record["start"], record["count"], record["seed"]) == (105, 1, 0)
    beside = aigc_core.inspect(tmp_path / "x" / "000105.png")
    assert {**record, "kind": "sample", "path": beside["path"], "intact": True, "credentials": None} == beside
    found = aigc_core.inspect(tmp_path / "x.tar")
    assert (found["kind"], found["start"], found["count"]) == ("sample", 99, 70)


@pytest.mark.filterwarnings(
    "ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # its own
def test_webdataset_reads_a_tar(gan: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    sample(gan, count=5, out=tmp_path / "x.tar")
    rows = list(webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False))
    assert [row["__key__"] for row in rows] == [f"{i:06d}" for i in range(5)]
    assert all(row["png"].startswith(b"\x89PNG") and json.loads(row["json"])["count"] == 1 for row in rows)


def test_a_shard_is_what_the_request_of_its_samples_makes(gan: Path, tmp_path: Path, aigc: Run) -> None:
    arguments = ["sample", gan, "-n", 250, "--shard-size", 100, "--out", tmp_path / "x.tar"]
    assert aigc(*arguments).out == f"{tmp_path}/x-{{000000..000002}}.tar\n"
    assert sorted(p.name for p in tmp_path.glob("*.tar")) == [f"x-00000{i}.tar" for i in range(3)]
    sample(gan, count=50, start=200, out=tmp_path / "last.tar")
    assert (tmp_path / "last.tar").read_bytes() == (tmp_path / "x-000002.tar").read_bytes()
    assert "is there already" in aigc(*arguments).error
    (tmp_path / "x-000001.tar").unlink()
    assert aigc(*arguments).err == ""
    assert len(list(tmp_path.glob("x-*.tar"))) == 3
    fewer = aigc("sample", gan, "-n", 200, "--shard-size", 100, "--out", tmp_path / "x.tar")
    assert "x-000002.tar is of another sampling" in fewer.error
    for name, size in (("x.npz", 3), ("x/", 3), ("y.tar", 0)):
        refused = aigc("sample", gan, "--shard-size", size, "--out", f"{tmp_path}/{name}")
        assert (refused.code, "--shard-size" in refused.error) == (2, True)


def test_texts_and_sounds_come_in_archives_too(tmp_path: Path) -> None:
    record = {"start": 7, "count": 3, "seed": 0}
    texts = np.array(["one\ntwo\n", "größe", ""])
    sounds = np.linspace(-1, 1, 1200, dtype=np.float32).reshape(3, 1, 400)
    spoken = Output("audio", (1, 400), -1, 1, {"sample_rate": 8000})
    for samples, output, ending in ((texts, Output("text", (64,), 0, 255), "txt"), (sounds, spoken, "wav")):
        out = tmp_path / f"{ending}.tar"
        write(out, iter([samples[:2], samples[2:]]), output, record)
        write(tmp_path / ending, iter([samples]), output, record)
        with tarfile.open(out) as archive:
            names = archive.getnames()
            assert names == [f"00000{i}.{e}" for i in (7, 8, 9) for e in (ending, "json")]
            for name in names[::2]:
                assert archive.extractfile(name).read() == (tmp_path / ending / name).read_bytes()  # type: ignore[union-attr]
        assert aigc_core.inspect(out)["count"] == 3


def test_an_npz_of_texts_is_as_wide_as_the_longest_of_all_pieces(tmp_path: Path) -> None:
    parts = [np.array(["a"]), np.array(["longer", ""]), np.array(["bc"])]
    write(tmp_path / "x.npz", iter(parts), Output("text", (64,), 0, 255), {"start": 0, "count": 4})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert archive["text"].dtype == np.dtype("<U6")
        assert archive["text"].tolist() == ["a", "longer", "", "bc"]


def test_too_many_for_one_sheet_are_refused_before_anything_is_computed(
    gan: Path, tmp_path: Path, aigc: Run
) -> None:
    result = aigc("sample", gan, "-n", 2_000_000, "--out", tmp_path / "x.png")
    assert result.code == 2
    assert "at most 987654 of these pictures go into one such file" in result.error
    assert "end it in .npz, .tar or /" in result.error
    shared = aigc("sample", gan, "--out", tmp_path / "x.png", "--processes", 2)
    assert (shared.code, "for --processes end it in" in shared.error) == (2, True)


def test_blocks_are_computed_in_any_order_and_with_the_threads_that_are_asked_for(gan: Path) -> None:
    wanted = request(gan, count=100, start=30, block=16)
    assert list(wanted.blocks) == list(range(1, 9))
    forward = dict(draw(wanted))
    assert list(forward) == [30, 32, 48, 64, 80, 96, 112, 128]
    assert [len(samples) for samples in forward.values()] == [2, *[16] * 6, 2]
    for first, samples in draw(wanted, [8, 3]):
        assert np.array_equal(samples, forward[first])
    before = torch.get_num_threads()
    assert request(gan, threads=2).record()["threads"] == 2
    with pytest.raises(UsageError, match="--threads must lie in 1"):
        request(gan, threads=0)
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize("out", OUTS)
def test_ten_thousand_by_one_two_and_three_processes_one_of_them_killed(
    gan: Path, out: str, tmp_path: Path, process: Run
) -> None:
    for processes in (1, 2, 3):
        arguments = [gan, "-n", 10_000, "--out", f"{tmp_path}/{processes}/{out}", "--processes", processes]
        if processes == 2:
            cut = started(*arguments)
            wait_for_pieces(tmp_path / "2" / out, 5000 if out == "x/" else 70)
            children = Path(f"/proc/{cut.pid}/task/{cut.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
            cut.communicate()
            assert cut.returncode == 128 + 9
        assert process("sample", *arguments).code == 0
    one = content(tmp_path / "1" / out)
    assert len(one) == (10_000 if out == "x/" else 1)
    assert one == content(tmp_path / "2" / out) == content(tmp_path / "3" / out)


PEAK = """
import resource, sys
from aigc_core.sampling.draw import sample
weights, count, out = sys.argv[1:]
sample(weights, count=64, out=out.rstrip("/") + ".warm.npz")
sample(weights, count=int(count), out=out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("out", OUTS)
def test_ten_times_as_many_need_no_more_memory(out: str, tmp_path: Path) -> None:
    """18,000 pictures of 3 KiB more, which are 54 MiB where they are kept."""
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 16, (32, 32))
    weights = train("gan/mlp", pictures, steps=1, options={"batch_size": 8}).path

    def peak(count: int) -> int:
        command = [sys.executable, "-c", PEAK, str(weights), str(count), f"{tmp_path}/{count}/{out}"]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    few, many = peak(2000), peak(20_000)
    assert many - few < 12 * 1024, (few, many)
    assert many <= 1.15 * few
