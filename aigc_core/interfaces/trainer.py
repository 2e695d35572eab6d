"""What fits a generator, and is thrown away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from torch import nn

from aigc_core.interfaces.batch import Batch
from aigc_core.interfaces.engine import Engine
from aigc_core.interfaces.generator import Generator
from aigc_core.options import TrainingOptions

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.data.dataset import Dataset

Metrics = Mapping[str, "Tensor"]
"""Names to 0-d tensors, detached, still on the device: reading one is a host synchronisation, which is
the loop's to decide. `loss` is the one that a progress bar shows first, where there is one."""

G = TypeVar("G", bound=Generator[Any])
T = TypeVar("T", bound=TrainingOptions)


class Trainer(ABC, Generic[G, T]):
    """Owns everything that fitting needs and sampling does not: critics, optimizers, averages, schedules.

    Construct those in `__init__` as attributes. Whatever among them has `state_dict` and `load_state_dict`
    is checkpointed; anything else that changes while training must be put into such an object, or be a
    function of `engine.step`.
    """

    def __init__(self, generator: G, options: T, engine: Engine) -> None:
        self.generator = generator
        self.options = options
        self.engine = engine

    @abstractmethod
    def step(self, batch: Batch) -> Metrics:
        """One step: forward, backward and optimizer steps of all networks that are fitted.

        Random values come from `self.engine.randn` or from torch's global stream, which the loop seeds
        from (seed, step) before each step.
        """

    def samples(self) -> Tensor | None:
        """What the generator made in the last step, [N, *shape] in the output's range, detached; None for a
        trainer that makes nothing while it trains. When all of them come out alike, training has collapsed."""
        return None

    def adapters(self) -> Mapping[str, tuple[Tensor, Tensor]] | None:
        """For a training that began from weights (`--from`), and whose result is to be kept as what it added to
        them: by name of each matrix of the generator's state, (down [r, in], up [out, r]), so that the matrix is
        the one it began with plus up @ down. None where the whole generator is to be kept."""
        return None

    def fitted(
        self,
        generator: Generator[Any],
        data: Dataset,
        *,
        seed: int,
        track: Callable[[Iterable[Any], int, str], Iterable[Any]],
    ) -> Mapping[str, Mapping[str, Tensor]]:
        """What samplers need beside the generator, by sampler and then by name: a mixture fitted to its latents, the
        critic. Kept in the weights file, and handed to the sampler as `Block.fitted`.

        Asked for once, at the end. generator: what `result` returned, in evaluation mode; gradients are off. data: what
        was trained on, whose items come as stored (pictures uint8). seed: the run's; what is drawn at random follows from it.
        track(items, count, label) shows progress. Of several processes the first is asked, or all where networks are shared
        out.
        """
        return {}

    def result(self) -> Generator[Any]:
        """The generator to keep: by default the one that is trained, often its moving average."""
        return self.generator

    def state_dict(self) -> dict[str, Any]:
        """The state of every attribute that has one, by its name."""
        return {name: part.state_dict() for name, part in self._stateful().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned. Raises KeyError if a part is missing."""
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        """By name; what several attributes share, or what is a wrapped form of another, once."""
        found: dict[str, Any] = {}
        seen: set[int] = set()
        for name, part in sorted(vars(self).items()):
            if isinstance(part, nn.Module):
                part = self.engine.unwrap(part)
            stateful = hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
            if name != "engine" and stateful and id(part) not in seen:
                seen.add(id(part))
                found[name] = part
        return found
