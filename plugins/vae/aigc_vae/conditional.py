"""The VAE that is told classes."""

from __future__ import annotations

from aigc_core.errors import DataError
from aigc_core.specs import DataInfo
from aigc_vae.config import ConvConfig
from aigc_vae.conv import ConvVAE


class ConditionalVAE(ConvVAE):
    """p(x|y): encoder and decoder are told the class (Sohn et al. 2015), so that the latent holds what is left."""

    config: ConvConfig

    def __init__(self, config: ConvConfig, data: DataInfo) -> None:
        """Raises DataError for data without classes."""
        if not data.classes:
            raise DataError("vae/conditional needs data with classes, and these have none; take vae/conv")
        super().__init__(config, data, len(data.classes))
