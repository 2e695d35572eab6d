"""Sheets of samples from fixed seeds, drawn while a model is trained: the same ones grow better from sheet to sheet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aigc_core.files import write_atomically
from aigc_core.interfaces.sampler import Block
from aigc_core.modality import default_ending, modality

if TYPE_CHECKING:
    from aigc_core.interfaces import Generator
    from aigc_core.registry import Model


class Sheets:
    """`sheets/00000100.png`, by the model's first sampler that needs nothing but the generator and a seed."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._model, self._folder = model, folder
        self._sampler = next(
            (n for n, s in model.spec.samplers.items() if not s.needs and not s.fitted), None
        )

    @property
    def possible(self) -> bool:
        return self._sampler is not None

    def draw(self, generator: Generator[Any], step: int) -> Path:
        """Draws one block of seed 0 and writes it. Raises whatever the sampler does, StorageError."""
        assert self._sampler is not None
        name, spec = self._model.sampler_spec(self._sampler)
        sampler = self._model.sampler(name)(self._model.sampler_config(name)())
        device = next(generator.parameters()).device
        pictures: dict[int, Any] = {}
        with evaluating(generator), torch.inference_mode():
            values = sampler.sample(generator, Block(0, 0, spec.block, device, pictures=pictures))
        output = generator.output
        kind = modality(output.modality)
        record = {"model": self._model.spec.id, "step": step, "sampler": name, "seed": 0, "start": 0,
                  "count": len(values)}  # fmt: skip
        path = self._folder / f"{step:08d}{default_ending(output.modality)}"
        shown = [pictures[row] for row in sorted(pictures)]
        for more, content in kind.encode(kind.samples(values, output), output, record, shown).files.items():
            with write_atomically(Path(f"{path}{more}")) as file:
                file.write(content)
        return path


@contextlib.contextmanager
def evaluating(generator: Generator[Any]) -> Iterator[None]:
    """Within the block a generator is in evaluation mode; afterwards each part is in the mode that it was in."""
    modes = {module: module.training for module in generator.modules()}
    generator.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def sheet_every(steps: int) -> int:
    """The steps between two sheets of a run: about eight in all, none in a short one."""
    return max(100, -(-steps // 8))
