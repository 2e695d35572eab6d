"""Several processes share a batch, a batch is taken in parts, a model is shared out: it comes to the same."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import shared_cases
import torch
from helpers import Result, Run, lengthy, write_pictures

import aigc_core
from aigc_core.errors import UsageError
from aigc_core.registry import default
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.job import train
from aigc_core.training.state import load_state

TRAINABLE = sorted(name for name, spec in default().models.items() if spec.trainer)

BOUNDS: dict[str, tuple[int, float]] = {"vae/mlp": (50, 1e-5), "gan/mlp": (10, 1e-5), "gan/dcgan": (3, 1e-4)}
"""Of a model's losses in float32: over how many steps two processes must agree with one, and how closely, as a
share. The last bits differ, since sums are taken in another order; where an activation has a kink, or two networks
play against each other, a difference in the last bits soon grows."""

DOUBLE_BOUND = 1e-5
"""In float64, for every model: there is no other difference than rounding."""

DOUBLE_STEPS = {"image": 50, "text": 10, "audio": 10}
"""By modality."""

SMALL = ("plain", "normed", "pictures", "dropout", "mean")
SHARDED = ("plain", "gan/dcgan", "vae/conv in float64", "text/gpt", "text/lstm")

FEW = tuple(
    name
    for name in TRAINABLE
    if name in {"gan/dcgan", "gan/mlp", "text/gpt", "text/lstm", "vae/conv", "vae/mlp"}
)
"""Models that the default run looks at; the longer one takes the others too."""
REST = tuple(name for name in TRAINABLE if name not in FEW)


def cases_of(models: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Each as it is, and in float64."""
    return {
        **{kind: {"kind": kind, "steps": BOUNDS.get(kind, (3, 0))[0]} for kind in models},
        **{
            f"{kind} in float64": {
                "kind": kind,
                "double": True,
                "steps": DOUBLE_STEPS[default().models[kind].modality],
            }
            for kind in models
        },
    }


ALONE: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in SMALL},
    **cases_of(FEW),
    "random": {"kind": "random"},
}
SHARED: dict[str, dict[str, Any]] = {
    **ALONE,
    "plain in parts": {"kind": "plain", "settings": {"accumulate": 2}},
    "dropout in parts": {"kind": "dropout", "settings": {"accumulate": 2}},
    "random in parts": {"kind": "random", "settings": {"accumulate": 2}},
    **{f"{kind} sharded": {**ALONE[kind], "settings": {"shard": True}} for kind in SHARDED},
    "plain sharded in parts": {"kind": "plain", "settings": {"shard": True, "accumulate": 2}},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return by_processes(1, ALONE, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same by two processes, in one start."""
    return by_processes(2, SHARED, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The models that the default run leaves out: alone, and by two processes."""
    cases = cases_of(REST)
    return by_processes(1, cases, tmp_path_factory.mktemp("alone")), by_processes(
        2, cases, tmp_path_factory.mktemp("shared")
    )


def by_processes(count: int, cases: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "cases.json").write_text(json.dumps(cases))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    done = subprocess.run(
        [
            sys.executable, *(torchrun if count > 1 else []), shared_cases.__file__,
            folder / "cases.json", folder / "out.json",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "AIGC_HOME": str(folder / "home")},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return told


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[float]:
    """Of each step, how much the losses differ, as a share of the larger one, or of 0.1."""
    assert len(one["losses"]) == len(other["losses"])
    return [
        max(abs(a[name] - b[name]) / max(abs(a[name]), abs(b[name]), 0.1) for name in a)
        for a, b in zip(one["losses"], other["losses"], strict=True)
    ]


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How much weights differ at most."""
    assert one["weights"].keys() == other["weights"].keys() != set()
    return max(
        float(abs(a - b))
        for name in one["weights"]
        for a, b in zip(one["weights"][name], other["weights"][name], strict=True)
    )


def show(what: str, found: list[float]) -> None:
    print(f"{what}: {max(found[:3]):.1e} in 3 steps, {max(found):.1e} in {len(found)}")  # noqa: T201


# one batch, shared


@pytest.mark.parametrize("kind", SMALL)
def test_two_processes_train_as_one(kind: str, alone: dict[str, Any], shared: dict[str, Any]) -> None:
    found = differences(alone[kind], shared[kind])
    show(kind, found)
    assert max(found) < 1e-5
    assert apart(alone[kind], shared[kind]) < 1e-4


@pytest.mark.parametrize("model", lengthy(TRAINABLE, *REST))
def test_two_processes_train_a_model_as_one(model: str, request: pytest.FixtureRequest) -> None:
    if model in FEW:
        alone, shared = request.getfixturevalue("alone"), request.getfixturevalue("shared")
    else:
        alone, shared = request.getfixturevalue("rest")
    found = differences(alone[model], shared[model])
    show(model, found)
    steps, bound = BOUNDS.get(model, (0, 0.0))
    if model in BOUNDS:
        assert len(found) == steps
        assert max(found) <= bound
    found = differences(alone[f"{model} in float64"], shared[f"{model} in float64"])
    show(f"{model} in float64", found)
    assert max(found) <= DOUBLE_BOUND


@pytest.mark.parametrize("first", [True, False], ids=["zeroed before", "zeroed after"])
@pytest.mark.parametrize("kind", ["plain", "dropout"])
def test_a_batch_in_four_parts_is_the_batch(kind: str, first: bool) -> None:
    whole = shared_cases.run({"kind": kind})
    parts = shared_cases.run({"kind": kind, "first": first, "settings": {"accumulate": 4}})
    found = differences(whole, parts)
    show(f"{kind} in parts", found)
    assert max(found) < 1e-5
    assert apart(whole, parts) < 1e-5


@pytest.mark.parametrize("kind", ["plain", "dropout"])
def test_two_processes_may_take_their_shares_in_parts(
    kind: str, alone: dict[str, Any], shared: dict[str, Any]
) -> None:
    found = differences(alone[kind], shared[f"{kind} in parts"])
    show(f"{kind} in parts of two processes", found)
    assert max(found) < 1e-5
    assert apart(alone[kind], shared[f"{kind} in parts"]) < 1e-4


def test_random_values_belong_to_a_place_in_the_batch(alone: dict[str, Any], shared: dict[str, Any]) -> None:
    assert shared["random"] == alone["random"]
    assert shared["random in parts"] == alone["random"]
    for parts in (2, 4):
        assert shared_cases.run({"kind": "random", "settings": {"accumulate": parts}}) == alone["random"]
    rows = alone["random"]["first"]
    assert len({tuple(row) for row in rows}) == len(rows) == 64, "no row is another's"


# one model, shared out


@pytest.mark.parametrize("kind", SHARDED)
def test_a_model_that_is_shared_out_is_trained_as_a_whole_one(
    kind: str, alone: dict[str, Any], shared: dict[str, Any]
) -> None:
    found = differences(shared[kind], shared[f"{kind} sharded"])
    show(f"{kind} sharded", found)
    assert max(found[:3]) < 1e-5
    if kind == "plain":
        assert max(found) < 1e-5
        assert apart(alone[kind], shared[f"{kind} sharded"]) < 1e-4
        assert max(differences(shared[kind], shared["plain sharded in parts"])) < 1e-5


@pytest.mark.parametrize("kind", SHARDED)
def test_each_process_holds_its_part_of_a_model(
    kind: str, alone: dict[str, Any], shared: dict[str, Any]
) -> None:
    share = shared[f"{kind} sharded"]["held"] / alone[kind]["held"]
    print(f"{kind}: a process holds {share:.3f}")  # noqa: T201
    assert 0.45 < share <= 0.65


def test_one_process_has_nobody_to_share_with(aigc: Run, home: Path) -> None:
    result = aigc("train", "vae/mlp", "--data", "digits", "--steps", "2", "--shard")
    assert result.code == 2
    assert "--shard shares a model out over processes: give --processes 2 or more" in result.error
    with pytest.raises(UsageError, match="give --processes"):
        train("vae/mlp", "digits", steps=2, shard=True)
    assert not (home / "weights").exists()


# the command


STEPS = 300
COMMAND = ["train", "vae/conv", "--data", "digits", "--steps", str(STEPS), "--batch-size", "16"]
COMMAND += ["--checkpoint-every", "10", "--processes", "2"]


def begin(*arguments: str, torchrun: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *torchrun, "-m", "aigc_core", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(running: subprocess.Popen[str], seconds: float = 120) -> Result:
    out, err = running.communicate(timeout=seconds)
    return Result(running.returncode, out, err)


def wait_for(condition: Callable[[], object], running: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def members(running: subprocess.Popen[str]) -> dict[int, int]:
    """The processes that share the training, by rank."""
    found = {}
    for child in psutil.Process(running.pid).children(recursive=True):  # type: ignore[no-untyped-call]
        try:
            if "train" in child.cmdline() and "RANK" in child.environ():
                found[int(child.environ()["RANK"])] = child.pid
        except psutil.Error:
            continue
    return found


def checkpoints(home: Path, name: str) -> list[Path]:
    return sorted(home.glob(f"runs/{name}-*/checkpoints/*.safetensors"))


def reached(home: Path, name: str, step: int) -> bool:
    return any(int(p.stem) >= step for p in checkpoints(home, name))


def digest(result: Result) -> str:
    assert result.code == 0, result.err
    return str(json.loads(result.out)["tensors_digest"])


def test_what_cannot_be_shared_is_refused_in_one_line(process: Run, home: Path) -> None:
    """Also where the first process refuses and the other one waits for it."""
    command = ["train", "vae/mlp", "--data", "digits", "--steps", "2", "--processes", "2"]
    odd = process(*command, "--batch-size", "15")
    assert odd.code == 2
    assert "a batch of 15 can't be shared by 2 processes" in odd.error
    assert odd.out == ""
    assert not (home / "weights").exists()


def test_an_error_of_the_data_is_told_once(process: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path / "large", 2, (257, 30))
    result = process("train", "gan/dcgan", "--data", str(tmp_path / "large"), "--processes", "2")
    assert result.code == 6
    assert "items are 3x257x30, it takes at most 4x256x256" in result.error
    assert result.out == ""


@pytest.mark.slow
def test_a_run_that_is_being_trained_is_refused_in_one_line(home: Path, process: Run) -> None:
    running = begin(*COMMAND, "--name", "busy", "--steps", "3000")
    wait_for(lambda: checkpoints(home, "busy"), running)
    other = process(*COMMAND, "--name", "busy", "--steps", "3000")
    assert other.code == 2
    assert "being trained by another process" in other.error
    running.terminate()
    assert ended(running).code == 143


@pytest.mark.slow
def test_a_killed_process_ends_the_command_and_the_same_command_goes_on(home: Path, process: Run) -> None:
    """First the second of two processes is killed, then the first one, then it may end."""
    for rank, least in ((1, 1), (0, 100)):
        running = begin(*COMMAND, "--name", "killed")
        wait_for(partial(reached, home, "killed", least), running)
        os.kill(members(running)[rank], signal.SIGKILL)
        then = time.monotonic()
        result = ended(running, 30)
        print(f"process {rank} killed: {time.monotonic() - then:.2f} s: {result.err}")  # noqa: T201
        assert time.monotonic() - then < 10
        assert result.code in (7, 137)
        assert result.out == ""
        assert "the same command goes on" in result.error or "was ended by SIGKILL" in result.error
    done = process(*COMMAND, "--name", "killed", "--json", OMP_NUM_THREADS="1")
    assert json.loads(done.out)["resumed_at"] >= 100
    assert done.err == ""
    whole = process(*COMMAND, "--name", "whole", "--json", OMP_NUM_THREADS="1")
    assert digest(done) == digest(whole)
    assert not list(home.rglob("*.partial"))
    plain = process(*COMMAND, "--name", "whole", OMP_NUM_THREADS="1")
    assert plain.code == 0
    assert "whole@1 is there already" in plain.out
    assert plain.err == ""


@pytest.mark.slow
def test_a_full_disk_is_one_line_of_two_processes_too(tmp_path: Path, process: Run) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        for more in ([], ["--shard"]):
            result = process(*COMMAND, *more, AIGC_HOME=str(disk / "home"), OMP_NUM_THREADS="1")
            assert result.code == 8, result.err
            assert "no space left on device; free some space" in result.error
            assert not list(disk.rglob("*.partial"))
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_by_all_processes(home: Path, process: Run) -> None:
    running = begin(*COMMAND, "--name", "damaged")
    wait_for(lambda: len(checkpoints(home, "damaged")) > 1, running)
    running.kill()
    ended(running)
    time.sleep(1)
    before, last = checkpoints(home, "damaged")[-2:]
    os.truncate(last, 1000)
    done = process(*COMMAND, "--name", "damaged", "--json", OMP_NUM_THREADS="1")
    assert json.loads(done.out)["resumed_at"] == int(before.stem)
    assert digest(done) == digest(process(*COMMAND, "--name", "w", "--json", OMP_NUM_THREADS="1"))


@pytest.mark.slow
def test_torchrun_restarts_a_training_where_it_was(home: Path, process: Run) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    command = [a for a in COMMAND if a not in ("--processes", "2")]
    running = begin(*command, "--name", "restarted", "--json", torchrun=torchrun)
    wait_for(lambda: checkpoints(home, "restarted"), running)
    os.kill(members(running)[1], signal.SIGKILL)
    done = ended(running)
    assert done.code == 0, done.err
    assert json.loads(done.out)["resumed_at"] > 0
    whole = process(*COMMAND, "--name", "whole", "--json", OMP_NUM_THREADS="1")
    assert digest(done) == digest(whole)
    assert len(list(home.glob("store/versions/restarted@*.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vae/conv", "gan/mlp"])
def test_a_model_that_is_shared_out_is_kept_whole(model: str, home: Path, process: Run) -> None:
    """It is killed and goes on; its checkpoints can be gone on with by one process, and its weights are a file
    like any other."""
    command = ["train", model, "--data", "digits", "--steps", "80", "--batch-size", "16", "--json"]
    command += ["--checkpoint-every", "10"]
    two = [*command, "--processes", "2", "--shard"]
    for name in ("killed", "drifted"):
        running = begin(*two, "--name", name)
        wait_for(partial(checkpoints, home, name), running)
        running.kill()
        ended(running)
        state = load_state(checkpoints(home, name)[0])
        assert state["step"] % 10 == 0
    done = process(*two, "--name", "killed", OMP_NUM_THREADS="1")
    assert json.loads(done.out)["resumed_at"] >= 10
    assert digest(done) == digest(process(*two, "--name", "whole", OMP_NUM_THREADS="1"))
    refused = process(*command, "--name", "drifted", OMP_NUM_THREADS="1")
    assert refused.code == 2
    assert "processes 2 -> 1" in refused.error
    assert "shard True -> False" in refused.error
    drifted = process(*command, "--name", "drifted", "--allow-drift", OMP_NUM_THREADS="1")
    assert json.loads(drifted.out)["resumed_at"] >= 10
    record = aigc_core.load("drifted").record["training"]
    assert record["drift"] == ["processes 2 -> 1", "shard True -> False"]
    drawn = aigc_core.sample("killed", count=3)
    assert drawn is not None
    assert drawn.array.shape == (3, 8, 8, 1)


def test_moments_are_laid_out_as_their_parameters() -> None:
    """A state of a model that was shared out, whose layers lie otherwise, is gone on with by a plain one."""
    first = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    engine = AccelerateEngine(0, 2, 10, cpu=True)
    pictures = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)

    def step(layer: torch.nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        engine.backward(layer(pictures).square().mean())
        optimizer.step()
        (weight, _) = layer.parameters()
        return weight

    optimizer = engine.optimizer(torch.optim.Adam(first.parameters(), 0.1, fused=True))
    step(first, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    for moments in state["state"].values():
        moments.update({name: value.contiguous() for name, value in moments.items()})
    second = copy.deepcopy(first)
    other = engine.optimizer(torch.optim.Adam(second.parameters(), 0.1, fused=True))
    other.load_state_dict(state)
    for _ in range(3):
        assert torch.equal(step(first, optimizer), step(second, other))
