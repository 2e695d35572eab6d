"""How much of held-out pictures an autoencoder keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aigc_core.interfaces import Generator, Metric
from aigc_vae.latents import Track, over
from aigc_vae.vae import VAE
from aigc_vae.vq import VQVAE

if TYPE_CHECKING:
    from aigc_core.data import Dataset

PIECE: Final = 256
"""Pictures that are encoded together."""


class Reconstruction(Metric):
    """The mean squared error of pixels in 0 .. 1 of every picture and what comes back from its latent, for which the mean is
    taken where the model has doubts, and for the whole of the data the peak signal-to-noise ratio in decibels."""

    def measure(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, float]:
        assert isinstance(generator, VAE | VQVAE)

        def judge(x: Tensor, labels: Tensor | None, stream: torch.Generator) -> Tensor:
            return (generator.reconstruct(x, labels) - x).square().flatten(1).mean(1)

        found = over(generator, data, torch.arange(len(data)), PIECE, judge, seed, track, "reconstruction")
        mse = float(found.double().mean())
        return {"mse": mse, "psnr": -10 * math.log10(mse) if mse else math.inf, "pictures": len(found)}
