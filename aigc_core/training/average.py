"""Exponential moving averages of a generator."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from aigc_core.training.parallel import local

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch import Tensor

    from aigc_core.interfaces import Generator
    from aigc_core.training.engine import AccelerateEngine


class ExponentialAverage:
    """avg <- avg + (1 - beta)(x - avg), with beta = 2^(-batch / half_life).

    While few items have been seen, the half-life is a share of them at most, `ramp` (Karras et al. 2020, StyleGAN2's
    warm-up), so that the initialisation is forgotten. Parameters and floating point buffers are averaged;
    other buffers (counters) are copied. Of a sharded generator each process averages its own part.
    """

    def __init__(
        self,
        generator: Generator[Any],
        half_life: float,
        ramp: float,
        engine: AccelerateEngine,
        whole: Callable[[dict[str, Tensor]], Generator[Any]] | None = None,
    ) -> None:
        """whole: for a sharded generator, builds a plain one from its tensors."""
        self._half_life, self._ramp = half_life, ramp
        self._engine, self._whole = engine, whole
        theirs = _tensors(generator)
        if whole is None:
            self._generator = copy.deepcopy(generator).eval().requires_grad_(False)
            mine = _tensors(self._generator)
        else:
            mine = {name: tensor.detach().clone() for name, tensor in theirs.items()}
        self._mine = mine
        pairs = [(local(mine[name]), local(theirs[name])) for name in theirs]
        self._averaged = [(a, b) for a, b in pairs if a.is_floating_point()]
        self._copied = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @property
    def generator(self) -> Generator[Any]:
        if self._whole is not None:
            return self._whole(self._mine)
        return self._generator

    @torch.no_grad()
    def update(self) -> None:
        if not self._engine.updates:
            return
        batch_size = self._engine.batch_size
        seen = (self._engine.step + 1) * batch_size
        beta = 0.5 ** (batch_size / max(min(self._half_life, self._ramp * seen), 1e-8))
        mine, theirs = [a for a, _ in self._averaged], [b for _, b in self._averaged]
        torch._foreach_lerp_(mine, theirs, 1 - beta)
        for a, b in self._copied:
            a.copy_(b)

    def state_dict(self) -> dict[str, Tensor]:
        return self._mine if self._whole is not None else self._generator.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self._whole is None:
            self._generator.load_state_dict(state)
            return
        from aigc_core.training.sharding import like

        for name, tensor in self._mine.items():
            local(tensor).copy_(local(like(state[name], tensor)))


def _tensors(generator: Generator[Any]) -> dict[str, Tensor]:
    """Parameters and buffers by name, detached; each tensor once."""
    return {name: t.detach() for name, t in [*generator.named_parameters(), *generator.named_buffers()]}
