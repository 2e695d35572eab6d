"""How the generator is fitted. Whatever has a state_dict among the attributes is checkpointed."""

from __future__ import annotations

import torch

from aigc_core.interfaces import Batch, Engine, Metrics, Trainer
from aigc_template.config import TemplateTraining
from aigc_template.network import TemplateGenerator


class TemplateTrainer(Trainer[TemplateGenerator, TemplateTraining]):
    """Adam on the negative ELBO."""

    def __init__(self, generator: TemplateGenerator, options: TemplateTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(torch.optim.Adam(self.network.parameters(), options.lr, fused=True))

    def step(self, batch: Batch) -> Metrics:
        with self.engine.autocast():
            noise = self.engine.randn(
                len(batch), self.generator.latent
            )  # never torch.randn with a seed of yours
            error, kl = self.network(batch.x, noise)
            loss = error + self.options.beta * kl
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        return {"loss": loss.detach(), "reconstruction": error.detach(), "kl": kl.detach()}
