"""A training that was checked and is ready to begin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aigc_core.data.clips import Sounds
from aigc_core.data.moments import with_moments
from aigc_core.data.sources import open_data
from aigc_core.data.tokens import for_model
from aigc_core.errors import DataError, UsageError
from aigc_core.modality import modality
from aigc_core.options import Options, TrainingOptions, check_options
from aigc_core.progress import Progress
from aigc_core.registry import Model, Registry, default
from aigc_core.seeds import MAX_SEED, derive
from aigc_core.training.run import Run
from aigc_core.training.settings import Settings
from aigc_core.weights.file import Weights, load
from aigc_core.weights.layout import check_name
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.interfaces import Generator


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained, on what, how long: what `--dry-run` shows."""

    model: Model
    config: Options
    options: TrainingOptions
    given: tuple[str, ...]
    """The options that were given; the others are the model's defaults."""
    dataset: Dataset
    name: str
    steps: int
    """0 where a budget decides, until it has been measured."""
    seed: int
    settings: Settings
    command: Mapping[str, Any]
    """The arguments of `train` that it came from, as plain JSON."""
    base: Weights | None = None
    """The weights that it starts from."""

    def sized(self, steps: int) -> Plan:
        """The same, so many steps long."""
        return replace(self, steps=steps)

    def training_record(self) -> dict[str, Any]:
        """What decides the result, beside model, config and data."""
        return {
            "steps": self.steps,
            "seed": self.seed,
            "options": {k: v for k, v in self.options.model_dump(mode="json").items() if k != "epochs"},
            "parents": [] if self.base is None else [self.base.tensors_digest],
            **self.settings.deciding(),
        }

    def data_record(self) -> dict[str, Any]:
        data = self.dataset
        record = {"name": data.name, "split": data.split, "digest": data.digest, "count": len(data)}
        return {**record, **({"reading": dict(data.reading)} if data.reading else {})}

    @property
    def license(self) -> str | None:
        """Of the weights to come: that of those they start from; None for the model's own."""
        return None if self.base is None else str(self.base.record["license"])

    def build(self) -> Generator[Any]:
        """The generator to train: initialised from the seed, or with the tensors of the weights to start from."""
        torch.manual_seed(derive(self.seed, "init"))
        generator = self.model.generator(self.config, self.dataset.info)
        if self.base is not None:
            _start_from(self.base, generator)
        return generator

    def run(self) -> Run:
        """The run that this plan is; the same plan is the same run."""
        training = self.training_record()
        if self.settings.budget is not None:
            del training["steps"]  # a measurement; the budget itself is what was asked for
        return Run(
            self.name,
            {
                "name": self.name,
                "model": self.model.spec.id,
                "config": self.config.model_dump(mode="json"),
                "data": self.data_record(),
                "training": training,
            },
        )


def plan(
    model: str,
    data: str | Path,
    *,
    name: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    size: Size | None = None,
    strict: bool = False,
    reading: Mapping[str, Any] | None = None,
    base: str | Path | None = None,
    settings: Settings | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Checks everything that can be checked before a step is made; options come before the data is read.

    Arguments and errors as in `aigc_core.training.job.train`.
    """
    registry = registry or default()
    settings = settings or Settings()
    loaded = registry.load(model)
    given = dict(options or {})
    if steps is not None and (epochs is not None or "epochs" in given):
        raise UsageError("give --steps or --epochs, not both")
    if settings.budget is not None and (steps is not None or epochs is not None or "epochs" in given):
        raise UsageError("give --budget, or --steps or --epochs, not both")
    if steps is not None and steps < 1:
        raise UsageError(f"--steps must be at least 1, not {steps}")
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed must lie in 0 .. {MAX_SEED}, not {seed}")
    parent = None if base is None else _base(base, loaded, registry)
    inherited = {} if parent is None else dict(parent.record["config"])
    config, training = check_options(loaded, {**inherited, **given}, epochs)
    if name is not None:
        check_name(name)
    progress = progress or Progress(False)
    dataset = open_data(data, registry, size=size, strict=strict, reading=reading, track=progress.track)
    if parent is not None and isinstance(dataset, Sounds):
        dataset = dataset.numbered(parent.generator.data)
    check_needs(loaded, dataset)
    if loaded.tokenizer is not None:
        kept = {} if parent is None else parent.generator.data.assets
        dataset = for_model(dataset, loaded.tokenizer, config, kept, progress.track)
    if loaded.spec.data.moments:
        dataset = with_moments(dataset, progress.track, None if parent is None else parent.generator.data)
    if name is None:
        name = re.sub(
            "[^a-z0-9._-]+", "-", f"{loaded.spec.id.partition('/')[2]}-{dataset.name}".lower()
        ).strip("-.")
        check_name(name)
    given_epochs = () if epochs is None else ("epochs",)
    command = {
        "model": loaded.spec.id, "data": _absolute(data), "name": name, "steps": steps, "epochs": epochs,
        "seed": seed, "options": {k: v if isinstance(v, str) else _plain(v) for k, v in given.items()},
        "size": list(size) if size else None, "strict": strict, "reading": dict(reading or {}),
        "base": parent and (parent.name or str(parent.path.absolute())),
        **settings.asked(),
    }  # fmt: skip
    if settings.budget is not None:
        steps = 0
    elif steps is None:
        steps = max(1, round(training.epochs * len(dataset) / training.batch_size))
    made = Plan(
        loaded, config, training, (*given, *given_epochs), dataset, name, steps, seed, settings,
        {k: v for k, v in command.items() if v not in (None, False, {})}, parent,
    )  # fmt: skip
    if parent is not None:
        with torch.random.fork_rng():
            made.build()  # what does not fit is said before the run begins
    return made


def _base(reference: str | Path, model: Model, registry: Registry) -> Weights:
    """The weights to start from. Raises UsageError for those of another model, or that can't be trained."""
    weights = load(Store().resolve(str(reference)), registry)
    if weights.model.spec.id != model.spec.id:
        raise UsageError(f"--from {reference} are weights of {weights.model.spec.id}, not of {model.spec.id}")
    if any(t.dtype == torch.int8 for t in weights.generator.state_dict().values()):
        raise UsageError(
            f"--from {reference} are weights of 8 bits, for sampling alone; train from those they came from"
        )
    return weights


def _start_from(base: Weights, generator: Generator[Any]) -> None:
    """Raises UsageError, naming a tensor, unless the weights to start from fit."""
    there, here = base.generator.state_dict(), generator.state_dict()
    for name in sorted({*there, *here}):
        a, b = there.get(name), here.get(name)
        if a is None or b is None or a.shape != b.shape:
            shapes = " and ".join("none" if t is None else "x".join(map(str, t.shape)) for t in (a, b))
            raise UsageError(
                f"the weights to start from don't fit this model and data: {name} is {shapes}; leave out the options "
                "that differ, or choose data of the same shape"
            )
    generator.load_state_dict(there)


def _absolute(data: str | Path) -> str:
    """A path that holds from any folder; a name as it is."""
    path = Path(data).expanduser()
    return str(path.absolute()) if path.exists() else str(data)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_needs(model: Model, dataset: Dataset) -> None:
    """Raises DataError unless the model can be fitted on such data."""
    needs, info = model.spec.data, dataset.info
    what = f"model {model.spec.id!r} can't be trained on {dataset.name!r}"
    if needs.modality != info.modality:
        raise DataError(
            f"model {model.spec.id!r} is for {needs.modality}, {dataset.name!r} is {info.modality}; "
            f"see: aigc models list --modality {info.modality}"
        )
    shape = "x".join(map(str, info.shape))
    for name, bound, outside in (
        ("at least", needs.smallest, any(n < b for n, b in zip(info.shape, needs.smallest, strict=False))),
        ("at most", needs.largest, any(n > b for n, b in zip(info.shape, needs.largest, strict=False))),
    ):
        if outside:
            limit = "x".join(map(str, bound))
            raise DataError(
                f"{what}: items are {shape}, it takes {name} {limit}; {modality(info.modality).resize}"
            )
    if needs.labels and not info.classes:
        raise DataError(f"{what}: it needs labels; put each class into a folder of its own")
    if needs.transcripts and "characters" not in info.assets:
        raise DataError(
            f"{what}: it needs to know what is said; put a metadata.csv of lines file|text beside the sounds, or, where "
            "the classes are what is said, give -d transcripts=label (and -d names=... for names of files that say them)"
        )
