"""What `aigc_on_event` hears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a job.

    Kinds: `train.start`, `train.log` (every few steps, with `metrics`), `train.end`, `train.interrupted`,
    `train.failed`, `sample.start`, `sample.end`. `data` is plain JSON.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
