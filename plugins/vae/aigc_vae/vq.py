"""The vector-quantised VAE (van den Oord et al. 2017, arXiv:1711.00937), with a prior over its codes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output
from aigc_vae.config import VQConfig
from aigc_vae.vq_codebook import nearest
from aigc_vae.vq_coder import decoder, encoder
from aigc_vae.vq_prior import CodePrior, log_likelihood


class Passed(NamedTuple):
    """What a pass in training gives; what was not asked for is zero."""

    squared_error: Tensor
    """Of the reconstructions, the mean over all pixels, 0-d."""
    commitment: Tensor
    """The mean square of the encoder's distance to its codes, 0-d."""
    nats: Tensor
    """-log p(code), the mean over all places, 0-d."""
    vectors: Tensor
    """What the encoder made, [N, T, D], detached."""
    codes: Tensor
    """[N, T]"""


class VQVAE(Generator[VQConfig]):
    """Pictures in [0, 1] as a grid of codes, T = rows * columns, and back.

    The picture is halved until its grid is no more than `grid` wide and high; what is missing to a whole number of
    cells is filled with its edge, and cropped again.
    """

    codebook: Tensor
    variance: Tensor
    """Of a pixel given the codes, 0-d: the mean square of what the decoder is wrong by."""

    def __init__(self, config: VQConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        channels, height, width = data.shape
        self.levels: int = 1
        while -(-max(height, width) // 2**self.levels) > config.grid:
            self.levels += 1
        cell: int = 2**self.levels
        self.rows: int = -(-height // cell)
        self.columns: int = -(-width // cell)
        # Half as wide at the finest level than at all others: it is where the time goes.
        widths = [config.width, *[2 * config.width] * (self.levels - 1)]
        self.encoder = encoder(channels, widths, config.blocks, config.code_size)
        self.decoder = decoder(channels, widths, config.blocks, config.code_size)
        self.register_buffer("codebook", torch.zeros(config.codes, config.code_size))
        self.register_buffer("variance", torch.tensor(1 / 12))
        self.prior = CodePrior(
            config.codes, self.rows, self.columns, config.prior_width, config.prior_heads, config.prior_layers
        )
        self.to(memory_format=torch.channels_last)

    @property
    def output(self) -> Output:
        return Output("image", self.data.shape, 0.0, 1.0)

    @property
    def places(self) -> int:
        """T, the codes of a picture."""
        return self.rows * self.columns

    def vectors(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W] to what the encoder makes of them, [N, T, D] in the precision of x."""
        made: Tensor = self.encoder(self._whole(x).contiguous(memory_format=torch.channels_last))
        vectors = made.to(x.dtype).permute(0, 2, 3, 1).reshape(len(x), self.places, -1)
        # Of one length, so that the codebook need not follow the encoder's scale.
        return F.layer_norm(vectors, vectors.shape[2:])

    def _whole(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W], or masks, filled up to whole cells."""
        cell = 2**self.levels
        padding = (0, self.columns * cell - x.shape[3], 0, self.rows * cell - x.shape[2])
        return F.pad(x, padding, mode="replicate") if any(padding) else x

    def cells(self, masks: Tensor) -> Tensor:
        """[N, T]: which cells of the grid the masks [N, 1, H, W] touch."""
        return F.max_pool2d(self._whole(masks), 2**self.levels).flatten(1) > 0

    def encode(self, x: Tensor) -> Tensor:
        """Pictures [N, C, H, W] to codes [N, T] in 0 .. codes - 1, row by row of the grid."""
        vectors = self.vectors(x)
        return nearest(vectors.flatten(0, 1), self.codebook).view(vectors.shape[:2])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, T] to pictures [N, C, H, W] in [0, 1]."""
        return self.paint(self.codebook[codes]).clamp(0, 1)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures [N, C, H, W] through their codes and back, in [0, 1]; it knows of no labels."""
        return self.decode(self.encode(x))

    def paint(self, vectors: Tensor) -> Tensor:
        """[N, T, D] to pictures [N, C, H, W], not yet clamped: a sigmoid, once it is saturated, learns no more."""
        grid = vectors.view(len(vectors), self.rows, self.columns, -1).permute(0, 3, 1, 2)
        made: Tensor = self.decoder(grid)
        return 0.5 + made[:, :, : self.data.shape[1], : self.data.shape[2]]

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """[N]: an upper bound of -log p(x) of pictures [N, C, H, W], in nats a picture: -log p(codes) - log p(x | codes)
        for the codes that the encoder names, which is the negative ELBO of its q(codes | x). The pixels are normal
        about what the decoder makes, with `variance`."""
        codes = self.encode(x)
        error = (self.decode(codes) - x).square().flatten(1).sum(1)
        pixels = 0.5 * x[0].numel() * torch.log(2 * math.pi * self.variance) + error / (2 * self.variance)
        return pixels - log_likelihood(self.prior(codes).to(x.dtype), codes)

    def forward(self, x: Tensor, reconstruct: bool, model_codes: bool) -> Passed:
        """One pass in training: of the autoencoder, of the prior, or of both."""
        zero = x.new_zeros(())
        with torch.set_grad_enabled(reconstruct):
            vectors = self.vectors(x)
        codes = nearest(vectors.detach().flatten(0, 1), self.codebook).view(vectors.shape[:2])
        error = commitment = nats = zero
        if reconstruct:
            quantised = self.codebook[codes].to(vectors.dtype)
            commitment = F.mse_loss(vectors, quantised)
            # Straight through: the decoder's gradient is the encoder's (section 3.2).
            made = self.paint(vectors + (quantised - vectors).detach())
            error = F.mse_loss(made.to(x.dtype), x)
        if model_codes:
            nats = F.cross_entropy(self.prior(codes).flatten(0, 1).to(x.dtype), codes.flatten())
        return Passed(error, commitment, nats, vectors.detach(), codes)
