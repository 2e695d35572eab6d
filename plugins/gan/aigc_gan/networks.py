"""What all GANs of pictures have in common: the generator's interface, how a critic is built, sizes of grids."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from aigc_core.interfaces import Generator
from aigc_core.specs import Output

_M = TypeVar("_M", bound=nn.Module)


@dataclass(frozen=True)
class CriticLayers:
    """How a critic's layers are made. The names of its parameters are the same with and without dropout; spectral
    norm alone changes them."""

    spectral: bool = False
    """Whether every layer has spectral norm 1 (Miyato et al. 2018, arXiv:1802.05957)."""
    dropout: Callable[[], nn.Module] = nn.Identity
    """Makes a layer of dropout each time."""

    def weighted(self, layer: _M) -> _M:
        """A layer with a weight, made ready for use."""
        if self.spectral:
            spectral_norm(layer)
        return layer


class Critic(nn.Module, ABC):
    """A network from pictures [N, C, H, W] to scores [N], higher for what it holds to be real. labels: [N] int64, for
    one that is asked whether a picture is a real one of its class."""

    @abstractmethod
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor: ...


class LatentGenerator(Generator[Any]):
    """A generator that maps latents [N, latent] to pictures [N, C, H, W] in [-1, 1]."""

    latent: int
    classes: int = 0
    """How many classes it must be told of, 0 for none: the labels [N] int64 are the second argument."""

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape, -1.0, 1.0)

    @abstractmethod
    def critic(self, layers: CriticLayers) -> Critic:
        """Its adversary, new."""


def levels(height: int, width: int, grid: int = 7) -> int:
    """How often the picture is halved on the way to the coarsest grid: so that this is nearly `grid` cells
    wide, for 7 that is 4 to 10, and at least one high."""
    most = int(math.log2(min(height, width)))
    return max(1, min(most, round(math.log2(max(height, width) / grid))))


def widths(width: int, count: int) -> list[int]:
    """The channels of `count` layers from the finest to the coarsest: doubled at each, three times at most."""
    return [width << min(level, 3) for level in range(count)]


class FirstConv(nn.Conv2d):
    """The strided convolution of few channels, as a matrix product of its patches.

    Where there are few, a CPU's own kernel takes ten times as long for the gradient of the input, and of one
    channel it can't tell that the channels are last.
    """

    def __init__(self, channels: int, outer: int, kernel: int = 4, stride: int = 2) -> None:
        super().__init__(channels, outer, kernel, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        patches = F.unfold(x, kernel, padding=1, stride=stride).transpose(1, 2)
        features = F.linear(patches, self.weight.flatten(1), self.bias)
        high, wide = ((size + 2 - kernel) // stride + 1 for size in x.shape[2:])
        return features.view(len(x), high, wide, -1).permute(0, 3, 1, 2)


def in_order_of_memory(features: Tensor) -> Tensor:
    """[N, C, H, W] to [N, H*W*C], so that gradients too come back with the channels last."""
    return features.permute(0, 2, 3, 1).flatten(1)


def normal_to_uniform(values: Tensor) -> Tensor:
    """Standard normal values as uniform ones, 0 to 1: the normal's distribution function."""
    uniform: Tensor = torch.special.ndtr(values)
    return uniform
