"""Low-rank adapters of a GPT's matrices (Hu et al. 2021, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aigc_core.errors import UsageError
from aigc_text.gpt import GPT
from aigc_text.language import Drop, LanguageModel


class Adapter(nn.Module):
    """What is added to a matrix [outs, ins]: up @ down, of a rank; nothing at first."""

    def __init__(self, ins: int, outs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.down = nn.Linear(ins, rank, bias=False)
        self.up = nn.Linear(rank, outs, bias=False)
        nn.init.zeros_(self.up.weight)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.up(self.down(x)) * self.scale
        return added


class Adapted(nn.Module):
    """A GPT that stays as it is, and an adapter for each matrix of its blocks: those alone are trained."""

    def __init__(self, generator: LanguageModel, rank: int, alpha: float) -> None:
        """Raises UsageError if the generator has no such matrices, or the rank is none for them."""
        super().__init__()
        if not isinstance(generator, GPT):
            raise UsageError("lora is for text/gpt alone; leave it out")
        self.kind, self.generator = type(generator), generator.requires_grad_(False)
        self.adapters = nn.ModuleDict()
        for name, matrix in generator.blocks.named_modules(prefix="blocks"):
            if isinstance(matrix, nn.Linear):
                outs, ins = matrix.weight.shape
                if rank >= min(ins, outs):
                    raise UsageError(
                        f"lora of rank {rank} is no smaller than {name}, {outs}x{ins}; choose a rank below "
                        f"{min(ins, outs)}"
                    )
                adapter = Adapter(ins, outs, rank, alpha).to(matrix.weight.device)
                self.adapters[name.replace(".", "/")] = adapter
                matrix.register_forward_hook(lambda _, given, out, adapter=adapter: out + adapter(given[0]))

    def forward(self, tokens: Tensor, drop: Drop | None = None) -> Tensor:
        logits: Tensor = self.generator(tokens, drop)
        return logits

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name of the matrix in the generator's state: (down [r, ins], up [outs, r]), the scale within up."""
        return {
            f"{name.replace('/', '.')}.weight": (
                adapter.down.weight.detach(), adapter.up.weight.detach() * adapter.scale
            )
            for name, adapter in self.adapters.items()
            if isinstance(adapter, Adapter)
        }  # fmt: skip

    def merged(self) -> GPT:
        """The generator with the adapters in its matrices. What is as it was shares its memory."""
        state, factors = self.generator.state_dict(), self.factors()
        with torch.random.fork_rng():
            plain: GPT = self.kind(self.generator.config, self.generator.data)
        plain.load_state_dict({n: merge(t, factors.get(n)) for n, t in state.items()}, assign=True)
        return plain.requires_grad_(False).eval()


def merge(matrix: Tensor, factors: tuple[Tensor, Tensor] | None) -> Tensor:
    """A matrix [outs, ins] with its adapter, where it has one."""
    return matrix if factors is None else matrix + factors[1] @ factors[0]
