"""What all diffusion models share: they tell pictures from noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from aigc_core.data.captions import words_of
from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Block, Generator
from aigc_core.specs import DataInfo, Output
from aigc_diffusion.config import DenoiserConfig
from aigc_diffusion.text import TextEncoder, encode

C = TypeVar("C", bound=DenoiserConfig)
SMALLEST: Final = 1e-4
"""The deviation that pictures are taken to have at least: they may all be alike."""


class Condition(NamedTuple):
    """What a network is told of each picture, of what it can be told at all."""

    labels: Tensor | None
    """[N] int64; the number of classes for nothing."""
    tokens: Tensor | None
    """[N, L] int64: see `aigc_diffusion.text.encode`; nothing but zeros for nothing."""


class Denoiser(Generator[C]):
    """D(x; sigma), the mean of the pictures that x may come from, where x is one of them and noise of deviation sigma
    (Karras et al. 2022, arXiv:2206.00364).

    All is in units of the data: x = (picture - mean) / deviation, as they were measured, the mean of each channel; so that
    sigma = 1 is as much noise as picture. Samplers know D alone.
    """

    mean: Tensor

    def __init__(self, config: C, data: DataInfo) -> None:
        """Raises DataError where labels or texts are asked for and the data have none."""
        super().__init__(config, data)
        worded = bool(data.classes) or "words" in data.assets
        if config.condition == "label" and not data.classes:
            raise DataError(
                "condition=label needs data with classes, and these have none; put each class into a folder of its own, or "
                "leave the option out"
            )
        if config.condition == "text" and not worded:
            raise DataError(
                "condition=text needs pictures with captions, or classes whose names tell, and these have neither; give "
                "-d captions=FILE, or leave the option out"
            )
        self.classes = len(data.classes) if config.condition in ("auto", "label") else 0
        self.texts = worded and config.condition in ("auto", "text")
        mean = data.details.get("mean", [0.0] * data.shape[0])
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.deviation = max(SMALLEST, float(data.details.get("deviation", 0.5)))

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape)

    def nothing(self, count: int, device: torch.device) -> Condition:
        """What says nothing, for so many pictures."""
        labels = torch.full((count,), self.classes, device=device) if self.classes else None
        tokens = torch.zeros(count, 1, dtype=torch.int64, device=device) if self.texts else None
        return Condition(labels, tokens)

    def asked(self, block: Block) -> Condition:
        """What is asked for by labels and prompts. Without either nothing is told of given pictures, and new ones are of each
        class in turn. Raises UsageError for what the model can't be told."""
        if block.labels is not None and not self.classes:
            raise UsageError(
                "these weights were trained without labels; train on data with classes, or leave out --label"
            )
        if block.prompts is not None and not self.texts:
            raise UsageError(
                "these weights were trained without texts; train on data with captions or classes, or leave out --prompt"
            )
        labels, tokens = self.nothing(block.size, block.device)
        if block.prompts is not None:
            tokens = encode(block.prompts).to(block.device)
            for row in block.rows:
                if unknown := self.unknown(block.prompts[row]):
                    block.note(row, unknown_words=unknown)
        if block.labels is not None:
            labels = block.labels
        elif self.classes and block.prompts is None and block.images is None:
            labels = block.labels_of(self.classes)
        return Condition(labels, tokens)

    def unknown(self, prompt: str) -> list[str]:
        """The words of a prompt that were in no caption."""
        words = self.data.assets.get("words")
        if words is None:
            known = {word for name in self.data.classes for word in words_of(name)}
        else:
            known = {*words.decode().split("\n")}
        return [word for word in words_of(prompt) if word not in known]

    @abstractmethod
    def network(self, x: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """[N, C, H, W] to the same; noise: [N], the logarithm of sigma. x has variance 1, and so has what is wanted."""

    def forward(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """What the network says of noisy pictures x [N, C, H, W], sigma [N]: see `coefficients`."""
        scale = self.coefficients(sigma.view(-1, 1, 1, 1))[2]
        return self.network(x * scale, sigma.log(), condition)

    def denoise(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """D(x; sigma) for pictures x [N, C, H, W], sigma [N]."""
        skip, out, _ = self.coefficients(sigma.view(-1, 1, 1, 1))
        said: Tensor = self(x, sigma, condition)
        return skip * x + out * said.to(x.dtype)

    def target(self, clean: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """What the network should say of x, which comes from `clean`."""
        skip, out, _ = self.coefficients(sigma.view(-1, 1, 1, 1))
        return (clean - skip * x) / out

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(skip, out, scale) of sigma: D = skip x + out network(scale x).

        edm: those for which what the network is given and what it should say have variance 1 (Karras et al. 2022, table 1,
        for data of deviation 1). flow: the network says noise minus picture, of a point on the line from the picture to
        the noise, t = sigma / (1 + sigma) of the way (Liu et al. 2023, arXiv:2209.03003).
        """
        if self.config.parametrisation == "flow":
            return 1 / (1 + sigma), -sigma / (1 + sigma), 1 / (1 + sigma)
        total = (1 + sigma.square()).sqrt()
        return total**-2, sigma / total, 1 / total

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [N, C, H, W] in [-1, 1] in units of the data."""
        return (pictures - self.mean) / self.deviation

    def decode(self, x: Tensor) -> Tensor:
        """And back, in [-1, 1]."""
        return (x * self.deviation + self.mean).clamp(-1, 1)


def fourier(noise: Tensor, size: int) -> Tensor:
    """[N] to [N, size]: sines and cosines of logarithms of noise levels, from slow ones to fast ones."""
    frequencies = torch.logspace(-1.5, 1.2, size // 2, device=noise.device, dtype=noise.dtype)
    angles = 2 * torch.pi * noise[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


class Embedding(nn.Module):
    """What the network is told beside x: how noisy it is, and the condition."""

    def __init__(self, size: int, classes: int, texts: bool) -> None:
        super().__init__()
        self.features = size // 2
        self.noise = nn.Sequential(nn.Linear(self.features, size), nn.SiLU(), nn.Linear(size, size))
        # One more for what is not told.
        self.label = nn.Embedding(classes + 1, size) if classes else None
        self.text = TextEncoder(size) if texts else None

    def forward(self, noise: Tensor, condition: Condition) -> Tensor:
        """noise: [N]; to [N, size]."""
        told: Tensor = self.noise(fourier(noise, self.features))
        if self.label is not None:
            told = told + self.label(condition.labels).to(told.dtype)
        if self.text is not None:
            told = told + self.text(condition.tokens).to(told.dtype)
        return told
