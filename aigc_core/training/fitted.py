"""What samplers are fitted to when a training ends, to be kept beside the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aigc_core.errors import BackendError
from aigc_core.seeds import derive
from aigc_core.training.parallel import whole
from aigc_core.training.sheets import evaluating
from aigc_core.weights.reading import DTYPES

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.interfaces import Generator, Trainer
    from aigc_core.specs import ModelSpec
    from aigc_core.weights.file import Fitted

    Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


def fit_samplers(
    trainer: Trainer[Any, Any],
    spec: ModelSpec,
    generator: Generator[Any],
    data: Dataset,
    seed: int,
    track: Track,
) -> Fitted:
    """Asks the trainer, as `Trainer.fitted` promises it. Where networks are shared out, all processes must ask.

    Raises BackendError for an answer that can't be kept; whatever the trainer raises.
    """
    torch.manual_seed(derive(seed, "fitted"))
    with evaluating(generator), torch.no_grad():
        found = trainer.fitted(generator, data, seed=seed, track=track)
    if problem := _problem(found, spec):
        raise BackendError(f"{type(trainer).__name__}.fitted of {spec.id} returned {problem}")
    return {s: {name: whole(tensor) for name, tensor in parts.items()} for s, parts in found.items()}


def _problem(found: Any, spec: ModelSpec) -> str:
    """What is wrong with an answer, in words; empty for nothing."""
    if not isinstance(found, Mapping):
        return f"{type(found).__name__}, not tensors by sampler and name"
    for sampler, parts in found.items():
        declared = spec.samplers.get(sampler)
        if declared is None or not declared.fitted:
            return f"something for {sampler!r}, which is no sampler that declares fitted=True"
        if not isinstance(parts, Mapping) or not parts:
            return f"for {sampler!r} no tensors by name"
        for name, tensor in parts.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
                return f"for {sampler!r}, as {name!r}, no tensor that can be kept but {type(tensor).__name__}"
            if tensor.is_floating_point() and not bool(torch.isfinite(whole(tensor)).all()):
                return f"for {sampler!r} a tensor {name!r} that is not finite"
    return ""
