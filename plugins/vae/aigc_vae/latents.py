"""Data sets through a model: the latents of what it was trained on, for samplers that draw with what is known of them,
and what is to be said of pictures one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aigc_vae.vae import VAE
from aigc_vae.vq import VQVAE

if TYPE_CHECKING:
    from aigc_core.data import Dataset

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]

MOST: Final = 20_000
"""Pictures that are encoded, at most."""
LEAST: Final = 2_000
"""And at least, where there are so many, however large they are."""
VALUES: Final = 1 << 25
"""Numbers that all those pictures have, at most, unless they are fewer than LEAST."""
PIECE: Final = 250
"""Pictures that are encoded together."""


@dataclass(frozen=True)
class Latents:
    """Of some pictures of a data set, chosen at random where it has very many."""

    means: Tensor
    """[N, D] of q(z|x)"""
    draws: Tensor
    """[N, D] from q(z|x): together they are of the aggregate posterior."""
    labels: Tensor | None
    """[N], where the data have classes."""


def latents_of(generator: VAE, data: Dataset, *, seed: int, track: Track) -> Latents:
    """generator: in evaluation mode. What is drawn at random follows from the seed."""
    stream = torch.Generator().manual_seed(seed % 2**63)
    fitting = max(LEAST, min(MOST, VALUES // math.prod(data.info.shape)))
    index = torch.randperm(len(data), generator=stream)[:fitting].sort().values
    device = generator.variance.device
    means, draws, labels = [], [], []
    pieces = torch.split(index, PIECE)
    for piece in track(pieces, len(pieces), "latents"):
        items, label = data.fetch(piece)
        label = None if label is None else label.to(device)
        x = pixels(items.to(device), generator)
        mean, log_variance = generator.encode(x, label if generator.classes else None)
        noise = torch.randn(mean.shape, generator=stream).to(device, mean.dtype)
        means.append(mean)
        draws.append(mean + noise * (0.5 * log_variance).exp())
        if label is not None:
            labels.append(label)
    return Latents(torch.cat(means), torch.cat(draws), torch.cat(labels) if labels else None)


def class_means(latents: Latents, classes: int) -> dict[str, Tensor]:
    """`means` [classes, D] of the latents of each class, float32, and `counts` [classes]: of how many they are."""
    size = latents.means.shape[1]
    sums = latents.means.new_zeros(classes, size, dtype=torch.float64)
    counts = torch.zeros(classes, dtype=torch.int64, device=sums.device)
    if latents.labels is not None and classes:
        sums.index_add_(0, latents.labels, latents.means.double())
        counts = torch.bincount(latents.labels, minlength=classes)
    return {"means": (sums / counts.clamp_min(1)[:, None]).float(), "counts": counts}


def over(
    generator: VAE | VQVAE, data: Dataset, index: Tensor, piece: int,
    judge: Callable[[Tensor, Tensor | None, torch.Generator], Tensor], seed: int, track: Track, name: str,
) -> Tensor:  # fmt: skip
    """[N, ...]: what `judge` says of the pictures [N] of a data set, `piece` at a time. It is given pictures in 0 .. 1, their
    labels if the model is told of classes, and a stream of random numbers; `name` is shown with the progress."""
    stream = torch.Generator().manual_seed((seed + 1) % 2**63)
    pieces: Iterable[Tensor] = track(torch.split(index, piece), -(-len(index) // piece), name)
    told = isinstance(generator, VAE) and generator.classes
    found = []
    for part in pieces:
        items, labels = data.fetch(part)
        x = pixels(items.to(generator.variance.device), generator)
        found.append(judge(x, labels.to(x.device) if labels is not None and told else None, stream))
    return torch.cat(found)


def pixels(items: Tensor, generator: VAE | VQVAE) -> Tensor:
    """Pictures uint8 [N, C, H, W] as the model takes them: in 0 .. 1, in its own precision."""
    return items.to(generator.variance.dtype) / 255
