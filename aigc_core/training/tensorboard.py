"""The metrics and sheets of a run for TensorBoard, as `--tensorboard` asks: an optional package."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import UsageError
from aigc_core.files import storage_errors

INSTALL: Final = 'install it: pip install "aigc-core[tensorboard]"'


def require() -> None:
    """Raises UsageError if the package is missing. Imports nothing: it is asked before all else."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError(f"--tensorboard needs the package tensorboard, which is not here; {INSTALL}")


class TensorBoard:
    """Writes event files into a folder; `tensorboard --logdir` shows them, several runs beside each other."""

    def __init__(self, folder: Path, begun: int = 0) -> None:
        """`begun`: the step that the run goes on from. What was written of later steps shows no longer.

        Raises UsageError if the package is missing or cannot be imported, StorageError.
        """
        require()
        self._folder: Final = folder
        self._writer: Any = _open(folder, begun)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Raises StorageError."""
        with storage_errors(self._folder):
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def image(self, step: int, path: Path) -> None:
        """A sheet of samples; what is no PNG is passed over. Raises StorageError."""
        if path.suffix.lower() != ".png":
            return
        import numpy as np
        from PIL import Image

        with storage_errors(self._folder), Image.open(path) as sheet:
            self._writer.add_image("samples", np.asarray(sheet.convert("RGB")), step, dataformats="HWC")

    def rewind(self, step: int) -> None:
        """Training went back to `step`: what was written of later steps shows no longer."""
        with storage_errors(self._folder):
            self._writer.close()
            self._writer = _open(self._folder, step)

    def close(self) -> None:
        """Writes out what is left. Raises StorageError."""
        with storage_errors(self._folder):
            self._writer.close()


def _open(folder: Path, begun: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--tensorboard: the package cannot be imported ({reason}); {INSTALL}") from None
    with storage_errors(folder):
        return SummaryWriter(str(folder), purge_step=begun + 1, flush_secs=30)
