"""Trains a model for some steps and writes the metrics of each as JSON: run alone, or by torchrun in several processes.

python shared_steps.py MODEL DATA BATCH_SIZE STEPS OUT [SETTING=VALUE ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from aigc_core.data.batches import Batches
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.parallel import held
from aigc_core.training.plan import plan
from aigc_core.training.settings import Settings


def main(model: str, data: str, batch_size: str, steps: str, out: str, *given: str) -> None:
    settings: dict[str, Any] = {k: json.loads(v) for k, _, v in (text.partition("=") for text in given)}
    options = settings.pop("options", {})
    settings = {"precision": "fp32", "cpu": True, **settings}
    planned = plan(
        model,
        data,
        steps=int(steps),
        options={"batch_size": batch_size, **options},
        settings=Settings(**settings),
    )
    engine = AccelerateEngine(planned.seed, int(batch_size), int(steps), settings=planned.settings)
    generator = planned.build().train()
    trainer = planned.model.trainer(generator, planned.options, engine)
    rows = [engine.chunk(part) for part in range(engine.parts)]
    batches = Batches(planned.dataset, int(batch_size), planned.seed, generator.output, engine.device)
    told: list[dict[str, float]] = []
    for number, parts in enumerate(batches.shares(0, int(steps), rows)):
        sums: dict[str, torch.Tensor] = {}
        for part, batch in enumerate(parts):
            engine.begin(number, part)
            with engine.part(part):
                for name, value in trainer.step(batch).items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.detach() / len(parts)
        told.append(engine.mean_of(sums))
    state = trainer.state_dict()
    kept = engine.whole(trainer.result()).state_dict()
    total = {name: float(tensor.float().abs().sum()) for name, tensor in kept.items()}
    if engine.rank == 0:
        Path(out).write_text(
            json.dumps({"metrics": told, "held": held(state), "kept": total}), encoding="utf-8"
        )
    engine.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
