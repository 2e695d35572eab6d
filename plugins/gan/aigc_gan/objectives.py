"""What the two networks play for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from torch import Tensor
from torch.nn import functional as F


class Objective(ABC):
    """The two losses of scores [N], higher for what the critic holds to be real; means over items."""

    @abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss of the scores [N] of real pictures and [N] of made ones."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """The generator's loss of the scores [N] of what it made."""


class Hinge(Objective):
    """Lim and Ye 2017, arXiv:1705.02894, eq. 5."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class NonSaturating(Objective):
    """Goodfellow et al. 2014, arXiv:1406.2661, eq. 1 and the end of section 3."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares(Objective):
    """LSGAN with the targets 0 and 1 (Mao et al. 2017, arXiv:1611.04076, eq. 9)."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Wasserstein(Objective):
    """The critic's estimate of the earth mover's distance (Arjovsky et al. 2017, arXiv:1701.07875, eq. 2)."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


OBJECTIVES: Final[Mapping[str, Objective]] = {
    "hinge": Hinge(),
    "nonsaturating": NonSaturating(),
    "lsgan": LeastSquares(),
    "wgan": Wasserstein(),
}
"""By the name that the option `objective` takes."""
