"""How pictures are drawn from a GAN."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_gan.config import InterpolateOptions, PriorOptions, TopOptions, TruncatedOptions
from aigc_gan.networks import CriticLayers, LatentGenerator


def labels_of(generator: LatentGenerator, block: Block) -> Tensor | None:
    """[size] the labels that are asked for, or each class in turn; None for a model without classes."""
    return block.labels_of(generator.classes) if generator.classes else None


class Prior(Sampler[LatentGenerator, PriorOptions]):
    """Latents from the standard normal."""

    def sample(self, generator: LatentGenerator, block: Block) -> Tensor:
        pictures: Tensor = generator(block.randn(generator.latent), labels_of(generator, block))
        return pictures


class Truncated(Sampler[LatentGenerator, TruncatedOptions]):
    """Latents from the standard normal cut off at the threshold, value by value (Brock et al. 2019,
    arXiv:1809.11096, section 3.1).

    The paper draws again what lies beyond. Here each value keeps its rank: what is so distributed takes one draw.
    """

    def sample(self, generator: LatentGenerator, block: Block) -> Tensor:
        z = truncate(block.randn(generator.latent), self.options.threshold)
        pictures: Tensor = generator(z, labels_of(generator, block))
        return pictures


def truncate(z: Tensor, threshold: float) -> Tensor:
    """Standard normal values as values of the normal distribution between -threshold and threshold."""
    least = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    share = torch.special.ndtr(z.double())
    cut: Tensor = torch.special.ndtri(least + (1 - 2 * least) * share).clamp(-threshold, threshold)
    return cut.to(z.dtype)


class Interpolate(Sampler[LatentGenerator, InterpolateOptions]):
    """Great circles between neighbouring samples of the prior.

    Sample i lies on the way from the prior's sample `i // steps` to its next one, `i % steps` parts of
    `steps` along it. Where no label is asked for, each way has the class of the sample that it begins at.
    """

    def sample(self, generator: LatentGenerator, block: Block) -> Tensor:
        steps = self.options.steps
        ends = sorted({i // steps + k for i in block.indices for k in (0, 1)})
        z = block.randn_of(ends, generator.latent)
        row = {end: r for r, end in enumerate(ends)}
        a = z[[row[i // steps] for i in block.indices]]
        b = z[[row[i // steps + 1] for i in block.indices]]
        t = torch.tensor([(i % steps) / steps for i in block.indices], device=z.device)[:, None]
        labels = block.labels
        if generator.classes and labels is None:
            turns = [i // steps % generator.classes for i in block.indices]
            labels = torch.tensor(turns, device=z.device)
        pictures: Tensor = generator(slerp(a, b, t), labels)
        return pictures


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985) of rows a, b [N, D] at t [N, 1]; radii go linearly."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)[:, None]
    angle = torch.acos(cosine).clamp_min(1e-4)
    sine = torch.sin(angle).clamp_min(1e-6)
    return torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b


class TopByCritic(Sampler[LatentGenerator, TopOptions]):
    """Of some pictures the one that the kept critic holds most likely to be real (after Azadi et al. 2019,
    arXiv:1810.06758, and Sinha et al. 2020, arXiv:2002.06224).

    The candidates of a sample come from its own stream, the first of them is the prior's.
    """

    def sample(self, generator: LatentGenerator, block: Block) -> Tensor:
        labels = labels_of(generator, block)
        best: Tensor | None = None
        highest = torch.empty(0)
        critic = kept_critic(generator, block)
        for _ in range(self.options.candidates):
            pictures: Tensor = generator(block.randn(generator.latent), labels)
            scores = critic(pictures, labels)
            if best is None:
                best, highest = pictures, scores
                continue
            better = scores > highest
            best = torch.where(better.view(-1, 1, 1, 1), pictures, best)
            highest = torch.where(better, scores, highest)
        assert best is not None
        for row in block.rows:
            block.note(row, score=round(float(highest[row]), 4))
        return best


def kept_critic(generator: LatentGenerator, block: Block) -> torch.nn.Module:
    """The critic that was kept with the weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        critic = generator.critic(CriticLayers())
    first = next(generator.parameters())
    critic.to(device=block.device, dtype=first.dtype)
    critic.load_state_dict({name: tensor.to(first.dtype) for name, tensor in block.fitted.items()})
    return critic.eval()
