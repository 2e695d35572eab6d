"""One training of a bench: fit, draw, judge, and the rows that come of it."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aigc_core.benchmark.ask import Ask, labels, samplers
from aigc_core.benchmark.judge import Judge
from aigc_core.benchmark.row import Row, Rows, stem
from aigc_core.errors import BackendError, DamagedFileError, DataError, TrainingError
from aigc_core.options import check_options
from aigc_core.progress import Progress
from aigc_core.registry import Registry
from aigc_core.sampling.draw import Samples, sample
from aigc_core.specs import ModelSpec
from aigc_core.training.job import Trained, train
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size
    from aigc_core.evaluation.card import MetricCard

ROW_FAILURES: Final = (TrainingError, BackendError, DataError, DamagedFileError)
"""What is the model's own trouble: a row that says so. All else ends the bench."""
PICTURES: Final = 64
"""On a sheet; of models that are told of classes the square of their number, a column a class."""
CLASSES: Final = range(4, 17)
"""Numbers of classes that make such a sheet."""
TIMED: Final = 2.0
"""Seconds for which samples are drawn to see how fast."""
TIMED_MOST: Final = 1024


@dataclass(frozen=True, slots=True)
class Bench:
    """What every training of a bench shares."""

    ask: Ask
    dataset: Dataset
    """That is trained on; its tensors are read anew by each training."""
    judge: Judge
    rows: Rows
    registry: Registry
    progress: Progress
    size: Size | None
    say: Callable[[str], None]
    """Tells the user a line."""

    def deciding(self) -> dict[str, Any]:
        """What decides every row: two tables differ in it, or are one."""
        return {
            "data": self.dataset.digest, "budget": self.ask.budget, "count": self.ask.count, **self.judge.deciding(),
            "size": list(self.size) if self.size else None,
        }  # fmt: skip

    def asked(self, spec: ModelSpec, sampler: str | None, seed: int) -> dict[str, Any]:
        """All that decides a row, as plain JSON: the defaults of today among it."""
        model = self.registry.load(spec.id)
        config, training = check_options(model, {})
        options = {} if sampler is None else model.sampler_config(sampler)().model_dump(mode="json")
        return {
            **self.deciding(), "model": spec.id, "sampler": sampler, "seed": seed, "sampler_options": options,
            "config": config.model_dump(mode="json"), "training": training.model_dump(mode="json"),
        }  # fmt: skip

    def missing(self, spec: ModelSpec, seed: int) -> list[str | None]:
        """The samplers whose rows are not there; none of a training that failed."""
        if self._there(spec, None, seed):
            return []
        return [name for name in self._samplers(spec) if not self._there(spec, name, seed)]

    def measure(self, spec: ModelSpec, seed: int) -> None:
        """Makes the rows that are missing of one model and seed. Raises what is not the model's own trouble."""
        missing = self.missing(spec, seed)
        if not missing:
            return
        try:
            done = train(
                spec.id, self.ask.data, name=self.ask.weights(spec.id, seed), seed=seed, budget=self.ask.budget,
                size=self.size, registry=self.registry, progress=self.progress,
            )  # fmt: skip
            weights = load(Store().resolve(done.weights), self.registry, self.judge.device)
        except ROW_FAILURES as error:
            self._failed(spec, None, seed, error)
            return
        if None not in self._samplers(spec):
            self.rows.forget(spec.id, None, seed)  # a failure of something else that was asked
        for remark in done.remarks:
            self.say(f"{done.weights}: {remark}")
        facts = _facts(done)
        cards: list[MetricCard] = []
        for name in missing:
            started = time.perf_counter()
            try:
                cards = self.judge.cards(weights, name, cards)
                row = self._row(spec, name, seed, weights, facts, cards)
            except ROW_FAILURES as error:
                self._failed(spec, name, seed, error, facts)
                continue
            self.rows.write(_timed(row, started))

    def _row(
        self, spec: ModelSpec, sampler: str | None, seed: int, weights: Weights, facts: Mapping[str, Any], cards: list[MetricCard]
    ) -> Row:  # fmt: skip
        sheet, speed = None, None
        if sampler is not None:
            drawn, speed = self._drawn(weights, sampler)
            sheet = f"{stem(spec.id, sampler, seed)}.png"
            drawn.save(self.rows.folder / sheet)
        elif spec.modality == "text":
            sheet = self._texts(spec, seed, weights)
        looked = [card.extractor for card in cards if card.extractor]
        return Row(
            self.asked(spec, sampler, seed), spec.id, sampler, seed, None, self.judge.numbers(cards),
            {**facts, "samples_per_second": speed, "extractor": looked[0] if looked else None}, sheet,
        )  # fmt: skip

    def _drawn(self, weights: Weights, sampler: str) -> tuple[Samples, float]:
        """The samples of a sheet, and how many come a second, as `aigc sample` draws them."""
        classes = labels(weights.model.spec, sampler, weights.generator.data.classes)
        count = len(classes) ** 2 if len(classes) in CLASSES else PICTURES
        common: dict[str, Any] = {"sampler": sampler, "labels": classes, "registry": self.registry}
        started = time.perf_counter()
        drawn = sample(weights, count=count, **common)  # which warms up, too
        block = weights.model.spec.samplers[sampler].block
        pace = (time.perf_counter() - started) / count
        many = min(TIMED_MOST, max(1, int(TIMED / pace)))
        blocks = max(1, many // block)
        started = time.perf_counter()
        sample(weights, start=math.ceil(count / block) * block, count=blocks * block, **common)
        assert drawn is not None
        return drawn, blocks * block / (time.perf_counter() - started)

    def _texts(self, spec: ModelSpec, seed: int, weights: Weights) -> str | None:
        """A file of a few texts, of a model that needs no prompt."""
        if not spec.samplers or next(iter(spec.samplers.values())).needs:
            return None
        drawn = sample(weights, count=4, registry=self.registry)
        assert drawn is not None
        name = f"{stem(spec.id, None, seed)}.txt"
        drawn.save(self.rows.folder / name)
        return name

    def _samplers(self, spec: ModelSpec) -> list[str | None]:
        return samplers(spec, bool(self.dataset.info.classes))

    def _there(self, spec: ModelSpec, sampler: str | None, seed: int) -> bool:
        row = self.rows.read(spec.id, sampler, seed)
        return row is not None and same(row.asked, self.asked(spec, sampler, seed))

    def _failed(
        self,
        spec: ModelSpec,
        sampler: str | None,
        seed: int,
        error: Exception,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        said = " ".join(str(error).split())
        what = " ".join(filter(None, [spec.id, sampler, f"seed {seed}"]))
        self.say(f"{what} failed: {said}")
        now = {"date": _now(), **(facts or {"environment": _cores()})}
        self.rows.write(
            Row(self.asked(spec, sampler, seed), spec.id, sampler, seed, said, {}, now, None),
        )


def _facts(done: Trained) -> dict[str, Any]:
    record = done.record
    training, backend = record["training"], record["backend"]
    seconds = steps_seconds(done.run / "metrics.jsonl", training["options"]["batch_size"])
    items = training["steps"] * training["options"]["batch_size"]
    return {
        "weights": done.weights,
        "tensors_digest": record["tensors_digest"],
        "steps": training["steps"],
        "seconds": round(seconds, 2),
        "images_per_second": round(items / seconds, 1) if seconds else None,
        "parameters": record["parameters"],
        "rollbacks": len(training.get("rollbacks", ())),
        "environment": {**training.get("environment", {}), **_cores()},
        "versions": {"aigc-core": record["core"], backend["distribution"]: backend["version"]},
        **({} if done.resumed_at else {"seconds_in_all": round(done.seconds, 2)}),
    }


def steps_seconds(metrics: Path, batch_size: int) -> float:
    """How long the steps of a run took, by its log, which knows nothing of what was interrupted or done twice."""
    total, before = 0.0, 0
    try:
        lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return 0.0
    for line in lines:
        if line.get("items_per_second"):
            total += (line["step"] - before) * batch_size / line["items_per_second"]
        before = line["step"]
    return total


def _timed(row: Row, started: float) -> Row:
    judged = round(time.perf_counter() - started, 2)
    return replace(row, facts={**row.facts, "seconds_judging": judged, "date": _now()})


def _cores() -> dict[str, Any]:
    """What the core does not keep of a machine otherwise: the speeds of a table depend on it."""
    return {"processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return bool(json.loads(json.dumps(a)) == json.loads(json.dumps(b)))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
