"""The store's speed, as ratios of neighbouring runs: python benchmarks/store.py [--gigabytes 1]

Listing 10,000 versions beside `import click`; publishing a large file beside `cp` and `sha256sum` of it; loading it
beside safetensors' `load_file` and one pass of hashing. Medians of the ratios, the first pair left out. Prints a table.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers import weights_bytes
from startup import ratio, sparse_weights

from aigc_core.weights import manifest
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.manifest import VersionRecord
from aigc_core.weights.store import Store


def many_versions(store: Store, count: int) -> None:
    """As `count` publications would leave it, each of a manifest of its own; not flushed one by one."""
    base = store.publish("w000", {WEIGHTS_FILE: weights_bytes()}).manifest
    for number in range(1, count):
        training = {**base.record["training"], "steps": number}
        content = manifest.encode({**base.record, "training": training}, base.files, None)
        digest = manifest.digest_of(content)
        path = store.layout.manifest(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        name = f"w{number % 100:03d}"
        record = VersionRecord(name, number // 100 + 1, digest, "2026-11-22T10:00:00+00:00")
        store.layout.version(name, number // 100 + 1).write_bytes(record.encode())


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pairs(a: Callable[[], object], b: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Medians of A, of B, and of A/B over neighbouring runs."""
    found = [(timed(a), timed(b)) for _ in range(runs + 1)][1:]
    return (
        statistics.median(x for x, _ in found),
        statistics.median(y for _, y in found),
        statistics.median(x / y for x, y in found),
    )


def listing(folder: Path, runs: int, count: int) -> tuple[str, float, float, float, float]:
    store = Store(folder / "store")
    many_versions(store, count)
    python = sys.executable
    command = [str(Path(python).parent / "aigc"), "weights", "list", "--json"]
    environment = {"AIGC_HOME": str(folder)}
    whole = {**os.environ, **environment}

    def printed() -> bytes:
        return subprocess.run(command, env=whole, check=True, capture_output=True).stdout

    first, again = printed(), printed()
    store.layout.index.unlink()
    assert first == again == printed(), "the listing must not depend on its index"
    assert first.count(b'"weights"') == count
    return (f"weights list --json of {count:,} / import click",
            *ratio(command, [python, "-c", "import click"], runs, environment), 3.0)  # fmt: skip


def publishing(large: Path, folder: Path, runs: int) -> tuple[str, float, float, float, float]:
    copy = folder / "copy"

    def publish() -> None:
        Store(folder / "large").publish("large", {WEIGHTS_FILE: large})

    def clean() -> None:
        copy.unlink(missing_ok=True)
        shutil.rmtree(folder / "large", ignore_errors=True)
        os.sync()

    found = []
    for _ in range(runs + 1):
        clean()
        a = timed(publish)
        clean()
        b = timed(lambda: subprocess.run(f"cp '{large}' '{copy}' && sha256sum '{copy}'", shell=True, check=True,
                                         stdout=subprocess.DEVNULL))  # fmt: skip
        found.append((a, b))
    clean()
    gigabytes = large.stat().st_size / 1e9
    return (f"publish {gigabytes:.1f} GB / cp + sha256sum", statistics.median(a for a, _ in found[1:]),
            statistics.median(b for _, b in found[1:]), statistics.median(a / b for a, b in found[1:]),
            1 / 0.6)  # fmt: skip


def loading(large: Path, folder: Path, runs: int) -> list[tuple[str, float, float, float, float]]:
    from safetensors.torch import load_file

    from aigc_core.registry import default
    from aigc_core.weights.file import load

    store = Store(folder / "large")
    store.publish("large", {WEIGHTS_FILE: large})
    found, registry = store.resolve("large"), default()

    def theirs() -> None:
        load_file(found.path)
        with open(found.path, "rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")

    def ours() -> None:
        load(found, registry)

    def by_path() -> None:
        load(found.path, registry)

    gigabytes = large.stat().st_size / 1e9
    return [
        (f"load {gigabytes:.1f} GB by name / load_file + one hash pass", *pairs(ours, theirs, runs), 1.3),
        (f"load {gigabytes:.1f} GB by path / load_file + one hash pass", *pairs(by_path, theirs, runs), 1.3),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [listing(folder, arguments.runs, arguments.versions)]
        large = folder / "large.safetensors"
        sparse_weights(large, int(arguments.gigabytes * 1000))
        rows.append(publishing(large, folder, arguments.runs))
        rows += loading(large, folder, arguments.runs)
    print("| A / B | A, s | B, s | A/B | at most |")
    print("| --- | --- | --- | --- | --- |")
    for text, a, b, quotient, bound in rows:
        print(f"| {text} | {a:.3f} | {b:.3f} | {quotient:.2f} | {bound:.2f} |")
    if any(quotient > bound for *_, quotient, bound in rows):
        sys.exit("a bound is exceeded")


if __name__ == "__main__":
    main()
