"""A training made again from what its weights say, and compared with them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc_core.errors import AigcError, DamagedFileError, UsageError
from aigc_core.files import storage_errors
from aigc_core.home import home
from aigc_core.training.publish import METRICS_FILE
from aigc_core.training.run import differences, read_record
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version


@dataclass(frozen=True, slots=True)
class Retrained:
    """What came of it."""

    exact: bool
    """Whether the tensors are the same, bit for bit."""
    tensors_digest: str
    step: int | None
    """The first step whose metrics differ, of those that were kept; None if none does."""
    metrics: tuple[Mapping[str, float], Mapping[str, float]] | None
    """Of that step, before and now."""
    environment: list[str]
    """What has changed around it."""


def retrain(version: Version, data: str | None, *, quiet: bool) -> Retrained:
    """Trains in a home of its own, from the same seed, and compares; killed, the same call goes on.

    data: where the data lie now, if neither their name nor the old run says it. Raises UsageError if the record does
    not say enough, DataError if the data are others, and what `aigc train` does.
    """
    record = version.manifest.record
    if "imported" in record.get("training", {}):
        raise UsageError(f"{version} was imported, not trained here: nothing says how it was trained")
    try:
        arguments = [*_arguments(record), *_data(record, data)]
        environment = record["training"].get("environment", {})
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{version}: its record does not say how it was trained: {error}") from None
    own = home() / "retrain" / version.manifest.digest[7:19]
    with storage_errors(own):
        own.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "AIGC_HOME": str(own)}
    if threads := environment.get("threads"):
        variables["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "aigc_core", "train", *arguments, *(["--quiet"] if quiet else [])]
    if code := _run(command, variables):
        raise _Failed(version, code)
    made = next(iter(Store(own / "store")))
    outcome = compare(version, made)
    shutil.rmtree(own, ignore_errors=True)
    return outcome


class _Failed(AigcError):
    """The training failed or was stopped; it has said why."""

    def __init__(self, version: Version, code: int) -> None:
        code = 128 - code if code < 0 else code
        what = "was stopped; the same command goes on" if code > 128 else f"ended with exit code {code}"
        super().__init__(f"{version} was not trained again: the training {what}")
        self.exit_code = code


def _run(command: list[str], variables: Mapping[str, str]) -> int:
    """Runs a training, which keeps a checkpoint when it is told to stop: this process waits for that."""
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),  # a terminal tells the child, too
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def compare(before: Version, now: Version) -> Retrained:
    """Two trainings: tensors, metrics step by step, environment."""
    one, two = before.manifest, now.manifest
    step, metrics = _first_difference(_metrics(before), _metrics(now))
    changed = differences(
        one.record["training"].get("environment", {}), two.record["training"].get("environment", {})
    )
    if one.record["data"]["digest"] != two.record["data"]["digest"]:
        changed.insert(0, "other data")
    return Retrained(one.tensors_digest == two.tensors_digest, two.tensors_digest, step, metrics, changed)


def _arguments(record: Mapping[str, Any]) -> list[str]:
    """The arguments of `aigc train` that a record stands for, but the data."""
    training, environment = record["training"], record["training"].get("environment", {})
    if training.get("drift"):
        raise ValueError(
            "its training went on under other conditions than it began with, which can't be made again"
        )
    found = [
        str(record["model"]),
        "--name",
        "again",
        "--steps",
        str(training["steps"]),
        "--seed",
        str(training["seed"]),
    ]
    for name, value in {**record["config"], **training["options"]}.items():
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            found += ["-o", f"{name}={text}"]
    for flag, value in (
        ("--precision", environment.get("precision")), ("--accumulate", training.get("accumulate")),
        ("--on-nan", training.get("on_nan")),
        ("--processes", environment.get("processes") if environment.get("processes", 1) > 1 else None),
    ):  # fmt: skip
        if value is not None:
            found += [flag, str(value)]
    found += ["--adapters"] if training.get("adapters") else []
    found += ["--compile"] if training.get("compile") else []
    for parent in training.get("parents", []):
        holder = next(iter(Store().holders(parent)), None)
        if holder is None:
            raise UsageError(
                f"it was trained from weights {parent}, which are not in the store; pull or import them"
            )
        found += ["--from", str(holder.path)]
    return found + (["--shard"] if environment.get("shard") else [])


def _data(record: Mapping[str, Any], place: str | None) -> list[str]:
    """Where the data are: at `place`, as the run was begun with, if its folder is still there, or by their name."""
    from aigc_core.registry import default

    shape, name = record["data"]["info"]["shape"], str(record["data"]["name"])
    size = ["--size", "x".join(map(str, shape[-2:] if len(shape) == 3 else shape[-1:]))]
    if "tokenizer" in record["data"]["info"].get("details", {}):
        size = []  # how long its items are is an option of the model
    reading = [f"{key}={value}" for key, value in record["data"].get("reading", {}).items()]
    said = [part for option in reading for part in ("-d", option)]
    sounds = (
        record["data"]["info"]["modality"] == "audio"
    )  # known sets of these alone have no size of their own
    if place is not None:
        resized = Path(place).is_dir() or (sounds and place in default().datasets)
        return ["--data", place, *(size if resized else []), *said]
    for folder in (home() / "runs").glob(f"*-{record['training'].get('run', '?')}"):
        command = read_record(folder).get("command", {})
        if (place := command.get("data")) is not None:
            return ["--data", str(place), *(size if command.get("size") else []), *said]
    if name in default().datasets:
        return ["--data", name, *(size if sounds else []), *said]
    raise UsageError(f"where the data {name!r} lie is not kept with the weights; say it: --data PATH")


def _metrics(version: Version) -> dict[int, dict[str, float]]:
    file = version.manifest.files.get(METRICS_FILE)
    if file is None:
        return {}
    try:
        text = version.store.layout.blob(file.digest).read_text(encoding="utf-8")
        return {int(values.pop("step")): values for values in map(json.loads, text.splitlines())}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _first_difference(
    before: Mapping[int, Mapping[str, float]], now: Mapping[int, Mapping[str, float]]
) -> tuple[int | None, tuple[Mapping[str, float], Mapping[str, float]] | None]:
    for step in sorted(before):
        if step in now and before[step] != now[step]:
            return step, (before[step], now[step])
    return None, None
