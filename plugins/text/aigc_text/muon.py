"""Muon (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982): momentum, its matrices made orthogonal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; they bring singular values to about 0.7 .. 1.2 within STEPS (Jordan et al. 2024)."""
STEPS: Final = 5


class Muon(torch.optim.Optimizer):
    """For matrices [outs, ins] within a network; their rate is AdamW's: updates have its usual size, 0.2 a value
    (Liu et al. 2025, eq. 4). A matrix that is several, one below the other, is given with their number."""

    def __init__(
        self,
        parts: Iterable[tuple[nn.Parameter, int]],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:
        """parts: matrices, and how many are stacked in each."""
        groups: dict[int, list[nn.Parameter]] = defaultdict(list)
        for matrix, count in parts:
            groups[count].append(matrix)
        super().__init__(
            [{"params": matrices, "parts": count} for count, matrices in groups.items()],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            if not used:
                continue
            for p in used:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            held = [self.state[p]["momentum"] for p in used]
            gradients = [p.grad for p in used]
            torch._foreach_lerp_(held, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, held, group["momentum"])  # Nesterov's
            updates = _orthogonal([whole(m) for m in ahead], group["parts"])
            torch._foreach_mul_(used, 1 - group["lr"] * group["weight_decay"])
            for p, update in zip(used, updates, strict=True):
                p.add_(_like(update, p), alpha=-group["lr"])


def _orthogonal(matrices: list[Tensor], parts: int) -> list[Tensor]:
    """Each part of each matrix nearly orthogonal, and of root mean square 0.2; those of one shape together."""
    shapes: dict[torch.Size, list[int]] = defaultdict(list)
    for number, matrix in enumerate(matrices):
        shapes[matrix.shape].append(number)
    found = list(matrices)
    for (outs, ins), numbers in shapes.items():
        stacked = torch.stack([matrices[n] for n in numbers]).view(-1, outs // parts, ins)
        done = newton_schulz(stacked) * (0.2 * max(outs // parts, ins) ** 0.5)
        for number, update in zip(numbers, done.view(-1, outs, ins), strict=True):
            found[number] = update
    return found


def newton_schulz(x: Tensor) -> Tensor:
    """Matrices [N, a, b] to nearly orthogonal ones of the same singular vectors."""
    a, b, c = COEFFICIENTS
    dtype, tall = x.dtype, x.shape[1] > x.shape[2]
    if dtype == torch.float32 and _has_bfloat16(x.device):
        x = x.to(torch.bfloat16)
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(dtype)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies bfloat16 faster than float32; the iteration needs no more (Jordan et al. 2024)."""
    return device.type != "cpu" or getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is shared out over processes (a DTensor); any other as it is."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def _like(update: Tensor, parameter: Tensor) -> Tensor:
    """A whole update, dealt out as its parameter is."""
    if not hasattr(parameter, "full_tensor"):
        return update
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(
        update,
        parameter.device_mesh,
        parameter.placements,
        src_data_rank=None,  # each process has all of it
    )
