"""What `aigc_on_event` hears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a job.

    `data` is plain JSON. New kinds and new keys may come; ignore what you do not know.
    """

    kind: str
    """`train.start` (the run's plan; `begun`: the step it goes on from; `run`: its folder), `train.log` (every 25
    steps: `step`, `steps`, `metrics`), `train.checkpoint` (`step`, `path`), `train.sheet` (`step`, `path`),
    `train.rollback` (`to`: the step it went back to; `scale`: of all learning rates from there on; `reason`),
    `train.end` (`weights`, `metrics`), `train.interrupted` (`step`, `run`), `train.failed` (`run`, `reason`),
    `sample.start` and `sample.end` (the samples' record). Of several processes the first one tells."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What belongs to the kind."""
