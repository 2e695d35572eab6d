"""How a regularised autoencoder is fitted."""

from __future__ import annotations

from typing import Any

import torch

from aigc_core.interfaces import Batch, Metrics
from aigc_vae.config import RAETraining
from aigc_vae.rae import RAE
from aigc_vae.trainer import LatentTrainer


class RAETrainer(LatentTrainer[RAE, RAETraining]):
    """On the squared error, half the squared norm of latents, and the decoder's regulariser (Ghosh et al. 2020, eq. 11)."""

    def groups(self, generator: RAE) -> list[dict[str, Any]]:
        """With the decoder's matrices apart: the gradient of their l2 norm is the optimizer's to add."""
        matrices = [
            p for part in (generator.project, generator.decoder) for p in part.parameters() if p.ndim > 1
        ]
        apart = {id(p) for p in matrices}
        decay = 2 * self.options.l2 if self.options.regulariser == "l2" else 0.0
        return [
            {"params": [p for p in generator.parameters() if id(p) not in apart]},
            {"params": matrices, "weight_decay": decay},
        ]

    def step(self, batch: Batch) -> Metrics:
        probe = None
        if self.options.regulariser == "gradient":
            probe = self.engine.randn(*batch.x.shape).to(batch.x.dtype)
        with self.engine.autocast():
            logits, z, slope = self.network(batch.x, probe)
        reconstruction = (logits.sigmoid() - batch.x).square().flatten(1).sum(1).mean()
        norm = 0.5 * z.square().sum(1).mean()
        loss = reconstruction + self.options.norm * norm + self.options.gradient * slope
        self.update(loss)
        with torch.no_grad():
            self.remember(self.generator.latent_mean, z.mean(0))
            self.remember(self.generator.latent_square, z.square().mean(0))
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "norm": norm.detach()}
