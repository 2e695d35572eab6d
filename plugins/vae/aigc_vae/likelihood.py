"""How likely held-out pictures are to a VAE."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aigc_core.interfaces import Generator, Metric
from aigc_vae.latents import Track, over
from aigc_vae.vae import VAE, kl_of

if TYPE_CHECKING:
    from aigc_core.data import Dataset

DRAWS: Final = 8
"""Latents a picture, by which the expectation in the ELBO is estimated."""
WEIGHTED: Final = 64
"""Latents a picture in the importance-weighted bound."""
PICTURES: Final = 1_000
"""Of which that one is taken, at most."""
PIECE: Final = 512
"""Latents that are decoded together, roughly."""


class ELBO(Metric):
    """The evidence lower bound (Kingma and Welling 2014, eq. 3), of every picture: the KL term in closed form, the other
    by some latents. It does not depend on the `beta` of the training."""

    def measure(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, float]:
        assert isinstance(generator, VAE)

        def judge(x: Tensor, labels: Tensor | None, stream: torch.Generator) -> Tensor:
            mean, log_variance = generator.encode(x, labels)
            log_joint, _ = _weights(generator, x, labels, mean, log_variance, DRAWS, stream)
            return torch.stack([-log_joint.mean(1), kl_of(mean, log_variance)], dim=1)

        index = torch.arange(len(data))
        found = over(generator, data, index, PIECE // DRAWS, judge, seed, track, "elbo")
        reconstruction, kl = found.double().mean(0).tolist()
        elbo = -reconstruction - kl
        return {"elbo": elbo, "bits_per_dim": _bits(elbo, data), "reconstruction": reconstruction, "kl": kl}


class IWAE(Metric):
    """The importance-weighted bound (Burda et al. 2016, eq. 8): between the ELBO and the evidence, the nearer to this
    the more latents are drawn a picture. Of at most PICTURES pictures, chosen by the seed."""

    def measure(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, float]:
        assert isinstance(generator, VAE)

        def judge(x: Tensor, labels: Tensor | None, stream: torch.Generator) -> Tensor:
            mean, log_variance = generator.encode(x, labels)
            log_joint, log_ratio = _weights(generator, x, labels, mean, log_variance, WEIGHTED, stream)
            return torch.logsumexp(log_joint + log_ratio, dim=1) - math.log(WEIGHTED)

        chosen = torch.Generator().manual_seed(seed % 2**63)
        index = torch.randperm(len(data), generator=chosen)[:PICTURES].sort().values
        found = over(generator, data, index, PIECE // WEIGHTED, judge, seed, track, "iwae").double()
        bound, error = float(found.mean()), float(found.std(correction=0)) / math.sqrt(len(found))
        return {
            f"iwae_{WEIGHTED}": bound, "bits_per_dim": _bits(bound, data), "standard_error": error,
            "pictures": len(found),
        }  # fmt: skip


def _weights(
    generator: VAE, x: Tensor, labels: Tensor | None, mean: Tensor, log_variance: Tensor, draws: int,
    stream: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """log p(x|z) and log p(z) - log q(z|x), each [N, draws], of latents from q(z|x)."""
    noise = torch.randn(len(x), draws, generator.latent, generator=stream).to(mean)
    z = mean[:, None] + noise * (0.5 * log_variance[:, None]).exp()
    repeated = None if labels is None else labels.repeat_interleave(draws)
    logits = generator.decode_logits(z.flatten(0, 1), repeated)
    nats = generator.nats(logits, x.repeat_interleave(draws, dim=0))
    log_ratio = 0.5 * (noise.square() + log_variance[:, None] - z.square()).sum(2)
    return -nats.view(len(x), draws), log_ratio


def _bits(nats: float, data: Dataset) -> float:
    """-log p(x) in bits a number of the picture; of a density over 0 .. 1 it may be negative."""
    return -nats / math.log(2) / math.prod(data.info.shape)
