"""How pictures are drawn from a VAE."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_vae.config import InterpolateOptions, PriorOptions, ReconstructOptions
from aigc_vae.vae import VAE


class Prior(Sampler[VAE, PriorOptions]):
    """Latents from the standard normal."""

    def sample(self, generator: VAE, block: Block) -> Tensor:
        return generator.decode(block.randn(generator.latent))


class Reconstruct(Sampler[VAE, ReconstructOptions]):
    """Given pictures, through the latent."""

    def sample(self, generator: VAE, block: Block) -> Tensor:
        assert block.images is not None
        mean, log_variance = generator.encode(block.images)
        if self.options.noise:
            mean = mean + block.randn(generator.latent) * (0.5 * log_variance).exp()
        return generator.decode(mean)


class Interpolate(Sampler[VAE, InterpolateOptions]):
    """Great circles between neighbouring samples of the prior.

    Sample i lies on the way from the prior's sample `i // steps` to its next one, `i % steps` parts of
    `steps` along it.
    """

    def sample(self, generator: VAE, block: Block) -> Tensor:
        steps = self.options.steps
        ends = sorted({i // steps + k for i in block.indices for k in (0, 1)})
        z = block.randn_of(ends, generator.latent)
        row = {end: r for r, end in enumerate(ends)}
        a = z[[row[i // steps] for i in block.indices]]
        b = z[[row[i // steps + 1] for i in block.indices]]
        t = torch.tensor([(i % steps) / steps for i in block.indices], device=z.device)[:, None]
        return generator.decode(slerp(a, b, t))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985) of rows a, b [N, D] at t [N, 1]; radii go linearly."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)[:, None]
    angle = torch.acos(cosine).clamp_min(1e-4)
    sine = torch.sin(angle).clamp_min(1e-6)
    return torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b
