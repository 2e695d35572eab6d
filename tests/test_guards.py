"""What happens when training leaves the road: it goes back, takes smaller steps, and at last gives up with what was good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Run

from aigc_core.errors import TrainingError
from aigc_core.registry import default
from aigc_core.training.guards import Diverged, Guards, guard_every, spread
from aigc_core.training.job import Trained, train
from aigc_core.weights.file import load

MODELS = [i for i, spec in default().models.items() if spec.trainer and spec.modality == "image"]


def run_of(home: Path, name: str) -> Path:
    (folder,) = home.glob(f"runs/{name}-*")
    return folder


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Injects something into a trainer's step: `trouble(model, at, what)`; `what(trainer)` returns the metrics to tell,
    or None for the real ones. It happens at step `at` as long as `while_` says so."""

    def inject(model: str, at: int, what: Any, while_: Any = lambda trainer: True) -> None:
        kind = default().load(model).trainer
        real = kind.step

        def step(self: Any, batch: Any) -> Mapping[str, torch.Tensor]:
            metrics = real(self, batch)
            if self.engine.step >= at and while_(self):
                return what(self, metrics) or metrics
            return metrics

        monkeypatch.setattr(kind, "step", step)

    return inject


def spoil(trainer: Any, metrics: Mapping[str, torch.Tensor]) -> None:
    """What a bad batch does: the weights are no numbers from now on."""
    with torch.no_grad():
        for parameter in trainer.generator.parameters():
            parameter.mul_(float("nan"))


def at_full_step(trainer: Any) -> bool:
    return bool(trainer.engine.scale == 1.0)


@pytest.mark.parametrize("model", MODELS)
def test_weights_that_are_no_numbers_at_step_40_are_undone_with_a_smaller_step(
    model: str, trouble: Any, home: Path
) -> None:
    trouble(model, 40, spoil, at_full_step)
    done = train(model, "digits", steps=60, options={"batch_size": 16}, name="n")
    (back,) = done.record["training"]["rollbacks"]
    assert back["to"] == 0
    assert back["scale"] == 0.5
    assert "nan at step 50" in back["reason"]
    assert any("went back to step 0" in remark for remark in done.remarks)
    kept = load(done.path, default()).generator
    assert all(bool(torch.isfinite(p).all()) for p in kept.parameters())


def test_it_goes_back_to_the_last_good_state_and_no_further(trouble: Any, home: Path) -> None:
    trouble("vae/mlp", 140, spoil, at_full_step)
    done = train("vae/mlp", "digits", steps=160, options={"batch_size": 16}, name="n")
    assert [(r["to"], r["scale"]) for r in done.record["training"]["rollbacks"]] == [(100, 0.5)]


def test_a_run_that_goes_back_ends_the_same_if_it_is_interrupted(trouble: Any, home: Path) -> None:
    trouble("vae/mlp", 140, spoil, at_full_step)

    def run(name: str, registry: Any = None) -> Trained:
        return train("vae/mlp", "digits", steps=160, options={"batch_size": 16}, name=name, registry=registry)

    whole = run("whole")
    import signal

    from aigc_core.errors import InterruptedRun
    from aigc_core.testing.checks.runs import _listening
    from aigc_core.testing.subject import Bench

    for moment in (125, 150):  # before the trouble is seen, and after the way back
        seen: list[int] = []

        def stop(event: Any, moment: int = moment, seen: list[int] = seen) -> None:
            if event.kind == "train.rollback":
                seen.append(1)
            if event.kind == "train.log" and event.data["step"] == moment and (moment == 125 or seen):
                signal.raise_signal(signal.SIGINT)

        registry = default()
        bench = Bench(registry, registry.backends["vae"], home)
        with pytest.raises(InterruptedRun):
            run(f"part{moment}", _listening(bench, stop))
        again = run(f"part{moment}")
        assert again.resumed_at >= 100
        assert again.record["tensors_digest"] == whole.record["tensors_digest"]
        assert again.record["training"]["rollbacks"] == whole.record["training"]["rollbacks"]


def test_after_three_times_it_gives_up_and_the_last_good_weights_remain(
    trouble: Any, home: Path, aigc: Run
) -> None:
    trouble("gan/mlp", 140, spoil)
    result = aigc("train", "gan/mlp", "--data", "digits", "--steps", 160, "--batch-size", 16, "--name", "n")
    assert result.code == 7
    assert "is nan at step" in result.error
    assert "after going back 3 times with smaller steps" in result.error
    good = run_of(home, "n") / "last-good.safetensors"
    assert str(good) in result.error
    weights = load(good, default())
    assert all(bool(torch.isfinite(p).all()) for p in weights.generator.parameters())
    assert weights.record["training"]["steps"] == 100
    assert aigc("sample", good, "-n", 4, "--out", home / "x.png").code == 0
    assert not (home / "weights").exists()
    assert "failed" in json.loads((run_of(home, "n") / "run.json").read_text())
    assert aigc("runs", "list").out.count("failed") == 1


def test_on_nan_stop_goes_back_no_time(trouble: Any, home: Path, aigc: Run) -> None:
    trouble("vae/mlp", 40, spoil)
    result = aigc("train", "vae/mlp", "--data", "digits", "--steps", 60, "--name", "n", "--on-nan", "stop")
    assert result.code == 7
    assert "loss is nan at step 50: training has diverged; try a smaller --lr" in result.error
    assert "going back" not in result.error


def test_gradients_that_spoil_the_optimizer_alone_are_seen_before_they_are_kept(
    trouble: Any, home: Path
) -> None:
    def hide(trainer: Any, metrics: Any) -> None:
        """An infinite moment under a gradient of zero: the loss shows nothing of it."""
        state = next(iter(trainer.optimizer.state.values()))
        state["exp_avg_sq"].fill_(float("inf"))

    trouble("vae/mlp", 90, hide, at_full_step)
    done = train("vae/mlp", "digits", steps=120, options={"batch_size": 16}, name="n")
    (back,) = done.record["training"]["rollbacks"]
    assert "not finite at step 100" in back["reason"]


@pytest.mark.parametrize("model", ["gan/mlp", "gan/dcgan"])
def test_a_collapse_is_seen_and_undone(model: str, trouble: Any, home: Path) -> None:
    def flatten(trainer: Any, metrics: Any) -> None:
        """All samples alike, though no loss is out of bounds."""
        with torch.no_grad():
            trainer.fakes = trainer.fakes[:1].expand_as(trainer.fakes)

    trouble(model, 120, flatten, at_full_step)
    done = train(model, "digits", steps=200, options={"batch_size": 16}, name="n")
    (back,) = done.record["training"]["rollbacks"]
    assert "the samples have collapsed: at step 175" in back["reason"]
    assert back["to"] == 100


BOUNDED = ("vae/rae", "vae/vq")
"""Their losses are of pixels in 0 .. 1, without a term that could explode."""


@pytest.mark.parametrize("model", MODELS)
def test_a_learning_rate_of_ten_ends_with_a_reason_or_with_weights_that_are_numbers(
    model: str, home: Path
) -> None:
    try:
        done = train(model, "digits", steps=250, options={"batch_size": 16, "lr": 10.0}, name="n")
    except TrainingError as error:
        told = str(error)
    else:
        back = done.record["training"].get("rollbacks")
        assert back or model in BOUNDED, f"{model} learnt at a rate of 10, or nobody looked"
        kept = load(done.path, default()).generator
        assert all(bool(torch.isfinite(p).all()) for p in kept.parameters())
        return
    assert "after going back 3 times with smaller steps: training has diverged; try a smaller --lr" in told
    assert not (home / "weights").exists()


def test_what_counts_as_an_explosion() -> None:
    guards = Guards()
    for step, value in enumerate((0.7, -3.0, 250.0, 90.0)):
        guards.check(step, {"loss": value, "kl": 1e9})
    with pytest.raises(Diverged, match="loss has exploded to -2.6e\\+04 at step 9, from at most 250"):
        guards.check(9, {"loss": -26000.0})
    with pytest.raises(Diverged, match="kl is inf"):
        guards.check(9, {"kl": float("inf")})


def test_early_steps_may_be_all_alike_and_one_reading_is_no_collapse() -> None:
    guards = Guards()
    for step in (25, 50, 75):
        guards.check(step, {}, 0.0)
    for step, share in ((100, 0.0), (125, 0.0), (150, 0.5), (175, 0.0), (200, 0.0)):
        guards.check(step, {}, share)
    with pytest.raises(Diverged, match="differ by 0.10% of what the data differ by"):
        guards.check(225, {}, 0.001)


def test_guards_remember_over_a_checkpoint() -> None:
    one, two = Guards(), Guards()
    one.check(1, {"a_loss": 5.0}, 1.0)
    one.check(100, {}, 0.0)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert two.state_dict() == one.state_dict()
    assert two.alike == 1


def test_spread_is_a_share_of_the_datas() -> None:
    real = torch.rand(64, 1, 8, 8)
    assert float(spread(real * 0.5, real)) == pytest.approx(0.5, rel=1e-5)
    assert float(spread(real[:1].expand(64, -1, -1, -1), real)) < 1e-6
    assert float(spread(real, torch.zeros(64, 1, 8, 8))) == 1.0
    assert float(spread(real[:1], real)) == 1.0


def test_states_to_go_back_to_depend_on_the_length_alone() -> None:
    assert [guard_every(n) for n in (1, 60, 2000, 2001, 100_000)] == [100, 100, 100, 101, 5000]
