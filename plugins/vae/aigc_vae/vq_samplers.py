"""How pictures are drawn from a VQ-VAE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.interfaces import Block, Sampler
from aigc_vae.config import VQPriorOptions, VQReconstructOptions, VQRestoreOptions
from aigc_vae.vq import VQVAE
from aigc_vae.vq_prior import pick


class VQPrior(Sampler[VQVAE, VQPriorOptions]):
    """Codes from the prior, one after the other."""

    def sample(self, generator: VQVAE, block: Block) -> Tensor:
        uniform = torch.special.ndtr(block.randn(generator.places).double())

        def choose(place: int, logits: Tensor) -> Tensor:
            return pick(logits, uniform[:, place], self.options.temperature, self.options.top_k)

        return generator.decode(generator.prior.draw(block.size, choose))


class VQReconstruct(Sampler[VQVAE, VQReconstructOptions]):
    """Given pictures, through their codes."""

    def sample(self, generator: VQVAE, block: Block) -> Tensor:
        assert block.images is not None
        return generator.reconstruct(block.images)


class VQRestore(Sampler[VQVAE, VQRestoreOptions]):
    """What a mask leaves out of given pictures, drawn by the prior; every pixel outside the mask stays as it is.

    A cell of the grid is unknown if the mask touches it. The prior reads the grid row by row, so what it draws
    knows only what is above and to the left; therefore several grids are drawn, and the one is kept under which
    the known codes and the known pixels are the likeliest. The encoder sees beyond a cell: known codes are those of
    the picture with what was drawn before in the hole. Without a mask it is the reconstruction.
    """

    def sample(self, generator: VQVAE, block: Block) -> Tensor:
        assert block.images is not None
        x = block.images
        if block.masks is None:
            return generator.reconstruct(x)
        tries, rounds = self.options.tries, self.options.rounds
        uniform = torch.special.ndtr(block.randn(rounds, tries, generator.places).double())
        x, hole = (t.repeat_interleave(tries, 0) for t in (x, block.masks.to(x.dtype)))
        unknown = generator.cells(hole)
        known = (1 - hole).expand_as(x)
        mean = (x * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)
        filled = torch.where(hole > 0, mean, x)
        for number in range(rounds):
            codes, fit = self._drawn(
                generator, generator.encode(filled), unknown, uniform[:, number].flatten(0, 1)
            )
            made = generator.decode(codes)
            filled = torch.where(hole > 0, made.to(x.dtype), x)
        error = ((made - x) * known).square().sum((1, 2, 3))
        fit = fit - error / (2 * generator.variance)
        best = fit.view(-1, tries).argmax(1) + torch.arange(0, len(x), tries, device=x.device)
        return filled[best]

    def _drawn(
        self, generator: VQVAE, given: Tensor, unknown: Tensor, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The given codes [N, T] with the unknown ones drawn; and [N] the log likelihood of the others so."""
        fit = uniform.new_zeros(len(given))

        def choose(place: int, logits: Tensor) -> Tensor:
            nonlocal fit
            drawn = pick(logits, uniform[:, place], self.options.temperature, self.options.top_k)
            told = -F.cross_entropy(logits, given[:, place], reduction="none")
            fit = fit + told.masked_fill(unknown[:, place], 0.0)
            return torch.where(unknown[:, place], drawn, given[:, place])

        return generator.prior.draw(len(given), choose), fit
