"""The network of the VAEs: convolutions over time, ever coarser, to a latent and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from aigc_audio.blocks import Block


class Encoder(nn.Module):
    """[N, channels, length] and a class to the mean and log variance of the latent."""

    def __init__(
        self,
        channels: int,
        length: int,
        widths: Sequence[int],
        strides: Sequence[int],
        latent: int,
        classes: int,
    ) -> None:
        """widths: of the layers, from the finest; strides: before each of them, even; their product divides length.
        classes: 0 for a network that is told none."""
        super().__init__()
        first = strides[0]
        self.enter = nn.Conv1d(channels, widths[0], 2 * first, first, padding=first // 2)
        self.classes = nn.Embedding(classes, widths[0]) if classes else None
        layers: list[nn.Module] = []
        for stride, a, b in zip(strides[1:], widths, widths[1:], strict=False):
            layers += [Block(a), Coarser(a, b, stride)]
        self.layers = nn.Sequential(*layers, Block(widths[-1]), nn.LayerNorm(widths[-1]), nn.Flatten())
        self.leave = nn.Linear(widths[-1] * (length // math.prod(strides)), 2 * latent)

    def forward(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.enter(x).transpose(1, 2)
        if self.classes is not None:
            features = features + self.classes(labels)[:, None]
        mean, log_variance = self.leave(self.layers(features)).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """A latent [N, latent] and a class to [N, channels, length]."""

    def __init__(
        self,
        channels: int,
        length: int,
        widths: Sequence[int],
        strides: Sequence[int],
        latent: int,
        classes: int,
    ) -> None:
        """As `Encoder`."""
        super().__init__()
        self.grid = (length // math.prod(strides), widths[-1])
        self.enter = nn.Linear(latent, math.prod(self.grid))
        self.classes = nn.Embedding(classes, math.prod(self.grid)) if classes else None
        layers: list[nn.Module] = [Block(widths[-1])]
        for stride, a, b in reversed(list(zip(strides[1:], widths, widths[1:], strict=False))):
            layers += [Finer(b, a, stride), Block(a)]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(widths[0]))
        first = strides[0]
        self.leave = nn.ConvTranspose1d(widths[0], channels, 2 * first, first, padding=first // 2)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        grid = self.enter(z)
        if self.classes is not None:
            grid = grid + self.classes(labels)
        made: Tensor = self.leave(self.layers(grid.view(-1, *self.grid)).transpose(1, 2))
        return made


class Coarser(nn.Module):
    """[N, time, a] to [N, time / stride, b]: each piece of time becomes one step."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.stride, self.norm, self.layer = stride, nn.LayerNorm(a), nn.Linear(a * stride, b)

    def forward(self, x: Tensor) -> Tensor:
        pieces: Tensor = self.layer(self.norm(x).reshape(len(x), x.shape[1] // self.stride, -1))
        return pieces


class Finer(nn.Module):
    """The way back: [N, time, a] to [N, time * stride, b]."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.stride, self.norm, self.layer = stride, nn.LayerNorm(a), nn.Linear(a, b * stride)

    def forward(self, x: Tensor) -> Tensor:
        pieces: Tensor = self.layer(self.norm(x)).reshape(len(x), x.shape[1] * self.stride, -1)
        return pieces
