"""Exponential moving averages of a generator."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch import Tensor

    from aigc_core.interfaces import Generator


class ExponentialAverage:
    """avg <- avg + (1 - beta)(x - avg), with beta = 2^(-batch / half_life).

    While few items have been seen, the half-life is a tenth of them at most (Karras et al. 2020, StyleGAN2's
    warm-up), so that the initialisation is forgotten. Parameters and floating point buffers are averaged;
    other buffers (counters) are copied.
    """

    def __init__(
        self, generator: Generator[Any], half_life: float, batch_size: int, step: Callable[[], int]
    ) -> None:
        self.generator = copy.deepcopy(generator).eval().requires_grad_(False)
        self._half_life, self._batch_size, self._step = half_life, batch_size, step
        pairs = list(zip(self._tensors(self.generator), self._tensors(generator), strict=True))
        self._averaged = [(a, b) for a, b in pairs if a.is_floating_point()]
        self._copied = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @staticmethod
    def _tensors(generator: Generator[Any]) -> list[Tensor]:
        return [*(p.data for p in generator.parameters()), *generator.buffers()]

    @torch.no_grad()
    def update(self) -> None:
        seen = (self._step() + 1) * self._batch_size
        beta = 0.5 ** (self._batch_size / max(min(self._half_life, seen / 10), 1e-8))
        mine, theirs = [a for a, _ in self._averaged], [b for _, b in self._averaged]
        torch._foreach_lerp_(mine, theirs, 1 - beta)
        for a, b in self._copied:
            a.copy_(b)

    def state_dict(self) -> dict[str, Tensor]:
        return self.generator.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.load_state_dict(state)
