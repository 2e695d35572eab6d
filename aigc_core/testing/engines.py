"""An engine for the checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aigc_core.training.engine import AccelerateEngine


class BFloat16Engine(AccelerateEngine):
    """Forward passes in bfloat16, wherever a trainer puts them under `autocast`."""

    @contextmanager
    def autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16):
            yield
