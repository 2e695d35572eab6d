"""The network, built from its config and the description of the data alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output
from aigc_template.config import TemplateConfig

START = ord("\n")
"""The byte that a text is taken to follow."""


class TemplateGenerator(Generator[TemplateConfig]):
    """Embedding - GRU - linear: the logits of each byte, given those before it."""

    def __init__(self, config: TemplateConfig, data: DataInfo) -> None:
        super().__init__(config, data)
        self.embedding = nn.Embedding(256, config.width)
        self.recurrent = nn.GRU(config.width, config.width, batch_first=True)
        self.head = nn.Linear(config.width, 256)

    @property
    def output(self) -> Output:
        return Output("text", self.data.shape, 0, 255)

    def forward(self, before: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bytes [N, L] to the logits of the byte after each, [N, L, 256], and the state to go on from."""
        hidden, state = self.recurrent(self.embedding(before), state)
        return self.head(hidden), state


def shifted(x: Tensor) -> Tensor:
    """Texts [N, L] to what comes before each of their bytes."""
    return torch.cat([torch.full_like(x[:, :1], START), x[:, :-1]], dim=1)
