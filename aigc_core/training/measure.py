"""What a training will cost, from a few steps that are really made and then forgotten."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from aigc_core.data.batches import Batches
from aigc_core.registry import blame
from aigc_core.training.parallel import held

if TYPE_CHECKING:
    from aigc_core.progress import Progress
    from aigc_core.training.engine import AccelerateEngine
    from aigc_core.training.plan import Plan

WARM: Final = 3
"""Steps before the clock starts: the first ones allocate and plan."""

SHARE: Final = 0.08
"""Of a budget, what measuring it may take, and at most `LONGEST` seconds."""

LONGEST: Final = 10.0

PLACES: Final = 1000
"""As how many steps a run is taken whose length is to be found."""

ENDING: Final = 0.5
"""Seconds for what comes after the last step."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of one step, on this machine at this moment."""

    seconds: float
    flops: int
    """Multiplications and additions of matrix products, convolutions and attention, forward and backward."""
    memory: int
    """Bytes that this process, or its GPU, needed at most."""
    state: int
    """Bytes of parameters, optimizer state and averages that this process holds."""


def measure(plan: Plan, engine: AccelerateEngine, seconds: float, progress: Progress) -> Measured:
    """Trains a scratch copy for about so many seconds. All processes must call it. Raises BackendError.

    The steps are taken from all over the run, at even distances: a trainer may do one thing first, and then another.
    """
    total = plan.steps or PLACES
    engine.set_total(total)
    with torch.random.fork_rng(), blame(plan.model.backend, f"while measuring {plan.model.spec.id}"):
        generator = plan.build().to(engine.device).train()
        engine.set_up()
        trainer = plan.model.trainer(generator, plan.options, engine)
        rows = [engine.chunk(part) for part in range(engine.parts)]
        batches = Batches(plan.dataset, engine.batch_size, plan.seed, generator.output, engine.device)

        def steps(start: int, count: int) -> float:
            then = time.perf_counter()
            for number, parts in enumerate(batches.shares(start, start + count, rows), start):
                place = start + (number - start) * (total - start) // count
                for part, batch in enumerate(parts):
                    engine.begin(min(place, total - 1), part)
                    with engine.part(part):
                        metrics = trainer.step(batch)
                bar.update(1)
            engine.mean_of(metrics)  # waits for the device
            return (time.perf_counter() - then) / count

        with progress.bar(0, f"measuring {plan.model.spec.id}", "step") as bar:
            with Flops() as counter:  # type: ignore[no-untyped-call]
                steps(0, 1)
            one = engine.told(steps(1, WARM))
            count = max(1, min(1000, round(seconds / one)))
            pace = engine.told(steps(1 + WARM, count))
        state = held(trainer.state_dict())
    engine.forget()
    return Measured(pace, counter.total * engine.processes, _memory(engine.device), state)


def steps_within(
    plan: Plan, budget: float, engine: AccelerateEngine, progress: Progress, began: float
) -> int:
    """The steps that fit into what is left of a budget, at least one; the same in all processes."""
    pace = measure(plan, engine, min(SHARE * budget, LONGEST), progress).seconds
    left = budget - (time.perf_counter() - began) - ENDING
    steps: Any = engine.told(max(1, int(left / pace)))
    return int(steps)


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as torch's FlopCounterMode does, without its hooks on modules, which `autograd.grad` can't pass."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **kwargs, out_val=result))
        return result


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
