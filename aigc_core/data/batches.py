"""The batches of a run: a function of (seed, items seen) alone, so that any step can be started from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from aigc_core.data.order import permuted
from aigc_core.interfaces.batch import Batch
from aigc_core.modality import modality
from aigc_core.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.data.dataset import Dataset
    from aigc_core.specs import Output


class Batches:
    """Batch k of an endless shuffled pass over a data set, each epoch in an order of its own.

    Small sets are gathered, cast and scaled as whole tensors; sets that must be read from disk are fetched
    a few batches ahead in a thread.
    """

    AHEAD = 3
    LISTED = 1 << 20
    """Items up to which the order of an epoch is held as a list."""

    def __init__(
        self, dataset: Dataset, batch_size: int, seed: int, output: Output, device: torch.device
    ) -> None:
        self.dataset, self.batch_size, self.seed, self.device = dataset, batch_size, seed, device
        self._kind, self._output = modality(dataset.info.modality), output
        self._orders: dict[int, Tensor] = {}

    def indices(self, step: int) -> Tensor:
        """[batch_size] int64: the items of step `step`, counted from 0."""
        parts = [self._order(epoch, offset, take) for epoch, offset, take in self._epochs(step)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def phases(self, step: int) -> Tensor:
        """[batch_size] int64: how the data are cut for each item of step `step`, which is another way each epoch."""
        ways = self.dataset.phases
        return torch.cat(
            [
                torch.full((take,), derive(self.seed, "phase", epoch) % ways if ways > 1 else 0)
                for epoch, _, take in self._epochs(step)
            ]
        )

    def _epochs(self, step: int) -> Iterator[tuple[int, int, int]]:
        """The epochs that a step is in: their numbers, the first place in each, and how many."""
        position, count = step * self.batch_size, len(self.dataset)
        end = position + self.batch_size
        while position < end:
            epoch, offset = divmod(position, count)
            take = min(count - offset, end - position)
            yield epoch, offset, take
            position += take

    def _order(self, epoch: int, offset: int, take: int) -> Tensor:
        """[take] int64: the items from a place of an epoch on."""
        if len(self.dataset) > self.LISTED:
            places = np.arange(offset, offset + take)
            return torch.from_numpy(permuted(places, len(self.dataset), derive(self.seed, "order", epoch)))
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = torch.randperm(len(self.dataset), generator=generator)
        return self._orders[epoch][offset : offset + take]

    def batch(self, index: Tensor, phase: Tensor | None = None) -> Batch:
        """The items of an index [N] as a trainer is given them: see `Batch.x`. phase: see `Dataset.fetch_shifted`."""
        items, labels = (
            self.dataset.fetch(index) if phase is None else self.dataset.fetch_shifted(index, phase)
        )
        x = self._kind.batch(items.to(self.device), self._output)
        extras = {name: values.to(self.device) for name, values in self.dataset.fetch_extras(index).items()}
        return Batch(x, index.to(self.device), None if labels is None else labels.to(self.device), extras)

    def steps(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps start .. stop - 1."""
        return (parts[0] for parts in self.shares(start, stop, [slice(0, self.batch_size)]))

    def shares(self, start: int, stop: int, rows: Sequence[slice]) -> Iterator[list[Batch]]:
        """Of the batches of steps start .. stop - 1, some rows, in parts."""

        def share(step: int) -> list[Batch]:
            index = self.indices(step)
            if self.dataset.phases == 1:
                return [self.batch(index[part]) for part in rows]
            phase = self.phases(step)
            return [self.batch(index[part], phase[part]) for part in rows]

        if self.dataset.in_memory:
            for step in range(start, stop):
                yield share(step)
            return
        with ThreadPoolExecutor(1, "aigc-data") as pool:
            waiting: list[Future[list[Batch]]] = []
            try:
                for step in range(start, stop):
                    while len(waiting) < self.AHEAD and step + len(waiting) < stop:
                        waiting.append(pool.submit(share, step + len(waiting)))
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()
