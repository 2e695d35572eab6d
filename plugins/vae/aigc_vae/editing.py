"""How a VAE changes given pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_core.errors import UsageError, did_you_mean
from aigc_core.interfaces import Block, Sampler
from aigc_vae.config import AttributeOptions, RestoreOptions
from aigc_vae.samplers import labels_for
from aigc_vae.vae import VAE


class Restore(Sampler[VAE, RestoreOptions]):
    """Fills in what is masked: by turns a latent is drawn for the picture as it stands, and what is masked is replaced by
    what the decoder makes of it (Rezende et al. 2014, appendix F). What is not masked stays as it was given, bit for bit.

    The last half of the rounds takes the mean of q(z|x). Without a mask nothing of a picture is certain: then it goes
    through the latent once, which takes away what the model has never seen, such as noise.
    """

    def sample(self, generator: VAE, block: Block) -> Tensor:
        assert block.images is not None
        given, masks = block.images, block.masks
        if masks is None:
            return self._round(generator, block, given, False)
        hidden = masks > 0.5
        middle = generator.prior(torch.zeros(block.size, generator.latent, device=block.device))
        x = torch.where(hidden, generator.decode(middle, generator.labels_of(block)), given)
        for number in range(self.options.rounds):
            made = self._round(generator, block, x, 2 * number < self.options.rounds)
            x = torch.where(hidden, made, given)
        return x

    def _round(self, generator: VAE, block: Block, x: Tensor, noise: bool) -> Tensor:
        labels = labels_for(generator, block, x)
        mean, log_variance = generator.encode(x, labels)
        if noise:
            mean = mean + block.randn(generator.latent) * (0.5 * log_variance).exp()
        return generator.decode(mean, labels)


class Attribute(Sampler[VAE, AttributeOptions]):
    """Arithmetic in latent space (Larsen et al. 2016): to the latent of a given picture is added what the mean latent of
    one class has more than that of another. A model that is told classes decodes as the one that is gone to.
    """

    def sample(self, generator: VAE, block: Block) -> Tensor:
        assert block.images is not None
        x, means = block.images, block.fitted["means"]
        names = generator.data.classes
        if not names:
            raise UsageError(
                "attribute goes from class to class, and these weights were trained on pictures without classes; "
                "train on a folder that has one folder a class"
            )
        to = self._label(block, names, self.options.to_label, "to_label")
        if to is None:
            to = block.labels_of(len(names)) if generator.classes else _in_turn(block, len(names))
        start = self._label(block, names, self.options.from_label, "from_label")
        if start is None and generator.classes:
            start = generator.likeliest(x)
        z, _ = generator.encode(x, start if generator.classes else None)
        means = means.to(z.dtype)
        if start is None:
            start = self._nearest(z, means, block.fitted["counts"])
        for label in (start, to):
            self._check(label, block.fitted["counts"], names)
        moved = z + self.options.strength * (means[to] - means[start])
        return generator.decode(moved, to if generator.classes else None)

    @staticmethod
    def _label(block: Block, names: tuple[str, ...], name: str, option: str) -> Tensor | None:
        """[size] the class of a name; None for none. Raises UsageError for a name that is no class."""
        if not name:
            return None
        if name not in names:
            hint = did_you_mean(name, list(names)) or f"; there are: {', '.join(names[:20])}"
            raise UsageError(f"{option}: no class {name!r}{hint}")
        return torch.full((block.size,), names.index(name), device=block.device)

    @staticmethod
    def _nearest(z: Tensor, means: Tensor, counts: Tensor) -> Tensor:
        """[N]: whose mean is nearest to each latent."""
        far = (z[:, None] - means).square().sum(2)
        return torch.where(counts > 0, far, torch.inf).argmin(1)

    @staticmethod
    def _check(labels: Tensor, counts: Tensor, names: tuple[str, ...]) -> None:
        for label in labels[counts[labels] == 0].tolist():
            raise UsageError(f"no picture of class {names[label]!r} was trained on; name another class")


def _in_turn(block: Block, classes: int) -> Tensor:
    return torch.tensor([index % classes for index in block.indices], device=block.device)
