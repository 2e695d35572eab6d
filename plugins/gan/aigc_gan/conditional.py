"""The GAN that is told which class to make, with a projection critic (Miyato and Koyama 2018, arXiv:1802.05637)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aigc_core.errors import DataError
from aigc_core.specs import DataInfo
from aigc_gan.config import ConditionalConfig
from aigc_gan.dcgan import DCGAN, DCGANCritic
from aigc_gan.networks import Critic, CriticLayers


class ConditionalGAN(DCGAN):
    """The convolutional generator, whose latent is joined by a vector that is learned for each class."""

    config: ConditionalConfig

    def __init__(self, config: ConditionalConfig, data: DataInfo) -> None:
        if not data.classes:
            raise DataError("gan/conditional needs the names of classes, and the data has none")
        super().__init__(config, data)
        self.classes = len(data.classes)
        self.embedding = nn.Embedding(self.classes, config.embedding)

    @property
    def inputs(self) -> int:
        return self.config.latent + self.config.embedding

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, latent] and labels [N] int64 to [N, C, H, W] in [-1, 1]."""
        assert labels is not None
        return super().forward(torch.cat([z, self.embedding(labels)], 1))

    def critic(self, layers: CriticLayers) -> Critic:
        return DCGANCritic(self.config, self.data, layers, self.classes)
