"""The codebook: which code a vector gets, and the moving averages that the codes are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SLOTS = 8
"""Places for a vector of each picture of a batch, among which those to restart codes from are drawn."""


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """[M] int64: the row of the codebook [K, D] that is nearest to each vector [M, D], the first of equals.

    In the precision of the vectors: bfloat16 would often name another code.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        codebook = codebook.to(vectors.dtype)
        # |v - c|^2 less |v|^2, which does not depend on the code.
        distances = torch.addmm(codebook.square().sum(1), vectors, codebook.T, alpha=-2)
    return distances.argmin(1)


class CodebookAverage(nn.Module):
    """Fits a codebook by moving averages of the vectors that got each code (van den Oord et al. 2017, appendix A.1).

    With n_k the share of the batch's vectors that got code k, and s_k their sum, as a share likewise:
    N_k <- decay N_k + (1 - decay) n_k, m_k <- decay m_k + (1 - decay) s_k, and the code is m_k / N_k.

    Codes whose N_k falls below `restart` of the mean, 1 / K, are restarted from vectors of the batch (Dhariwal
    et al. 2020, section 3.1). So are those that were never set: a new codebook is all zeros.

    A batch comes in parts (`add`) and over processes, and all that is kept of it are sums, of which `update`
    takes the mean over the processes: so the codebook does not depend on how a batch is shared. Drawing vectors
    of the batch is a sum as well: each picture throws one into a slot, and the slots that hold one alone count.
    """

    usage: Tensor
    total: Tensor

    def __init__(self, codebook: Tensor, batch_size: int, decay: float, restart: float) -> None:
        """codebook: [K, D], a buffer that `update` writes into. batch_size: pictures, over all processes."""
        super().__init__()
        self.decay, self.restart, self.batch_size = decay, restart, batch_size
        self._codebook = [codebook]  # in a list: it is the generator's to save
        known = (codebook != 0).any(1).to(codebook.dtype) / len(codebook)
        self.register_buffer("usage", known)
        self.register_buffer("total", known[:, None] * codebook)
        self._sums: tuple[Tensor, ...] | None = None

    @torch.no_grad()
    def add(self, vectors: Tensor, codes: Tensor, noise: Tensor) -> None:
        """Counts a part of a batch: vectors [N, T, D], their codes [N, T]; noise [N, 2] is standard normal."""
        count, places, size = vectors.shape
        flat, uniform = vectors.flatten(0, 1), torch.special.ndtr(noise.double())
        n = flat.new_zeros(len(self.usage)).index_add_(0, codes.flatten(), flat.new_ones(count * places))
        s = torch.zeros_like(self.total, dtype=flat.dtype).index_add_(0, codes.flatten(), flat)

        slots = SLOTS * self.batch_size
        slot = (uniform[:, 0] * slots).long().clamp_(max=slots - 1)
        place = (uniform[:, 1] * places).long().clamp_(max=places - 1)
        thrown = torch.cat(
            [vectors[torch.arange(count, device=place.device), place], flat.new_ones(count, 1)], 1
        )
        held = flat.new_zeros(slots, size + 1).index_add_(0, slot, thrown)
        sums: tuple[Tensor, ...] = (n, s, held, flat.new_full((1,), float(count)))
        if self._sums is not None:
            sums = tuple(a + b for a, b in zip(self._sums, sums, strict=True))
        self._sums = sums

    @torch.no_grad()
    def update(self, mean: Callable[[Tensor], Tensor]) -> None:
        """Moves the codebook by what was added since the last time; `mean` is over the processes."""
        if self._sums is None:
            return
        sums, self._sums = self._sums, None
        whole = mean(torch.cat([part.flatten() for part in sums]))
        parts = torch.split(whole, [part.numel() for part in sums])
        n, s, held, count = (part.view_as(before) for part, before in zip(parts, sums, strict=True))
        vectors = n.sum()
        self.usage.lerp_((n / vectors).to(self.usage.dtype), 1 - self.decay)
        self.total.lerp_((s / vectors).to(self.total.dtype), 1 - self.decay)
        self._revive(held * (self.batch_size / count).round())
        codebook = self._codebook[0]
        codebook.copy_(torch.where(self.usage[:, None] > 0, self.total / self.usage[:, None], codebook))

    def _revive(self, held: Tensor) -> None:
        """held [slots, D + 1]: the sum of what is in each slot, and how much that is."""
        dead = ((self.usage < self.restart / len(self.usage)) | (self.usage == 0)).nonzero()[:, 0]
        fresh = held[held[:, -1].round() == 1, :-1].to(self.total.dtype)
        dead = dead[: len(fresh)]
        # Little more than what is dead: a code that gets nothing all the same is soon tried elsewhere.
        start = 1.25 * max(self.restart, 0.01) / len(self.usage)
        self.usage[dead] = start
        self.total[dead] = fresh[: len(dead)] * start
