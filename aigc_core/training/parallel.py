"""What many processes that share a batch need beyond accelerate."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm

from aigc_core.errors import BackendError, TrainingError

PARTING: Final = 2.0
"""Seconds that a process which was left waits before it says so: the other's reason is the one to hear."""


@contextlib.contextmanager
def together(processes: int) -> Iterator[None]:
    """Within the block the end of another process is a TrainingError."""
    try:
        yield
    except (RuntimeError, distributed.DistError, BackendError) as error:
        if processes == 1 or "gloo" not in str(error).lower():
            raise
        time.sleep(PARTING)
        raise TrainingError(
            "another process of this training has gone; the same command goes on from the last checkpoint"
        ) from error


def join_again(cpu: bool) -> None:
    """Joins the processes that torchrun has started anew. Its store still holds the addresses of those before,
    so theirs get a name of their own."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or distributed.is_initialized():
        return
    store, rank, count = next(iter(rendezvous("env://")))
    distributed.init_process_group(
        "gloo" if cpu else None,
        store=distributed.PrefixStore(f"attempt {attempt}", store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=count,
    )


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        whole = value.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        whole = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole)
        return whole


def _sum(value: Tensor) -> Tensor:
    whole: Tensor = _Sum.apply(value)
    return whole


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation over the parts of all processes (Ioffe and Szegedy 2015, algorithm 1), anywhere: torch's
    SyncBatchNorm needs a GPU. All parts are of one size."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            normal: Tensor = super().forward(x)
            return normal
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        processes = distributed.get_world_size()
        mean = _sum(values.mean(axes)) / processes
        variance = _sum((values - mean.view(shape)).square().mean(axes)) / processes
        if self.training and self.running_mean is not None and self.running_var is not None:
            self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1] * processes)
        normal = (values - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)


def share_batch_statistics(module: nn.Module) -> None:
    """Makes every batch normalisation below a module one over the whole batch, in place; names and state stay."""
    for name, child in list(module.named_children()):
        if isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm):
            setattr(module, name, _shared(child))
        else:
            share_batch_statistics(child)


def _shared(norm: _BatchNorm) -> nn.Module:
    first = next(iter([*norm.parameters(), *norm.buffers()]), None)
    if first is not None and first.is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    new = GlobalBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    new._parameters, new._buffers, new.training = norm._parameters, norm._buffers, norm.training
    return new


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is shared out (a DTensor, whose module takes two seconds to import);
    any other as it is."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is shared out, here; all processes must ask for it. Any other as it is."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Gives an optimizer's moments the memory layout of their parameters, which fused ones take for granted: a
    state may come from a run that laid them out otherwise."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            moment = isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape
            if moment and not hasattr(value, "to_local") and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def held(state: Any) -> int:
    """The bytes that this process holds of the tensors in a nested state."""
    if isinstance(state, Tensor):
        return local(state).nbytes
    if isinstance(state, Mapping):
        return sum(held(v) for v in state.values())
    return sum(held(v) for v in state) if isinstance(state, list | tuple) else 0
