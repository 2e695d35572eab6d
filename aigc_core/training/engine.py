"""The engine that trainers are handed: accelerate underneath."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.accelerator import Accelerator
from torch import nn

from aigc_core.seeds import derive
from aigc_core.training.average import ExponentialAverage

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Average, Generator

    _M = TypeVar("_M", bound=nn.Module)
    _O = TypeVar("_O", bound=torch.optim.Optimizer)


class AccelerateEngine:
    """`aigc_core.interfaces.Engine` on one process.

    All random values of a step are functions of (seed, step): `begin` seeds torch's global stream and the
    engine's own before each one, so that a run can be taken up anywhere.
    """

    def __init__(self, seed: int, batch_size: int, total_steps: int, *, cpu: bool = False) -> None:
        self._accelerator = Accelerator(cpu=cpu)
        self._seed, self._batch_size = seed, batch_size
        self._step, self._total = 0, total_steps
        self._stream = torch.Generator(self.device)

    @property
    def device(self) -> torch.device:
        device: torch.device = self._accelerator.device
        return device

    @property
    def step(self) -> int:
        return self._step

    @property
    def total_steps(self) -> int:
        return self._total

    def begin(self, step: int) -> None:
        """Makes the step to come a function of (seed, step)."""
        self._step = step
        torch.manual_seed(derive(self._seed, "global", step))
        self._stream.manual_seed(derive(self._seed, "randn", step))

    def prepare(self, module: _M) -> _M:
        prepared: _M = self._accelerator.prepare_model(module)
        return prepared

    def optimizer(self, optimizer: _O) -> _O:
        prepared: _O = self._accelerator.prepare_optimizer(optimizer)
        return prepared

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)  # type: ignore[no-untyped-call]

    @contextmanager
    def autocast(self) -> Iterator[None]:
        with self._accelerator.autocast():
            yield

    def average(self, generator: Generator[Any], half_life: float) -> Average:
        return ExponentialAverage(generator, half_life, self._batch_size, lambda: self._step)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._stream, device=self.device)

    def dropout(self, p: float) -> nn.Module:
        return _Dropout(p, self._stream)

    def mean(self, value: Tensor) -> Tensor:
        return value


class _Dropout(nn.Module):
    """Zeroes values with probability p while training, and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float, stream: torch.Generator) -> None:
        super().__init__()
        self.p, self._stream = p, stream

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        mask = torch.empty_like(x).bernoulli_(1 - self.p, generator=self._stream)
        return x * mask.div_(1 - self.p)
