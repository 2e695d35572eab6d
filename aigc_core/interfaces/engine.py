"""What the core hands to a trainer: the device, the precision, the random streams, the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from torch import Tensor, nn

    from aigc_core.interfaces.generator import Generator

    _G = TypeVar("_G", bound=Generator)  # type: ignore[type-arg]
    _M = TypeVar("_M", bound=nn.Module)
    _O = TypeVar("_O", bound=torch.optim.Optimizer)


class Average(Protocol):
    """An exponential moving average of a generator's tensors (Karras et al. 2024, section 3.1)."""

    @property
    def generator(self) -> Generator:  # type: ignore[type-arg]
        """The averaged copy, in evaluation mode, on the engine's device."""

    def update(self) -> None:
        """Moves the average towards the generator; call it once after each of its optimizer's steps."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Engine(Protocol):
    """The trainer's view of the loop. A trainer never asks for a device, a seed or a process by itself."""

    @property
    def device(self) -> torch.device:
        """Where batches are, and networks belong."""

    @property
    def step(self) -> int:
        """How many steps are done: 0 during the first one."""

    @property
    def total_steps(self) -> int:
        """How many steps the run has, for schedules."""

    def prepare(self, module: _M) -> _M:
        """A network moved to the device and wrapped for distribution; call the result in `step`, once before
        each backward that gives its parameters gradients."""

    def unwrap(self, module: nn.Module) -> nn.Module:
        """The network that `prepare` was given: call that one where its parameters get no gradients."""

    def gathered(self, module: nn.Module) -> dict[str, Tensor] | None:
        """None, unless a prepared network is shared out: then its parameters and buffers, whole, by name. All processes
        must ask.

        Gradients of gradients can't go through a network that is shared out. They go through one of the same kind that
        is handed these (`torch.func.functional_call`), and so back to the parameters of the prepared one."""

    def optimizer(self, optimizer: _O) -> _O:
        """An optimizer prepared likewise; make it from the parameters of prepared networks."""

    def backward(self, loss: Tensor) -> None:
        """Accumulates the gradients of a loss: use it instead of `loss.backward()`."""

    def autocast(self) -> AbstractContextManager[None]:
        """The run's precision: put forward passes inside."""

    def average(self, generator: _G, half_life: float, ramp: float = 0.1) -> Average:
        """A moving average whose half-life is given in items seen; at first it is no more than `ramp` of those, so that
        the random initialisation is forgotten."""

    def randn(self, *shape: int) -> Tensor:
        """Standard normal values [N, ...] on the device. N is the size of the batch, or k times that for k
        passes one after the other: each item's values depend on (seed, step, its place in the whole batch)
        alone, not on how many processes share it."""

    def dropout(self, p: float) -> nn.Module:
        """A dropout layer for inputs [N, ...], whose masks depend on what `randn` depends on. torch's own
        depends on how many processes share a batch."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a statistic of the batch over all processes, for a loss that is no mean over items. Its
        gradient is the one of this process's part."""
