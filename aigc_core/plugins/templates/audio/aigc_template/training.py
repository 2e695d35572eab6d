"""How the network is fitted. All that is made here is thrown away afterwards."""

from __future__ import annotations

import torch

from aigc_core.interfaces import Batch, Engine, Metrics, Trainer
from aigc_template.config import TemplateTraining
from aigc_template.network import TemplateGenerator


class TemplateTrainer(Trainer[TemplateGenerator, TemplateTraining]):
    """Adam on the negative ELBO, its KL weighted (Higgins et al. 2017)."""

    def __init__(self, generator: TemplateGenerator, options: TemplateTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        # What changes while training must be an attribute with a state: then it is in the checkpoint.
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(torch.optim.Adam(self.network.parameters(), options.lr, fused=True))

    def step(self, batch: Batch) -> Metrics:
        noise = self.engine.randn(len(batch), self.generator.config.latent)
        with self.engine.autocast():
            reconstruction, kl = self.network(batch.x, noise)
            loss = reconstruction + self.options.kl_weight * kl
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        # Not read here: that would wait for the device.
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}
