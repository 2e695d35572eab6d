"""Trains small models for some steps, alone or shared by several processes: many cases in one start.

python -m torch.distributed.run --nproc-per-node 2 shared_cases.py CASES.json OUT.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from helpers import data_of, small_options
from torch import Tensor, distributed, nn

from aigc_core.data.batches import Batches
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.parallel import held
from aigc_core.training.plan import plan
from aigc_core.training.settings import Settings


class Small:
    """A regression of fixed data: with batch statistics, with dropout, with an average over the batch."""

    def __init__(self, kind: str, engine: AccelerateEngine, first: bool) -> None:
        torch.manual_seed(3)
        layers: list[nn.Module] = [
            nn.Linear(6, 32),
            nn.Tanh(),
            nn.Linear(32, 32),
            nn.Tanh(),
            nn.Linear(32, 2),
        ]
        if kind == "normed":
            # without a bias, whose gradient would be nothing but the last bits
            layers[:1] = [nn.Linear(6, 32, bias=False), nn.BatchNorm1d(32)]
        if kind == "pictures":
            layers[:2] = [
                nn.Unflatten(1, (6, 1, 1)),
                nn.ConvTranspose2d(6, 8, 2, bias=False),
                nn.BatchNorm2d(8),
            ]
            layers[3:3] = [nn.ReLU(), nn.Flatten()]
            layers = [*layers[:5], nn.Linear(32, 2)]
        if kind == "dropout":
            layers.insert(2, engine.dropout(0.4))
        self._bare = nn.Sequential(*layers)
        self._mean, self._first, self._engine = kind == "mean", first, engine
        self.network = engine.prepare(self._bare)
        self.optimizer = engine.optimizer(torch.optim.Adam(self.network.parameters(), 1e-2))

    def step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        made = self.network(x + 0.1 * self._engine.randn(*x.shape))
        error = (made - y).square().mean()
        loss = self._engine.mean(error).log() if self._mean else error
        if self._first:
            self.optimizer.zero_grad()
        self._engine.backward(loss)
        self.optimizer.step()
        if not self._first:
            self.optimizer.zero_grad()
        return {"loss": loss.detach()}

    def weights(self) -> dict[str, list[float]]:
        def whole(tensor: Tensor) -> Tensor:
            return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor

        state = self._engine.unwrap(self._bare).state_dict()
        return {name: whole(t).flatten().tolist() for name, t in state.items()}

    def state(self) -> Any:
        return [self._engine.unwrap(self._bare).state_dict(), self.optimizer.state_dict()]


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Losses of each step, and what is left; the same in all processes."""
    settings = Settings(precision="fp32", cpu=True, **case.get("settings", {}))
    batch_size, steps = case.get("batch_size", 64), case.get("steps", 50)
    if case["kind"] == "random":
        return _random(AccelerateEngine(5, batch_size, steps, settings=settings))
    if "/" in case["kind"]:
        torch.set_default_dtype(torch.float64 if case.get("double") else torch.float32)
        try:
            return _registered(case["kind"], batch_size, steps, settings)
        finally:
            torch.set_default_dtype(torch.float32)
    engine = AccelerateEngine(5, batch_size, steps, settings=settings)
    small = Small(case["kind"], engine, case.get("first", True))
    losses = []
    for step in range(steps):
        made = torch.Generator().manual_seed(step)
        x = torch.randn(batch_size, 6, generator=made)
        y = torch.stack([x.prod(1), x.sin().sum(1)], 1)
        sums = torch.zeros(())
        for part in range(engine.parts):
            rows = engine.chunk(part)
            engine.begin(step, part)
            with engine.part(part):
                sums += small.step(x[rows], y[rows])["loss"] / engine.parts
        losses.append(engine.mean_of({"loss": sums}))
    return {"losses": losses, "weights": small.weights(), "held": held(small.state())}


def _registered(model: str, batch_size: int, steps: int, settings: Settings) -> dict[str, Any]:
    planned = plan(
        model,
        data_of(model),
        steps=steps,
        options={"batch_size": batch_size, **small_options(model)},
        settings=settings,
    )
    engine = AccelerateEngine(planned.seed, batch_size, steps, settings=settings)
    generator = planned.build().train()
    engine.set_up()
    trainer = planned.model.trainer(generator, planned.options, engine)
    rows = [engine.chunk(part) for part in range(engine.parts)]
    batches = Batches(planned.dataset, batch_size, planned.seed, generator.output, engine.device)
    losses = []
    for step, shares in enumerate(batches.shares(0, steps, rows)):
        parts = [
            replace(b, x=b.x.to(torch.get_default_dtype()) if b.x.is_floating_point() else b.x)
            for b in shares
        ]
        sums: dict[str, Tensor] = {}
        for part, batch in enumerate(parts):
            engine.begin(step, part)
            with engine.part(part):
                for name, value in trainer.step(batch).items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.detach() / engine.parts
        losses.append(engine.mean_of(sums))
    return {"losses": losses, "weights": {}, "held": held(trainer.state_dict())}


def _random(engine: AccelerateEngine) -> dict[str, Any]:
    """By name the rows of the whole batch, in its order, whoever drew them."""
    dropout, drawn = engine.dropout(0.5).train(), {}
    for part in range(engine.parts):
        rows = engine.chunk(part)
        count = rows.stop - rows.start
        engine.begin(7, part)
        drawn[rows.start] = {
            "first": engine.randn(count, 3).tolist(),
            "twice": engine.randn(2 * count).view(2, count).t().tolist(),
            "dropout": dropout(torch.ones(count, 5)).tolist(),
            "pictures": dropout(torch.ones(count, 2, 2, 2).to(memory_format=torch.channels_last)).tolist(),
            "last": engine.randn(count, 1).tolist(),
        }
    everyone: list[Any] = [drawn]
    if engine.processes > 1:
        everyone = [None] * engine.processes
        distributed.all_gather_object(everyone, drawn)
    parts = {start: values for one in everyone for start, values in one.items()}
    return {name: [row for start in sorted(parts) for row in parts[start][name]] for name in parts[0]}


def main(cases: str, out: str) -> None:
    results = {name: run(case) for name, case in json.loads(Path(cases).read_text(encoding="utf-8")).items()}
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        Path(out).write_text(json.dumps(results), encoding="utf-8")
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
