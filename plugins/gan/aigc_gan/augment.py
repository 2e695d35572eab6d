"""DiffAugment: what a critic sees of few pictures, so that it can't learn them by heart (Zhao et al. 2020,
arXiv:2006.10738, appendix A).

Real and made pictures are changed alike, and the generator's gradient goes through the change. All is a function of
uniform values [N, VALUES], 0 to 1, a row a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

VALUES: Final = 7
"""Uniform values that a picture takes: 3 of colour, 2 of translation, 2 of cutout."""


def colour(x: Tensor, uniform: Tensor) -> Tensor:
    """Brightness by up to 0.5 in [-1, 1] either way, contrast by 0.5 to 1.5; where there are colours, their
    saturation by 0 to 2. uniform: [N, 3]."""
    brightness, saturation, contrast = uniform.view(len(x), 3, 1, 1, 1).unbind(1)
    x = x + (brightness - 0.5)
    if x.shape[1] > 2:
        # A fourth channel is how opaque a pixel is, which is no colour.
        grey = x[:, :3].mean(1, keepdim=True)
        x = torch.cat([grey + (x[:, :3] - grey) * 2 * saturation, x[:, 3:]], 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def translation(x: Tensor, uniform: Tensor) -> Tensor:
    """Moved by up to an eighth either way, along each axis; zeros come in. uniform: [N, 2]."""
    for axis, value in ((2, uniform[:, 0]), (3, uniform[:, 1])):
        size = x.shape[axis]
        most = int(size / 8 + 0.5)
        moved = _whole(value, 2 * most + 1) - most
        places = torch.arange(size, device=x.device) + moved[:, None]
        inside = (places >= 0) & (places < size)
        shape = [len(x), 1, 1, 1]
        shape[axis] = size
        places = places.clamp(0, size - 1).view(shape).expand_as(x)
        x = x.gather(axis, places) * inside.view(shape).to(x.dtype)
    return x


def cutout(x: Tensor, uniform: Tensor) -> Tensor:
    """A box of half the height and width is zero, wherever its middle lies. uniform: [N, 2]."""
    keep = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, value in ((2, uniform[:, 0]), (3, uniform[:, 1])):
        size = x.shape[axis]
        box = int(size / 2 + 0.5)
        first = _whole(value, size + 1 - box % 2) - box // 2
        places = torch.arange(size, device=x.device)[None, :] - first[:, None]
        shape = [len(x), 1, 1, 1]
        shape[axis] = size
        inside = ((places >= 0) & (places < box)).view(shape)
        keep = inside if axis == 2 else ~(keep & inside)
    return x * keep.to(x.dtype)


_PARTS: Final[Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], slice]]] = {
    "colour": (colour, slice(0, 3)),
    "translation": (translation, slice(3, 5)),
    "cutout": (cutout, slice(5, 7)),
}


def augment(x: Tensor, policy: tuple[str, ...], uniform: Tensor) -> Tensor:
    """Pictures x [N, C, H, W] changed by each part of the policy in turn."""
    for name in policy:
        change, columns = _PARTS[name]
        x = change(x, uniform[:, columns].to(x.dtype))
    return x


def _whole(uniform: Tensor, count: int) -> Tensor:
    """[N] int64: 0 .. count - 1, each as likely as the others."""
    return (uniform * count).long().clamp_(0, count - 1)
