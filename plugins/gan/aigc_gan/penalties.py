"""What keeps a critic smooth: penalties on the gradient of its scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def slopes(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """[N] the squared norm of the gradient of each picture's score, for x [N, C, H, W]; differentiable."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def r1(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Half the mean squared slope at real pictures [N, C, H, W] (Mescheder et al. 2018, arXiv:1801.04406, eq. 9)."""
    return 0.5 * slopes(critic, real).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """The mean squared distance of the slope from 1 between real and made pictures [N, C, H, W], on both sides of 1
    (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3). share: [N] how real each mixture is, 0 to 1."""
    share = share.view(-1, 1, 1, 1)
    between = share * real + (1 - share) * fake
    # The root's own slope is endless at 0, where a critic that has died is.
    return ((slopes(critic, between) + 1e-12).sqrt() - 1).square().mean()
