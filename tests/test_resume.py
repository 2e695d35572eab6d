"""A training that was cut off, however that happened, ends as if it had not been: killed, stopped, out of disk,
under another version, with a damaged checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Forks
from helpers import Run, data_of, lengthy, small_options
from safetensors import safe_open

from aigc_core.registry import default
from aigc_core.training.state import KEY, load_state, save_state, write_gathered
from aigc_core.weights.file import load
from aigc_core.weights.header import read_header
from aigc_core.weights.store import Store

TRAINABLE = sorted(name for name, spec in default().models.items() if spec.trainer)
STEPS = 60
MOMENTS = 10


class Trainings:
    """Trainings that can be killed, and what they leave."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.forks = Forks(self.home)
        self._whole: dict[str, tuple[str, float]] = {}

    @staticmethod
    def call(model: str, name: str, **more: Any) -> dict[str, Any]:
        options = {"batch_size": 16, **small_options(model)}
        common = {"steps": STEPS, "checkpoint_every": 3, "sheet_every": 30, "options": options}
        return {"model": model, "data": data_of(model), "name": name, **common, **more}

    def run(self, model: str, name: str, **more: Any) -> dict[str, Any]:
        return self.forks.run(**self.call(model, name, **more))

    def whole(self, model: str) -> tuple[str, float]:
        """The digest of the uninterrupted run, and its seconds."""
        if model not in self._whole:
            name = f"{model.replace('/', '-')}-whole"
            digest = str(self.run(model, name)["digest"])
            then = time.monotonic()
            assert self.run(model, f"{name}-2")["digest"] == digest
            self._whole[model] = digest, time.monotonic() - then
        return self._whole[model]

    def error(self, model: str, name: str, **more: Any) -> str:
        self.forks.start(**self.call(model, name, **more))
        return str(self.forks.end().told["error"])

    def kill_when(self, due: Callable[[], bool], model: str, name: str, **more: Any) -> bool:
        """Starts a training and kills it at a moment; whether it was killed before its end."""
        child = self.forks.start(**self.call(model, name, **more))
        end = time.monotonic() + 60
        while not due() and not self.forks.done():
            assert time.monotonic() < end
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return self.forks.end().signal == signal.SIGKILL

    def cut(self, model: str, name: str, step: int = 30, **more: Any) -> Path:
        """A run killed soon after a checkpoint; returns its folder."""
        assert self.kill_when(lambda: self.step(name) >= step, model, name, **more)
        return self.folder(name)

    def folder(self, name: str) -> Path:
        (folder,) = self.home.glob(f"runs/{name}-*")
        return folder

    def step(self, name: str) -> int:
        """The step of the last checkpoint, 0 without one."""
        return max(
            (int(p.stem) for p in self.home.glob(f"runs/{name}-*/checkpoints/*.safetensors")), default=0
        )

    def versions(self, name: str) -> list[str]:
        return [str(version) for version in self.store.versions(name)]

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    def partial(self, where: str = "") -> list[Path]:
        return list((self.home / where).rglob(".*.partial"))

    def check_ended(self, name: str, told: dict[str, Any], digest: str) -> None:
        assert told["digest"] == digest
        assert self.versions(name) == [f"{name}@1"]
        assert self.partial("store") == []
        assert [p for p in self.partial("runs") if p.is_relative_to(self.folder(name))] == []
        assert list(self.folder(name).glob("checkpoints/*")) == [], "a finished run needs none"


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    made = Trainings(tmp_path_factory.mktemp("trainings"))
    yield made
    made.forks.close()


def names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


# killed


@pytest.mark.parametrize(
    "model",
    lengthy(TRAINABLE, *{*TRAINABLE} - {"gan/dcgan", "text/lstm", "vae/conv"}, mark="slow"),
)
def test_a_run_killed_at_any_moment_ends_as_if_uninterrupted(model: str, trainings: Trainings) -> None:
    """At moments spread over the run by chance, and in the midst of writing a checkpoint."""
    digest, seconds = trainings.whole(model)
    chance = random.Random(model)
    killed = torn = 0
    for number in range(MOMENTS):
        name = f"{model.replace('/', '-')}-{number}"
        moment, step = chance.uniform(0, seconds), chance.randrange(0, STEPS - 12)
        begun = time.monotonic()

        def at_a_time(begun: float = begun, moment: float = moment) -> bool:
            time.sleep(0.001)
            return time.monotonic() - begun > moment

        def in_a_write(name: str = name, step: int = step) -> bool:
            folder = next(trainings.home.glob(f"runs/{name}-*/checkpoints"), Path("none"))
            return trainings.step(name) >= step and any(n.endswith(".partial") for n in names(folder))

        killed += trainings.kill_when(in_a_write if number % 2 else at_a_time, model, name)
        torn += bool(trainings.partial())
        told = trainings.run(model, name)
        trainings.check_ended(name, told, digest)
    print(f"{model}: {killed} of {MOMENTS} killed, {torn} in a write")  # noqa: T201
    assert killed >= MOMENTS // 2


def test_a_run_killed_again_and_again_ends_as_if_uninterrupted(trainings: Trainings) -> None:
    digest, _ = trainings.whole("vae/mlp")
    for step in (3, 9, 15, 21, 30, 45):
        trainings.cut("vae/mlp", "often", step)
    told = trainings.run("vae/mlp", "often")
    assert told["resumed_at"] >= 45
    trainings.check_ended("often", told, digest)
    log = (trainings.folder("often") / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in log.splitlines()]
    assert steps == sorted(set(steps)), "each step is logged once"


def test_a_run_killed_as_it_publishes_is_published_once(trainings: Trainings) -> None:
    """Killed while the weights are written, and when they have just got their name."""
    digest, _ = trainings.whole("gan/mlp")
    for number, ending in enumerate((".partial", ".safetensors") * 3):
        name = f"publish-{number}"
        weights = trainings.home / "weights" / name

        def seen(weights: Path = weights, ending: str = ending) -> bool:
            return any(n.endswith(ending) for n in names(weights))

        trainings.kill_when(seen, "gan/mlp", name)
        trainings.check_ended(name, trainings.run("gan/mlp", name), digest)


def test_what_another_run_is_publishing_is_left_alone(trainings: Trainings) -> None:
    """Two runs may share a name: one that begins takes nothing from one that is being published."""
    from aigc_core.files import temporary_in

    with temporary_in(trainings.store.layout.partial, "blob") as (file, path):
        file.write(b"half")
        trainings.run("vae/mlp", "shared", steps=2)
        file.write(b" and half")
        file.flush()
        assert Path(path).read_bytes() == b"half and half"


def test_a_run_is_not_published_twice_unless_it_ends_otherwise(trainings: Trainings) -> None:
    """As if it had been killed between its publication and the note of it."""
    digest, _ = trainings.whole("vae/mlp")
    trainings.check_ended("adopted", trainings.run("vae/mlp", "adopted"), digest)
    record = trainings.folder("adopted") / "run.json"

    def forget() -> None:
        record.write_text(json.dumps({**json.loads(record.read_text()), "weights": None}))

    forget()
    told = trainings.run("vae/mlp", "adopted")
    assert (told["weights"], told["resumed_at"]) == ("adopted@1", 0)
    trainings.check_ended("adopted", told, digest)
    assert json.loads(record.read_text())["weights"] == "adopted@1"
    trainings.run("vae/mlp", "adopted", seed=1)
    forget()
    assert trainings.run("vae/mlp", "adopted")["weights"] == "adopted@1", "another run came in between"
    trainings.store.remove("adopted@1")
    forget()
    assert trainings.run("vae/mlp", "adopted")["weights"] == "adopted@3", "what is there are other weights"


def test_a_run_killed_before_it_tidied_up_is_tidied_up(trainings: Trainings) -> None:
    """As if it had been killed right after its last note; what is kept on purpose stays."""
    kept = trainings.run("vae/mlp", "untidy", keep_checkpoints=True)
    folder = trainings.folder("untidy")
    assert trainings.run("vae/mlp", "untidy")["resumed_at"] == STEPS
    assert list(folder.glob("checkpoints/*.safetensors")), "it was asked for"
    record = json.loads((folder / "run.json").read_text())
    del record["command"]["keep_checkpoints"]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "checkpoints" / ".00000060.safetensors.x.partial").touch()
    trainings.check_ended("untidy", trainings.run("vae/mlp", "untidy"), kept["digest"])


# stopped


def start(*arguments: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aigc_core", *arguments],
        env={**os.environ, "AIGC_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stop(running: subprocess.Popen[str], number: int, home: Path, lines: int = 1) -> tuple[float, str]:
    """Sends a signal once there are so many lines in the log; returns the seconds until its end and its line."""
    end = time.monotonic() + 90
    while sum(p.read_text().count("\n") for p in home.glob("runs/*/metrics.jsonl")) < lines:
        assert time.monotonic() < end
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    running.send_signal(number)
    then = time.monotonic()
    out, err = running.communicate(timeout=60)
    seconds = time.monotonic() - then
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return seconds, err


TOLD = "the same command goes on from there"


def test_after_sigterm_the_same_command_goes_on(home: Path, trainings: Trainings) -> None:
    command = ["train", "vae/conv", "--data", "digits", "--name", "t", "--steps", "600", "--batch-size", "16"]
    running = start(*command, home=home)
    seconds, line = stop(running, signal.SIGTERM, home, 3)
    assert (running.returncode, TOLD in line) == (143, True), line
    assert seconds < 10
    print(f"SIGTERM: {seconds:.2f} s")  # noqa: T201
    told = json.loads(trainings.forks.command(*command, "--json", home=home).out)
    assert told["resumed_at"] >= 50
    whole = trainings.run("vae/conv", "t", steps=600, checkpoint_every=None)
    assert told["tensors_digest"] == whole["digest"]


@pytest.mark.slow
def test_two_processes_stop_alike_and_go_on(home: Path, process: Run) -> None:
    """SIGTERM, resumed, Ctrl-C, resumed: as if uninterrupted."""
    command = ["train", "vae/conv", "--data", "digits", "--steps", "1000", "--batch-size", "16"]
    command += ["--processes", "2", "--json"]
    for number, code, lines in ((signal.SIGTERM, 143, 3), (signal.SIGINT, 130, 15)):
        running = start(*command, "--name", "two", home=home)
        seconds, line = stop(running, number, home, lines)
        assert (running.returncode, TOLD in line) == (code, True), line
        assert seconds < 10
        print(f"{signal.Signals(number).name} to two processes: {seconds:.2f} s")  # noqa: T201
    done, whole = (process(*command, "--name", name, OMP_NUM_THREADS="1") for name in ("two", "whole"))
    told = json.loads(done.out)
    assert told["resumed_at"] >= 14 * 25
    assert told["tensors_digest"] == json.loads(whole.out)["tensors_digest"]


# no room


COMMAND = ["train", "vae/mlp", "--data", "digits", "--name", "room", "--steps", str(STEPS)]
COMMAND += ["--batch-size", "16", "--checkpoint-every", "3", "--sheet-every", "30", "--json"]


def whole_files(home: Path) -> bool:
    """Nothing half-written lies below a folder, and all that has a name can be read."""
    for path in home.rglob("*.safetensors"):
        read_header(path)
    for version in Store(home / "store"):
        read_header(version.path)
    return not list(home.rglob(".*.partial"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def test_a_disk_that_fills_up_and_one_that_is_read_only(disk: Path, trainings: Trainings) -> None:
    digest, _ = trainings.whole("vae/mlp")
    left = trainings.cut("vae/mlp", "size", 3)
    size = max(p.stat().st_size for p in left.glob("checkpoints/*.safetensors"))
    home = disk / "home"

    def refused() -> str:
        result = trainings.forks.command(*COMMAND, home=home)
        assert (result.code, result.out) == (8, ""), result.err
        return result.error

    remount(disk, "ro")
    assert "read-only file system; choose a place that can be written to" in refused()
    remount(disk, f"rw,size={size * 3 // 2 // 1024}k")
    assert "no space left on device; free some space" in refused()
    assert whole_files(home)
    kept = [p.stem for p in home.glob("runs/*/checkpoints/*.safetensors")]
    assert kept == ["00000003"]
    remount(disk, "ro")
    assert "read-only file system" in refused()
    remount(disk, f"rw,size={size * 30 // 1024}k")
    done = trainings.forks.command(*COMMAND, home=home)
    told = json.loads(done.out)
    assert (told["resumed_at"], told["tensors_digest"]) == (3, digest), done.err
    assert whole_files(home)


def test_files_that_may_not_grow(home: Path, trainings: Trainings) -> None:
    """A limit on the size of files stands for the end of the disk: a write fails in its middle."""
    digest, _ = trainings.whole("vae/mlp")
    result = trainings.forks.command(*COMMAND, home=home, largest=200_000)
    assert (result.code, result.out) == (8, ""), result.err
    assert "file too large" in result.error
    assert whole_files(home)
    told = json.loads(trainings.forks.command(*COMMAND, home=home).out)
    assert (told["resumed_at"], told["tensors_digest"]) == (0, digest)


def test_a_file_where_the_checkpoints_belong(trainings: Trainings) -> None:
    digest, _ = trainings.whole("vae/mlp")
    folder = trainings.cut("vae/mlp", "blocked", 3)
    shutil.move(folder / "checkpoints", folder / "aside")
    (folder / "checkpoints").write_text("in the way")
    told = trainings.error("vae/mlp", "blocked")
    assert told.startswith("StorageError: cannot write")
    assert "its folder is a file" in told or "not a directory" in told
    (folder / "checkpoints").unlink()
    shutil.move(folder / "aside", folder / "checkpoints")
    trainings.check_ended("blocked", trainings.run("vae/mlp", "blocked"), digest)


# what is kept


def test_the_last_checkpoints_and_the_best_are_kept_while_it_trains(trainings: Trainings) -> None:
    folder = trainings.cut("vae/mlp", "kept", 45, keep=4)
    steps = sorted(int(p.stem) for p in folder.glob("checkpoints/*.safetensors"))
    best = load_state(folder / "checkpoints" / f"{steps[-1]:08d}.safetensors")["best"][0]
    last = [s for s in steps if s != best]
    assert best in steps
    assert 4 <= len(steps) <= 6, "a new one is there before an old one goes"
    assert all(b - a == 3 for a, b in itertools.pairwise(last) if a > steps[-1] - 9)
    assert steps[-1] >= 45


def test_those_that_it_can_go_back_to_are_kept_while_it_trains(trainings: Trainings) -> None:
    more: dict[str, Any] = {"steps": 500, "checkpoint_every": 20, "keep": 1}
    folder = trainings.cut("vae/mlp", "guarded", 420, **more)
    steps = {int(p.stem) for p in folder.glob("checkpoints/*.safetensors")}
    assert steps >= {200, 300, 400}
    assert 100 not in steps
    digest = trainings.run("vae/mlp", "guarded", **more)["digest"]
    assert trainings.run("vae/mlp", "unguarded", **more)["digest"] == digest


def test_checkpoints_are_left_where_that_is_asked_for(trainings: Trainings) -> None:
    digest, _ = trainings.whole("vae/mlp")
    told = trainings.run("vae/mlp", "left", keep_checkpoints=True, keep=3)
    assert told["digest"] == digest
    steps = sorted(int(p.stem) for p in trainings.folder("left").glob("checkpoints/*.safetensors"))
    assert steps[-3:] == [51, 54, 57]
    again = trainings.run("vae/mlp", "left", keep_checkpoints=True, again=True)
    assert again["resumed_at"] == 0, "trained once more, not gone on with"
    assert (again["weights"], again["digest"]) == ("left@2", digest)


@pytest.mark.parametrize("share", [0.99, 0.5, 0.0])
def test_a_damaged_checkpoint_is_passed_over(share: float, trainings: Trainings) -> None:
    digest, _ = trainings.whole("gan/dcgan")
    name = f"damaged-{share * 100:.0f}"
    folder = trainings.cut("gan/dcgan", name, 30)
    before, last = sorted(folder.glob("checkpoints/*.safetensors"))[-2:]
    os.truncate(last, int(last.stat().st_size * share))
    told = trainings.run("gan/dcgan", name)
    assert told["resumed_at"] == int(before.stem)
    assert any("passed over a damaged checkpoint" in r and last.name in r for r in told["remarks"])
    trainings.check_ended(name, told, digest)


def test_without_a_whole_checkpoint_it_begins_anew(trainings: Trainings) -> None:
    digest, _ = trainings.whole("vae/mlp")
    folder = trainings.cut("vae/mlp", "ruined", 12)
    for path in folder.glob("checkpoints/*.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    told = trainings.run("vae/mlp", "ruined")
    assert told["resumed_at"] == 0
    trainings.check_ended("ruined", told, digest)


# under other conditions


def test_a_run_does_not_go_on_under_another_version_unasked(trainings: Trainings) -> None:
    digest, _ = trainings.whole("vae/mlp")
    folder = trainings.cut("vae/mlp", "drift", 12)
    record = json.loads((folder / "run.json").read_text())
    record["environment"]["torch"] = "2.0"
    record["environment"]["processes"] = 2
    (folder / "run.json").write_text(json.dumps(record))
    refusal = trainings.error("vae/mlp", "drift")
    assert refusal.startswith("UsageError")
    assert f"torch 2.0 -> {torch.__version__}" in refusal
    assert "processes 2 -> 1" in refusal
    assert "--allow-drift" in refusal
    assert "threads" not in refusal, "what is as it was is not named"
    trainings.cut("vae/mlp", "drift", 45, allow_drift=True)
    told = trainings.run("vae/mlp", "drift")  # it was allowed, and noted
    assert told["resumed_at"] >= 45
    trainings.check_ended("drift", told, digest)
    weights = load(trainings.store.resolve("drift@1"), default())
    drift = weights.record["training"]["drift"]
    assert sorted(drift) == ["processes 2 -> 1", f"torch 2.0 -> {torch.__version__}"]
    whole = load(trainings.store.resolve("vae-mlp-whole@1"), default())
    assert "drift" not in whole.record["training"]


def test_a_run_without_a_checkpoint_may_begin_anywhere(trainings: Trainings) -> None:
    """It begins anew, so nothing of it was made under other conditions."""
    folder = trainings.cut("vae/mlp", "anew", 3)
    shutil.rmtree(folder / "checkpoints")
    record = json.loads((folder / "run.json").read_text())
    record["environment"]["torch"] = "2.0"
    (folder / "run.json").write_text(json.dumps(record))
    trainings.check_ended("anew", trainings.run("vae/mlp", "anew"), trainings.whole("vae/mlp")[0])


# the files


def test_a_checkpoint_is_read_by_safetensors_alone(trainings: Trainings) -> None:
    folder = trainings.cut("gan/dcgan", "plain", 12)
    path = max(folder.glob("checkpoints/*.safetensors"))
    with safe_open(path, framework="pt") as file:
        skeleton = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert b"pickle" not in path.read_bytes()
    assert set(re.findall(r'"t": "(\d+)"', json.dumps(skeleton))) == set(tensors)
    state = load_state(path)
    assert state["step"] == int(path.stem)
    assert {"generator_optimizer", "critic_optimizer", "average"} <= set(state["trainer"])


@pytest.mark.parametrize("gathered", [False, True])
def test_a_state_of_all_types_comes_back_in_its_layout(gathered: bool, tmp_path: Path) -> None:
    last = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    turned = torch.arange(12, dtype=torch.bfloat16).view(3, 4).t()
    state: dict[str, Any] = {
        "moments": {0: {"step": torch.tensor(3.0), "exp_avg": last, "t": turned}},
        "types": [torch.tensor([1, 2], dtype=d) for d in (torch.int64, torch.uint8, torch.float64, torch.float16)],
        "flags": torch.tensor([True, False, True]),
        "empty": torch.empty(0, 3),
        "view": last[:, 1],
        "plain": (1, 2.5, float("inf"), -0.0, "text", None, True),
        "best": None,
    }  # fmt: skip
    path = tmp_path / "s.safetensors"
    if gathered:
        assert write_gathered(path, state)
    else:
        save_state(path, state)
    with safe_open(path, framework="pt") as file:
        assert {str(file.get_tensor(n).dtype) for n in file.keys()} >= {"torch.bfloat16", "torch.bool"}  # noqa: SIM118
    back = load_state(path)
    assert back["plain"] == state["plain"]
    moments = back["moments"][0]
    assert torch.equal(moments["exp_avg"], last)
    assert moments["exp_avg"].stride() == last.stride()
    assert torch.equal(moments["t"], turned)
    assert moments["t"].stride() == turned.stride()
    assert torch.equal(back["view"], last[:, 1])
    assert back["empty"].shape == (0, 3)
    for mine, theirs in zip(state["types"], back["types"], strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("gathered", [False, True])
def test_a_state_that_is_not_finite_is_noticed(gathered: bool, tmp_path: Path) -> None:
    from aigc_core.training.state import snapshot

    bad = {"a": torch.ones(3), "b": torch.tensor([1.0, float("nan")]), "c": torch.ones(2, dtype=torch.int64)}
    if gathered:
        assert not write_gathered(tmp_path / "s.safetensors", bad)
        assert list(tmp_path.iterdir()) == []
    else:
        assert not snapshot(bad).finite()
        assert snapshot({**bad, "b": torch.zeros(2)}).finite()
