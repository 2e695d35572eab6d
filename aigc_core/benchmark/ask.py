"""What a bench is asked to measure; without torch, so that a mistake is answered at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import NotFoundError, UsageError
from aigc_core.registry import Registry, visible
from aigc_core.seeds import MAX_SEED
from aigc_core.specs import ModelSpec

SHORTEST: Final = 1.0
"""Seconds of a budget: below, nothing is left beside measuring the speed and the last writes."""
MOST_SEEDS: Final = 1000
FEWEST: Final = 2
"""Samples that can be judged: one has no spread."""
MOST: Final = 10_000_000
OWN: Final = "own"
"""The extractor that is a classifier of the data's own classes."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A bench, checked as far as that can be done without its data."""

    data: str
    budget: float
    """Seconds of each training."""
    seeds: tuple[int, ...]
    count: int
    """Samples that are judged of each sampler."""
    split: str | None
    """That is judged by; None for the first that was held out."""

    @property
    def title(self) -> str:
        """What the table and the weights are called after: `mnist-10m`."""
        return f"{slug(Path(self.data).resolve().name)[:40]}-{duration(self.budget)}"

    def weights(self, model: str, seed: int) -> str:
        """The name in the store of what one training makes: `bench-mnist-10m-gan-dcgan-s0`."""
        return f"bench-{self.title}-{slug(model)}-s{seed}"


def ask(
    data: str | Path, budget: float, seeds: int | Sequence[int], count: int, split: str | None = None
) -> Ask:
    """`seeds`: how many, from 0 on; or which. Raises UsageError for what can't be meant."""
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(dict.fromkeys(seeds))
    if not 1 <= len(chosen) <= MOST_SEEDS:
        raise UsageError(f"--seeds must lie in 1 .. {MOST_SEEDS}, not {seeds}")
    for seed in chosen:
        if not 0 <= seed <= MAX_SEED:
            raise UsageError(f"--seed must lie in 0 .. {MAX_SEED}, not {seed}")
    if not SHORTEST <= budget < 1e8:
        raise UsageError(f"--budget {budget:g}s is too short to train in; give at least {SHORTEST:g}s")
    if not FEWEST <= count <= MOST:
        raise UsageError(f"-n must lie in {FEWEST} .. {MOST}, not {count}")
    return Ask(str(data), float(budget), chosen, count, split)


def chosen(registry: Registry, names: Sequence[str]) -> list[ModelSpec]:
    """The models that are named, each once; empty where none is. Raises NotFoundError, UsageError, BackendError."""
    found = {spec.id: spec for spec in map(registry.find, names)}
    for spec in found.values():
        if spec.trainer is None:
            raise UsageError(f"model {spec.id!r} cannot be trained; it is for sampling only")
    return list(found.values())


def candidates(registry: Registry, modality: str) -> list[ModelSpec]:
    """All models of a modality that can be trained and are not replaced by others."""
    specs = visible(registry.models.values())
    return [s for s in specs if s.modality == modality and s.trainer is not None and s.replaced_by is None]


def check_judged(registry: Registry, modality: str) -> None:
    """Raises NotFoundError where no metric that is installed judges this modality."""
    if not any(spec.modality == modality and spec.default for spec in registry.metrics.values()):
        raise NotFoundError(
            f"no backend that is installed has a metric for {modality}, so there is nothing to bench by; see: "
            "aigc plugins search"
        )


def samplers(spec: ModelSpec, classes: bool) -> list[str | None]:
    """The samplers of a model that a bench draws with: those that need nothing but a seed and, where the data have
    classes, a label. [None] for other models than those of pictures, which are judged without samples."""
    if spec.modality != "image":
        return [None]
    given = {"label"} if classes else set()
    return [name for name, s in spec.samplers.items() if set(s.needs) <= given and not s.parts]


def labels(spec: ModelSpec, sampler: str, classes: Sequence[str]) -> list[str]:
    """The classes that samples are of in turn, where the model is told of them; else none."""
    told = "label" in spec.conditions or "label" in spec.samplers[sampler].needs
    return list(classes) if told else []


def duration(seconds: float) -> str:
    """`90s`, `10m`, `1h30m`, as `--budget` takes it."""
    if seconds != int(seconds):
        return f"{seconds:g}s"
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if minutes and rest and not hours:
        return f"{int(seconds)}s"
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def slug(text: str) -> str:
    """Text as a part of a name in the store."""
    return re.sub("[^a-z0-9._-]+", "-", text.lower()).strip("-.") or "data"


def command(data: str, asked: dict[str, Any], models: Sequence[str], seeds: Sequence[int]) -> str:
    """The command that makes a table, on one line."""
    import shlex

    several = list(seeds) == list(range(len(seeds)))
    words = ["aigc", "bench", "--data", data, "--budget", duration(asked["budget"]), *models]
    words += ["--seeds", str(len(seeds))] if several else [w for s in seeds for w in ("--seed", str(s))]
    words += ["-n", str(asked["count"])] + (["--split", asked["split"]] if asked["split"] else [])
    if asked.get("features") not in (None, OWN):
        words += ["--features", asked["features"]]
    if asked.get("size"):
        words += ["--size", "x".join(map(str, asked["size"]))]
    return shlex.join(words)
