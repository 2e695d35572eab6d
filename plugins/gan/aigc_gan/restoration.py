"""Pictures restored by a search for the latent that makes what is known of them."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_gan.config import RestoreOptions
from aigc_gan.networks import LatentGenerator


class Restore(Sampler[LatentGenerator, RestoreOptions]):
    """The latent whose picture is nearest to the given one where that is known (Yeh et al. 2017, arXiv:1607.07539).

    The best of many latents are each improved by Adam, and the best of these is taken. Every sample is searched
    for by itself, with latents of its own stream. With a mask what is known stays as it was given; without one
    the whole picture is the generator's nearest. Where a conditional model is not told the label, the candidates
    are of all classes in turn.
    """

    def sample(self, generator: LatentGenerator, block: Block) -> Tensor:
        images, options = block.images, self.options
        assert images is not None
        fill = torch.zeros_like(images[:, :1]) if block.masks is None else block.masks
        z = block.randn(max(options.candidates, options.restarts), generator.latent)
        result = torch.zeros_like(images)
        for row in block.rows:
            label = None if block.labels is None else int(block.labels[row])
            with torch.inference_mode(False), torch.enable_grad():
                search = Search(generator, images[row].clone(), 1 - fill[row].clone(), label, options)
                made, error = search.best(z[row].clone())
            result[row] = made
            block.note(row, error=round(error, 6))
        if block.masks is not None:
            result = torch.where(fill > 0, result, images)
        return result


class Search:
    """The search for one picture."""

    def __init__(
        self,
        generator: LatentGenerator,
        image: Tensor,
        known: Tensor,
        label: int | None,
        options: RestoreOptions,
    ) -> None:
        """image: [C, H, W]; known: [1, H, W], 1 where it counts; label: of the picture, if it is known."""
        self.generator, self.options, self.label = generator, options, label
        dtype = next(generator.parameters()).dtype
        self.image, self.known = image.to(dtype), known.to(dtype)
        self.pixels = max(1.0, float(self.known.sum()) * len(image))

    def best(self, z: Tensor) -> tuple[Tensor, float]:
        """The picture [C, H, W] of the best latent, and the mean squared error of its known pixels; z: [M, latent]
        where to begin."""
        z = z.to(self.image.dtype)
        labels = self.labels(len(z))
        with torch.no_grad():
            errors = torch.cat([self.errors(part, of) for part, of in _pieces(z, labels)])
        first = errors.argsort(stable=True)[: self.options.restarts]
        z, labels = z[first], None if labels is None else labels[first]
        z = self.improved(z, labels)
        with torch.no_grad():
            made = self.generator(z, labels)
            errors = self.error(made)
        row = int(errors.argmin())
        return made[row], float(errors[row])

    def labels(self, count: int) -> Tensor | None:
        """[count] the label, or each class in turn; None for a model without classes."""
        classes = self.generator.classes
        if not classes:
            return None
        numbers = torch.arange(count, device=self.image.device) % classes
        return numbers if self.label is None else torch.full_like(numbers, self.label)

    def error(self, made: Tensor) -> Tensor:
        """[N] the mean squared error of the known pixels of pictures [N, C, H, W]."""
        return ((made - self.image).square() * self.known).flatten(1).sum(1) / self.pixels

    def errors(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.error(self.generator(z, labels))

    def improved(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Latents [N, latent] after Adam's steps (Kingma and Ba 2015), each by itself; the step falls to 0."""
        z = z.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], self.options.lr, betas=(0.9, 0.99))
        for step in range(self.options.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.options.lr * (1 - step / self.options.steps)
            loss = self.errors(z, labels).sum() + self.options.prior * z.square().mean(1).sum()
            (z.grad,) = torch.autograd.grad(loss, z)
            optimizer.step()
        return z.detach()


def _pieces(z: Tensor, labels: Tensor | None, size: int = 64) -> list[tuple[Tensor, Tensor | None]]:
    """Latents and their labels, `size` at a time: large pictures take much memory."""
    parts = torch.split(z, size)
    return list(zip(parts, [None] * len(parts) if labels is None else torch.split(labels, size), strict=True))
