"""Training through the command line: what is kept, what is said, and what happens when it goes wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import Run, Site, write_pictures

import aigc_core
from aigc_core.errors import UsageError
from aigc_core.registry import default
from aigc_core.training.job import plan, train


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_training_keeps_weights_and_says_what_next(aigc: Run, home: Path) -> None:
    done = aigc("train", "vae/mlp", "--data", "digits", "--name", "mine", "--steps", 3)
    assert done.code == 0
    assert "kept mine@1: 3 steps" in done.out
    assert "aigc sample mine@1" in done.out
    record = json.loads(aigc("inspect", "mine", "--json").out)
    assert record["tensors_digest"] in done.out
    assert [t for t in tree(home) if t.startswith("store/versions")] == ["store/versions/mine@1.json"]
    assert not [t for t in tree(home) if "checkpoint" in t], "a finished run needs none"


def test_the_same_command_again_says_that_it_is_done(aigc: Run) -> None:
    command = ["train", "vae/mlp", "--data", "digits", "--name", "mine", "--steps", "3"]
    first = json.loads(aigc(*command, "--json").out)
    again = aigc(*command)
    assert again.code == 0
    assert "mine@1 is there already" in again.out
    assert json.loads(aigc(*command, "--json").out)["already_finished"] is True
    more = json.loads(aigc(*command, "--again", "--json").out)
    assert (more["weights"], more["tensors_digest"]) == ("mine@2", first["tensors_digest"])
    other = json.loads(aigc(*command, "--seed", 1, "--json").out)
    assert other["weights"] == "mine@3"
    assert other["tensors_digest"] != first["tensors_digest"]


def test_a_dry_run_shows_the_plan_and_keeps_nothing(aigc: Run, home: Path) -> None:
    command = ["train", "gan/dcgan", "--data", "digits", "--epochs", "2", "-o", "width=8", "--dry-run"]
    shown = aigc(*command)
    assert "56 steps of 64" in shown.out
    assert "width=8 (given)" in shown.out
    plan_ = json.loads(aigc(*command, "--json").out)
    assert plan_["options"]["width"] == {"value": 8, "from": "given"}
    assert plan_["options"]["lr"]["from"] == "default"
    assert plan_["parameters"] > 1000
    assert not (home / "runs").exists()
    assert not (home / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gan/dcgna", "--data", "digits"], 3, "did you mean 'gan/dcgan'"),
        (["mlp", "--data", "digits"], 2, "ambiguous: gan/mlp and vae/mlp"),
        (["vae/conv", "--data", "digits", "-o", "lattent=3"], 2, "did you mean 'latent'"),
        (["vae/conv", "--data", "digits", "-o", "latent=0"], 2, "latent = '0'"),
        (["vae/conv", "--data", "digits", "--lr", "0"], 2, "greater than 0"),
        (["vae/conv", "--data", "digits", "--batch-size", "0"], 2, "greater than or equal to 1"),
        (["vae/conv", "--data", "digits", "-o", "steps=5"], 2, "did you mean --steps?"),
        (["vae/conv", "--data", "digits", "-o", "lr=1", "--lr", "2"], 2, "lr is given twice"),
        (["vae/conv", "--data", "digits", "--steps", "0"], 2, "--steps must be at least 1"),
        (["vae/conv", "--data", "digits", "--steps", "1", "--epochs", "1"], 2, "not both"),
        (["vae/conv", "--data", "digits", "--seed", "-3"], 2, "--seed must lie"),
        (["vae/conv", "--data", "digits", "--name", "../x", "--steps", "1"], 2, "can't be named"),
        (["vae/conv", "--data", "digits", "--checkpoint-every", "0"], 2, "--checkpoint-every"),
        (["vae/conv", "--data", "digits", "--size", "4"], 2, "--size does not apply"),
        (["vae/conv", "--data", "x", "--size", "axb"], 2, "must be like 64 or 112x92"),
        (["vae/conv", "--data", "digit"], 3, "did you mean 'digits'"),
        (["vae/conv", "--data", "/no/such/folder"], 3, "no data set and no path"),
        (["vae/conv"], 2, "Missing option '--data'"),
        (["vae/conv", "--data", "digits", "--epocs", "3"], 2, "did you mean '--epochs'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_mistakes_get_one_line_and_a_code(
    arguments: list[str], code: int, message: str, aigc: Run, home: Path
) -> None:
    result = aigc("train", *arguments)
    assert result.code == code
    assert message in result.error
    assert result.out == ""
    assert not (home / "runs").exists()
    assert not (home / "store").exists()


def test_a_misspelt_option_is_found_before_the_data_is_looked_at(aigc: Run) -> None:
    assert "did you mean 'latent'" in aigc("train", "vae/conv", "--data", "/no/such", "-o", "latnt=3").error


def test_data_that_does_not_fit_the_model_is_refused(aigc: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path / "large", 2, (257, 30))
    result = aigc("train", "gan/dcgan", "--data", tmp_path / "large")
    assert result.code == 6
    assert "items are 3x257x30, it takes at most 4x256x256; resize a folder by --size HxW" in result.error
    assert aigc("train", "vae/mlp", "--data", tmp_path / "large", "--size", "16", "--steps", "1").code == 0


def test_skipped_pictures_are_named_and_counted(aigc: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", 4)
    (tmp_path / "p" / "bad.jpg").write_text("x")
    command = ["train", "vae/mlp", "--data", tmp_path / "p", "--steps", "1"]
    done = aigc(*command)
    assert done.code == 0
    assert "skipped bad.jpg" in done.err
    assert "skipped 1 in all" in done.err
    assert aigc(*command, "--strict", "--again").code == 6


@pytest.mark.parametrize("where", ["__init__", "step"])
def test_a_trainer_that_fails_is_the_backends_fault(
    where: str, aigc: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aigc_vae.trainer import VAETrainer

    site.add(
        "ear",
        "from aigc_core import hookimpl\nheard = []\n"
        "@hookimpl\ndef aigc_on_event(event): heard.append(event.kind)\n",
    )
    monkeypatch.setattr(VAETrainer, where, lambda *args: 1 / 0)
    result = aigc("train", "vae/mlp", "--data", "digits", "--steps", "2")
    assert result.code == 4
    assert "backend 'vae' (aigc-vae 0.1.0) failed while training vae/mlp: ZeroDivisionError" in result.error
    assert "train.failed" in sys.modules["aigc_ear_backend"].heard


def test_the_default_name_is_made_of_any_folders_name(aigc: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path / "My Pics (2)", 2)
    done = aigc("train", "vae/mlp", "--data", tmp_path / "My Pics (2)", "--steps", "1")
    assert "kept mlp-my-pics-2@1" in done.out


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aigc_core", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on(home: Path, aigc: Run) -> None:
    command = ["train", "vae/mlp", "--data", "digits", "--name", "long", "--steps", "1500"]
    running = start(*command)
    wait_for(lambda: list(home.glob("runs/*/metrics.jsonl")))
    other = aigc(*command)
    assert other.code == 2
    assert "being trained by another process" in other.error
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert "stopped after step" in err
    assert "the same command goes on from there" in err
    assert len(err.strip().splitlines()) == 1
    assert not (home / "store").exists()
    resumed = json.loads(aigc(*command, "--json").out)
    assert resumed["resumed_at"] > 0
    whole = train("vae/mlp", "digits", name="whole", steps=1500)
    assert whole.record["tensors_digest"] == resumed["tensors_digest"]


@pytest.mark.parametrize("limit", [20_000, 300_000], ids=["the checkpoint", "the weights"])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(limit: int, home: Path) -> None:
    """A limit on the size of files stands for the end of the disk: the write fails in its middle."""
    train("vae/mlp", "digits", steps=1)  # so that caches are written
    before = tree(home)

    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    every = ["--checkpoint-every", "1"] if limit < 100_000 else []
    done = subprocess.run(
        [
            sys.executable, "-m", "aigc_core", "train", "vae/mlp", "--data", "digits", "--name", "full",
            "--steps", "3", *every,
        ],
        capture_output=True, text=True, preexec_fn=small_disk,
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert "cannot write" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    left = [t for t in tree(home) if t not in before]
    assert not [t for t in left if ".partial" in t or t.startswith("store/versions")], left


@pytest.mark.long
def test_a_really_full_disk(tmp_path: Path, process: Run) -> None:
    """On a file system of 300 KB, where one can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        result = process("train", "vae/mlp", "--data", "digits", "--steps", "2", AIGC_HOME=str(disk / "home"))
        assert result.code == 8
        assert "no space left on device; free some space" in result.error
        assert not [t for t in tree(disk) if ".partial" in t or "versions" in t]
        shutil.rmtree(disk / "home")
        weights = train("vae/mlp", "digits", steps=1).path
        for out in ("x.npz", "x.tar", "folder"):  # what is whole is kept, and gone on with
            arguments = ["sample", weights, "-n", "6000", "--out"]
            subprocess.run(["mount", "-o", "remount,size=300k", disk], check=True)
            result = process(*arguments, disk / out)
            assert result.code == 8, result.err
            assert "no space left on device; free some space" in result.error
            assert "of 6000 samples are kept: the same command goes on" in result.error
            assert not [t for t in tree(disk) if "partial" in t or (t == out and out != "folder")]
            for path in disk.glob("folder/*.png"):
                assert aigc_core.inspect(path)["count"] == 1
            subprocess.run(["mount", "-o", "remount,size=80m", disk], check=True)
            assert process(*arguments, disk / out).code == 0
            assert [p.name for p in disk.iterdir()] == [out]
            if out == "folder":
                assert len(list((disk / out).iterdir())) == 6000
                shutil.rmtree(disk / out)
            else:
                assert aigc_core.inspect(disk / out)["count"] == 6000
                (disk / out).unlink()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_home_is_one_line(tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("AIGC_HOME", str(blocked / "home"))
    result = aigc("train", "vae/mlp", "--data", "digits", "--steps", "1")
    assert result.code == 8
    assert "cannot write" in result.error


def test_a_python_caller_gets_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    done = aigc_core.train("vae/mlp", "digits", steps=2, name="api")
    weights = aigc_core.load("api")
    assert weights.tensors_digest == done.record["tensors_digest"]
    assert weights.model.spec.id == "vae/mlp"
    drawn = aigc_core.sample(weights, count=2)
    assert drawn is not None
    assert len(drawn) == 2
    images = [m.id for m in aigc_core.list_models() if m.modality == "image"]
    assert [m.id for m in aigc_core.list_models("image")] == images
    assert aigc_core.list_models("smell") == []
    assert "mnist" in [d.name for d in aigc_core.list_datasets()]
    with pytest.raises(AttributeError):
        _ = aigc_core.nothing  # type: ignore[attr-defined]
    with pytest.raises(UsageError):
        aigc_core.train("vae/mlp", "digits", steps=2, name="BAD")
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    from aigc_core.progress import Progress

    train("vae/mlp", "digits", steps=400, progress=Progress(True))
    err = capsys.readouterr().err
    assert "vae/mlp on digits" in err
    assert "loss=" in err


def test_a_plan_is_keyed_by_what_decides_its_result() -> None:
    base = plan("vae/mlp", "digits", steps=2).run().folder
    assert plan("vae/mlp", "digits", steps=2, registry=default()).run().folder == base
    assert plan("vae/mlp", "digits", epochs=2 * 128 / 1797).run().folder == base
    for change in (
        {"steps": 3},
        {"steps": 2, "seed": 1},
        {"steps": 2, "options": {"lr": 0.1}},
        {"steps": 2, "name": "x"},
    ):
        assert plan("vae/mlp", "digits", **change).run().folder != base  # type: ignore[arg-type]


def test_ctrl_c_while_torch_is_imported_is_one_line(process: Run, tmp_path: Path) -> None:
    """By a torch that is interrupted when it is half imported; the real one may end the process in C++ then."""
    (tmp_path / "torch.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    [0 for _ in range(10**8)]\n"
        "except BaseException:\n    raise RecursionError from None\n"
    )
    for command in (["train", "vae/mlp", "--data", "digits", "--steps", "1"], ["replay", "x.png"]):
        result = process(*command, PYTHONPATH=str(tmp_path))
        assert (result.code, result.error) == (130, "aigc: interrupted; what was kept before is unharmed")


def test_a_bug_is_one_line_with_a_way_to_its_traceback(aigc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigc_core.weights.index.listing", lambda store: 1 / 0)
    assert "a bug, please report it (AIGC_DEBUG=1" in aigc("weights").error
    monkeypatch.setenv("AIGC_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        aigc("weights")


def test_output_into_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m aigc_core models show gan/dcgan --json | head -1",
        shell=True, capture_output=True, text=True, env={**os.environ},
    )  # fmt: skip
    assert done.stdout == "{\n"
    assert done.stderr == ""
