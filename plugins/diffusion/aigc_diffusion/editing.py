"""What a diffusion model makes of given pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.errors import UsageError
from aigc_core.interfaces import Block, Sampler
from aigc_diffusion import solvers
from aigc_diffusion.config import (
    ImageToImageOptions,
    InterpolateOptions,
    KeepingOptions,
    RefineOptions,
    RestoreOptions,
)
from aigc_diffusion.denoiser import Denoiser
from aigc_diffusion.samplers import guided
from aigc_diffusion.solvers import Denoise

K = TypeVar("K", bound=KeepingOptions)
RHO = 7.0
Project = Callable[[Tensor], Tensor]
"""Of pictures [N, C, H, W] in units of the data the nearest ones that agree with what is known."""


class ImageToImage(Sampler[Denoiser[Any], ImageToImageOptions]):
    """A given picture, as much noise as `strength` says, and back (Meng et al. 2022, arXiv:2108.01073)."""

    def sample(self, generator: Denoiser[Any], block: Block) -> Tensor:
        assert block.images is not None
        options = self.options
        skipped = options.steps - round(options.steps * options.strength)
        sigmas = solvers.karras(options.steps, RHO)[skipped:]
        if len(sigmas) == 1:
            return block.images
        x = generator.encode(block.images) + sigmas[0] * block.randn(*generator.data.shape)
        denoise = guided(generator, generator.asked(block), options.guidance)
        return generator.decode(solvers.multistep(denoise, x, sigmas, lambda: x))


class Keeping(Sampler[Denoiser[Any], K]):
    """What the denoiser says is made to agree with what is known, at each noise level: the part of it that can be told from
    what is known is replaced (Wang et al. 2023, arXiv:2212.00490, eq. 13)."""

    @abstractmethod
    def project(self, generator: Denoiser[Any], given: Tensor, block: Block) -> Project:
        """given: [N, C, H, W] in units of the data."""

    def sample(self, generator: Denoiser[Any], block: Block) -> Tensor:
        assert block.images is not None
        shape, options = generator.data.shape, self.options
        project = self.project(generator, generator.encode(block.images), block)
        inner = guided(generator, generator.asked(block), options.guidance)
        sigmas = solvers.karras(options.steps, RHO)
        made = solvers.repeated(options.eta, options.rounds)(
            lambda x, sigma: project(inner(x, sigma)), sigmas[0] * block.randn(*shape), sigmas,
            lambda: block.randn(*shape),
        )  # fmt: skip
        return generator.decode(made)


class Restore(Keeping[RestoreOptions]):
    """Fills in what is masked; what is not stays as it was given, bit for bit. Without a mask what is known is the picture
    with noise in it, which is taken out."""

    def project(self, generator: Denoiser[Any], given: Tensor, block: Block) -> Project:
        assert block.masks is not None
        hidden = block.masks > 0.5
        return lambda x: torch.where(hidden, x, given)

    def sample(self, generator: Denoiser[Any], block: Block) -> Tensor:
        assert block.images is not None
        if block.masks is not None:
            return torch.where(block.masks > 0.5, super().sample(generator, block), block.images)
        sigma = self.options.noise / generator.deviation
        if not sigma:
            return block.images
        x = generator.encode(block.images)
        denoise = guided(generator, generator.asked(block), self.options.guidance)
        return generator.decode(denoise(x, sigma))


class Refine(Keeping[RefineOptions]):
    """Super-resolution and colours: the mean of each square of pixels is kept, or of the colours of each, or of both; what
    there is beside it is made."""

    def project(self, generator: Denoiser[Any], given: Tensor, block: Block) -> Project:
        factor, (height, width) = self.options.factor, given.shape[2:]
        colours = min(3, given.shape[1]) if self.options.grey else 0

        def coarse(x: Tensor) -> Tensor:
            if colours:
                # A fourth channel is how opaque a pixel is, which is no colour.
                grey = x[:, :colours].mean(1, keepdim=True).expand(-1, colours, -1, -1)
                x = torch.cat([grey, x[:, colours:]], 1)
            means = F.avg_pool2d(x, factor, ceil_mode=True)
            return F.interpolate(means, scale_factor=factor, mode="nearest")[:, :, :height, :width]

        known = coarse(given)
        return lambda x: x + known - coarse(x)


class Interpolate(Sampler[Denoiser[Any], InterpolateOptions]):
    """Great circles between the noise of neighbouring samples, or of two given pictures, taken back to noise along the same
    path (Song et al. 2021, arXiv:2010.02502, section 5.3).

    Sample i lies on the way from the noise of sample `i // stops` to its next one, `i % stops` parts of `stops` along it;
    with pictures on the way from the first to the second and back.
    """

    def sample(self, generator: Denoiser[Any], block: Block) -> Tensor:
        shape, stops = generator.data.shape, self.options.stops
        denoise = guided(generator, generator.asked(block), self.options.guidance)
        sigmas = solvers.karras(self.options.steps, RHO)
        ends = sorted({i // stops + k for i in block.indices for k in (0, 1)})
        if block.images is None:
            noise = dict(zip(ends, block.randn_of(ends, *shape), strict=True))
        else:
            noise = dict(zip(ends, self._inverted(generator, block, ends, denoise, sigmas), strict=True))
        a = torch.stack([noise[i // stops] for i in block.indices])
        b = torch.stack([noise[i // stops + 1] for i in block.indices])
        t = torch.tensor([(i % stops) / stops for i in block.indices], device=a.device)[:, None, None, None]
        x = sigmas[0] * slerp(a, b, t)
        return generator.decode(solvers.heun(0.0)(denoise, x, sigmas, lambda: x))

    def _inverted(
        self, generator: Denoiser[Any], block: Block, ends: list[int], denoise: Denoise, sigmas: list[float]
    ) -> list[Tensor]:
        """Of each end the noise that its picture comes from."""
        images = block.images
        assert images is not None
        if not all(torch.equal(images[row], images[row % 2]) for row in range(block.size)):
            raise UsageError("a walk goes from one picture to another; give --image twice")
        back = [sigma for sigma in reversed(sigmas) if sigma]
        made = solvers.heun(0.0)(denoise, generator.encode(images), back, lambda: images)
        return [made[end % 2] / back[-1] for end in ends]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985) of a, b [N, C, H, W] at t [N, 1, 1, 1]; radii go linearly."""
    cosine = F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1).clamp(-1, 1).view(-1, 1, 1, 1)
    angle = torch.acos(cosine).clamp_min(1e-4)
    sine = torch.sin(angle).clamp_min(1e-6)
    return torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b
