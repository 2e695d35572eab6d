"""The networks on both sides of the codes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """x + a 3x3 and a 1x1 convolution of it; begins as the identity. There is no batch normalisation: codes are
    the same in training and after it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.outer(F.silu(self.inner(F.silu(x))))
        return x + made


def encoder(channels: int, widths: list[int], blocks: int, code_size: int) -> nn.Sequential:
    """[N, C, H, W] to [N, code_size, H / 2^levels, W / 2^levels], a strided convolution a level."""
    layers: list[nn.Module] = []
    inner = channels
    for outer in widths:
        layers += [nn.SiLU()] if layers else []
        layers.append(nn.Conv2d(inner, outer, 4, stride=2, padding=1))
        inner = outer
    layers += [Residual(inner) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(inner, code_size, 1))


def decoder(channels: int, widths: list[int], blocks: int, code_size: int) -> nn.Sequential:
    """The way back, to pictures about 0, [N, C, H, W]."""
    inner = widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(code_size, inner, 3, padding=1)]
    layers += [Residual(inner) for _ in range(blocks)]
    for outer in [*reversed(widths[:-1]), channels]:
        layers += [nn.SiLU(), nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1)]
        inner = outer
    return nn.Sequential(*layers)
