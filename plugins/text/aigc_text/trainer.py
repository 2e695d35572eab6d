"""How a language model is fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.errors import UsageError
from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer
from aigc_text.config import LanguageTraining
from aigc_text.language import LanguageModel
from aigc_text.lora import Adapted
from aigc_text.muon import Muon


class LanguageTrainer(Trainer[LanguageModel, LanguageTraining]):
    """Muon and AdamW on the cross entropy of each token of a window, given those before it.

    The learning rate rises, then falls along a cosine. With `lora` adapters alone are trained, by AdamW.
    """

    def __init__(self, generator: LanguageModel, options: LanguageTraining, engine: Engine) -> None:
        """Raises UsageError for a generator of 8 bits, or adapters that it has no place for."""
        super().__init__(generator, options, engine)
        if getattr(generator.config, "weights", "float32") == "int8":
            raise UsageError("weights of 8 bits can't be trained; leave out weights=int8")
        whole: nn.Module = Adapted(generator, options.lora, options.lora_alpha) if options.lora else generator
        self.network = engine.prepare(whole)
        self.drop = engine.dropout(options.dropout)
        stacked = generator.stacks() if options.optimizer == "muon" and not options.lora else {}
        if options.lora and any(hasattr(p, "full_tensor") for p in self.network.parameters()):
            raise UsageError("--shard does not go with lora, whose adapters are small; leave one of them out")
        named = {n: p for n, p in engine.unwrap(self.network).named_parameters() if p.requires_grad}
        rest = [p for name, p in named.items() if name not in stacked]
        groups = [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        betas = (options.beta1, options.beta2)
        self.optimizer = self._prepared(
            torch.optim.AdamW([g for g in groups if g["params"]], options.lr, betas, fused=True)
        )
        self.muon = None
        if stacked:
            parts = [(named[name], count) for name, count in stacked.items()]
            self.muon = self._prepared(Muon(parts, options.lr, weight_decay=options.weight_decay))

    def _prepared(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        # As a hook of the optimizer, since it steps only when the parts of a batch have been added up.
        if self.options.clip:
            optimizer.register_step_pre_hook(self._shorten)
        return self.engine.optimizer(optimizer)

    def _shorten(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Shortens a gradient that is too long."""
        longest, scale = self.options.clip, getattr(optimizer, "grad_scale", None)
        if scale is not None:  # of gradients in float16: a fused optimizer takes it out by itself
            longest *= float(scale)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, longest)

    def step(self, batch: Batch) -> Metrics:
        optimizers = [o for o in (self.optimizer, self.muon) if o is not None]
        rate = self.options.lr * self.schedule(self.engine.step / self.engine.total_steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
        with self.engine.autocast():
            logits = self.network(batch.x[:, :-1], self.drop if self.options.dropout else None)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(logits.flatten(0, 1), batch.x[:, 1:].flatten())
        self.engine.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        return {"loss": loss.detach()}

    def schedule(self, progress: float) -> float:
        """The share of the peak learning rate at a share of the steps: up to 1, and down to `final_lr`."""
        warmup, final = self.options.warmup, self.options.final_lr
        if progress < warmup:
            return (progress + 1 / self.engine.total_steps) / (warmup + 1 / self.engine.total_steps)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def adapters(self) -> Mapping[str, tuple[Tensor, Tensor]] | None:
        adapted = self.engine.unwrap(self.network)
        return adapted.factors() if isinstance(adapted, Adapted) else None

    def result(self) -> Generator[Any]:
        adapted = self.engine.unwrap(self.network)
        return adapted.merged() if isinstance(adapted, Adapted) else self.generator

    def _stateful(self) -> dict[str, Any]:
        found, adapted = super()._stateful(), self.engine.unwrap(self.network)
        if isinstance(adapted, Adapted):
            del found["generator"], found["network"]  # the generator stays that of the weights it came from
            found["adapters"] = adapted.adapters
        return found
