"""How a training is carried out, apart from what the model is told; no torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from aigc_core.errors import UsageError

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")
ON_NAN: Final = ("rollback", "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user can ask of the engine and the loop."""

    precision: str = "auto"
    """`fp32`, `bf16`, `fp16`; `auto`: bf16 where the machine's features say that it wins."""
    accumulate: int = 1
    """Parts that a process takes its share of a batch in, for batches that do not fit into memory."""
    compile: bool = False
    """Compile the networks (torch.compile)."""
    shard: bool = False
    """Share parameters and optimizer state out over the processes, for models that do not fit into one."""
    on_nan: str = "rollback"
    """What to do when training diverges: go back and take smaller steps, or `stop`."""
    budget: float | None = None
    """Seconds that the training may take in all; sets the number of steps."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None for about one a minute."""
    keep: int = 2
    """The last checkpoints that are kept."""
    keep_checkpoints: bool = False
    """Leave the checkpoints where they are when the run has ended."""
    sheet_every: int | None = None
    """Steps between sheets of samples; None for about eight in a run, 0 for none."""
    tensorboard: bool = False
    """Log for TensorBoard too."""
    adapters: bool = False
    """Keep what was added to the weights that it began with, alone, where the training is of adapters."""
    allow_drift: bool = False
    """Go on with a run under other versions or on another machine than it began with."""
    cpu: bool = False
    """Leave the GPU alone."""

    def __post_init__(self) -> None:
        """Raises UsageError for a value out of range."""
        for flag, value, known in (
            ("--precision", self.precision, PRECISIONS), ("--on-nan", self.on_nan, ON_NAN)
        ):  # fmt: skip
            if value not in known:
                raise UsageError(f"{flag} must be one of {', '.join(known)}, not {value!r}")
        for flag, number, least in (
            ("--accumulate", self.accumulate, 1), ("--checkpoint-every", self.checkpoint_every, 1),
            ("--keep", self.keep, 1), ("--sheet-every", self.sheet_every, 0),
        ):  # fmt: skip
            if number is not None and number < least:
                raise UsageError(f"{flag} must be at least {least}, not {number}")
        if self.budget is not None and not 0 < self.budget < 1e8:
            raise UsageError(f"--budget must be a time above 0, not {self.budget} seconds")

    def deciding(self) -> dict[str, Any]:
        """What decides the result, and so belongs to a run's key: plain JSON, defaults left out."""
        values = {
            "precision": self.precision, "accumulate": self.accumulate, "compile": self.compile,
            "on_nan": self.on_nan, "budget": self.budget, "adapters": self.adapters,
        }  # fmt: skip
        plain = Settings()
        return {name: value for name, value in values.items() if value != getattr(plain, name)}

    def asked(self) -> dict[str, Any]:
        """What differs from the defaults, for saying the same again; a drift must be allowed anew each time."""
        plain = Settings()
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "allow_drift"}
        return {name: value for name, value in values.items() if value != getattr(plain, name)}


def seconds(text: str) -> float:
    """`90`, `90s`, `5m`, `1h30m` as seconds. Raises UsageError."""
    parts = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower()
    )
    if not text.strip() or parts is None:
        raise UsageError(f"a time must be like 90s, 5m or 1h30m, not {text!r}")
    hours, minutes, rest = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + rest
