"""How pictures are drawn from a VAE."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_vae.config import (
    InterpolateOptions,
    MixtureOptions,
    PriorOptions,
    ReconstructOptions,
    TwoStageOptions,
)
from aigc_vae.mixture import draw_mixture
from aigc_vae.two_stage import draw_second_stage
from aigc_vae.vae import VAE


class Prior(Sampler[VAE, PriorOptions]):
    """Latents from the prior: the standard normal, of vae/rae a fitted one."""

    def sample(self, generator: VAE, block: Block) -> Tensor:
        z = generator.prior(block.randn(generator.latent))
        return generator.decode(z, generator.labels_of(block))


class Mixture(Sampler[VAE, MixtureOptions]):
    """Latents from a mixture of normal distributions, which was fitted to those of the training's pictures."""

    def sample(self, generator: VAE, block: Block) -> Tensor:
        labels = generator.labels_of(block)
        choice, noise = block.randn(1)[:, 0], block.randn(generator.latent)
        noise = self.options.temperature * noise
        return generator.decode(draw_mixture(block.fitted, labels, choice, noise), labels)


class TwoStage(Sampler[VAE, TwoStageOptions]):
    """Latents that a second VAE makes, which was fitted to those of the training's pictures."""

    def sample(self, generator: VAE, block: Block) -> Tensor:
        labels = generator.labels_of(block)
        u, noise = block.randn(generator.latent), block.randn(generator.latent)
        return generator.decode(draw_second_stage(block.fitted, labels, u, noise), labels)


class Reconstruct(Sampler[VAE, ReconstructOptions]):
    """Given pictures, through the latent. A model that is told classes takes the likeliest, where none is given."""

    def sample(self, generator: VAE, block: Block) -> Tensor:
        assert block.images is not None
        labels = labels_for(generator, block, block.images)
        mean, log_variance = generator.encode(block.images, labels)
        if self.options.noise:
            mean = mean + block.randn(generator.latent) * (0.5 * log_variance).exp()
        return generator.decode(mean, labels)


class Interpolate(Sampler[VAE, InterpolateOptions]):
    """Great circles between neighbouring samples of the prior.

    Sample i lies on the way from the prior's sample `i // steps` to its next one, `i % steps` parts of
    `steps` along it. A model that is told classes keeps to one for each sample: see `Block.labels_of`.
    """

    def sample(self, generator: VAE, block: Block) -> Tensor:
        steps = self.options.steps
        ends = sorted({i // steps + k for i in block.indices for k in (0, 1)})
        z = block.randn_of(ends, generator.latent)
        row = {end: r for r, end in enumerate(ends)}
        a = z[[row[i // steps] for i in block.indices]]
        b = z[[row[i // steps + 1] for i in block.indices]]
        t = torch.tensor([(i % steps) / steps for i in block.indices], device=z.device)[:, None]
        return generator.decode(generator.prior(slerp(a, b, t)), generator.labels_of(block))


def labels_for(generator: VAE, block: Block, images: Tensor) -> Tensor | None:
    """[size]: of given pictures the labels that are given, or the likeliest; None where the model is not told."""
    if not generator.classes:
        return None
    return generator.likeliest(images) if block.labels is None else block.labels


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985) of rows a, b [N, D] at t [N, 1]; radii go linearly."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)[:, None]
    angle = torch.acos(cosine).clamp_min(1e-4)
    sine = torch.sin(angle).clamp_min(1e-6)
    return torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b
