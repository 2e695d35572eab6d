"""How the network is fitted. All that is made here is thrown away afterwards."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from aigc_core.interfaces import Batch, Engine, Metrics, Trainer
from aigc_template.config import TemplateTraining
from aigc_template.network import TemplateGenerator, shifted


class TemplateTrainer(Trainer[TemplateGenerator, TemplateTraining]):
    """Adam on the cross entropy, in nats a byte."""

    def __init__(self, generator: TemplateGenerator, options: TemplateTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        # What changes while training must be an attribute with a state: then it is in the checkpoint.
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(torch.optim.Adam(self.network.parameters(), options.lr, fused=True))

    def step(self, batch: Batch) -> Metrics:
        with self.engine.autocast():
            logits, _ = self.network(shifted(batch.x))
            loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.x.flatten())
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        self.optimizer.step()
        return {"loss": loss.detach()}  # not read here: that would wait for the device
