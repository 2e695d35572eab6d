"""Models that do not fit into one process: their parameters are shared out (FSDP2).

Importing this takes two seconds, so it is imported when it is used.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, distribute_tensor

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Shares a network's parameters out over the processes (FSDP2), layer by layer, in place.

    A layer's parameters are gathered while it computes, and no longer. What is loaded into it is dealt out.
    """
    # It warns of outputs that are views, in case a backend writes into them; torch itself refuses that then.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # the only layout that can be dealt out
    for child in _layers(module):
        fully_shard(child, mesh=mesh)
    fully_shard(module, mesh=mesh)
    module.register_load_state_dict_pre_hook(_deal)  # type: ignore[no-untyped-call]


def gathered(module: nn.Module, processes: int) -> dict[str, Tensor]:
    """The parameters and buffers of a network that is shared out, whole, by name; a gradient of theirs is averaged over
    the processes, as FSDP does, and dealt out to the network's own."""

    def averaged(gradient: Tensor) -> Tensor:
        return gradient / processes

    found = dict(module.named_buffers())
    for name, parameter in module.named_parameters():
        if isinstance(parameter, DTensor):
            full = parameter.full_tensor(grad_placements=[Partial()])
            full.register_hook(averaged)  # type: ignore[no-untyped-call]
            found[name] = full
        else:
            found[name] = parameter
    return found


def _layers(module: nn.Module) -> list[nn.Module]:
    """The modules that hold parameters of their own, innermost first; parametrized ones as a whole."""
    found: list[nn.Module] = []
    for child in module.children():
        if hasattr(child, "parametrizations") or next(child.parameters(recurse=False), None) is not None:
            found.append(child)
        else:
            found += _layers(child)
    return found


def _deal(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, tensor in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
        if prefix + name in state:
            state[prefix + name] = like(state[prefix + name], tensor)


def deal_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's saved state with the moments dealt out as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [n for group in state["param_groups"] for n in group["params"]]
    dealt = {
        number: {
            key: like(v, p) if isinstance(v, Tensor) and v.shape == p.shape and v.dim() else v
            for key, v in state["state"][number].items()
        }
        for number, p in zip(numbers, parameters, strict=True)
        if number in state["state"]
    }
    return {**state, "state": dealt}


def like(whole: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, dealt out as another one is."""
    if not isinstance(tensor, DTensor) or isinstance(whole, DTensor):
        return whole
    return distribute_tensor(
        whole.to(tensor.device).contiguous(), tensor.device_mesh, tensor.placements, src_data_rank=None
    )
