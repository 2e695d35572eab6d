"""Hostile files for every reader of the store: python benchmarks/fuzz.py [--inputs 2000000] [--seed 0]

Each input is a whole file that was damaged (see tests/mutations.py); a quarter of them is guided by coverage where
atheris is installed. A reader must return, or raise an AigcError: within a second, and within bounded memory. What
`read_header` takes, the safetensors library must take too, with the same tensors. Prints a table; exits with 1, and
keeps the inputs, if any reader did otherwise.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import safetensors

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers import weights_bytes
from mutations import Mutator, mutated_json, mutated_weights, seeds

if "--guided" in sys.argv:  # before the readers are imported, whose coverage it follows
    import atheris

    with atheris.instrument_imports(include=["aigc_core.weights"]):
        import aigc_core.weights.grammar
        import aigc_core.weights.manifest
        import aigc_core.weights.strict  # noqa: F401

from aigc_core.errors import AigcError
from aigc_core.weights import manifest
from aigc_core.weights.header import Header, canonical, header_of, read_header, tensors_digest

SECOND = 1.0
NAME = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+|\d+")


class Bench:
    """Readers, what became of their inputs, and what should not have been."""

    def __init__(self, folder: Path, findings: Path) -> None:
        self.file = folder / "input.safetensors"
        self.findings = findings
        self.ends: collections.Counter[str] = collections.Counter()
        self.differences: collections.Counter[str] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0

    def try_one(self, kind: str, content: bytes) -> None:
        begin = time.perf_counter()
        try:
            getattr(self, f"read_{kind}")(content)
            end = "read"
        except AigcError as error:
            end = type(error).__name__
            if "\n" in str(error) or len(str(error)) > 1000:
                self.fail(kind, "an error of more than a line", content)
        except Exception as error:
            end = f"!{type(error).__name__}"
            self.fail(kind, f"{type(error).__name__}: {error}"[:200], content)
        took = time.perf_counter() - begin
        self.slowest = max(self.slowest, took)
        if took > SECOND:
            self.fail(kind, f"{took:.1f} s", content)
        self.ends[f"{kind} {end}"] += 1

    def fail(self, kind: str, what: str, content: bytes) -> None:
        self.failures[f"{kind}: {what}"] += 1
        if self.failures[f"{kind}: {what}"] <= 3:
            self.findings.mkdir(exist_ok=True)
            (self.findings / f"{kind}-{abs(hash(what)):x}-{self.failures[f'{kind}: {what}']}").write_bytes(
                content
            )

    def read_weights(self, content: bytes) -> None:
        self.file.write_bytes(content)
        try:
            header = read_header(self.file)
        except AigcError as error:
            if theirs(content) is not None:
                self.differences[NAME.sub("_", str(error).partition(": ")[2])[:80]] += 1
            raise
        self.compare(header, content)
        canonical(header.record).encode()
        tensors_digest(header)

    def compare(self, header: Header, content: bytes) -> None:
        """What was read must be what the library reads."""
        ours = {
            name: (
                info.dtype,
                list(info.shape),
                content[header.data_start + info.start : header.data_start + info.end],
            )
            for name, info in header.tensors.items()
        }
        if ours != theirs(content):
            self.fail("weights", "the library reads something else", content)

    def read_manifest(self, content: bytes) -> None:
        found = manifest.parse(content, manifest.digest_of(content), "x.json")
        canonical(found.record).encode()

    def read_version(self, content: bytes) -> None:
        manifest.parse_version(content, "digits", 3, "x.json")

    def read_alias(self, content: bytes) -> None:
        manifest.parse_alias(content, "digits", "prod", "x.json")

    def read_tombstone(self, content: bytes) -> None:
        manifest.parse_tombstone(content, "digits", 3, "x.json")


def theirs(content: bytes) -> dict[str, tuple[str, list[int], bytes]] | None:
    """What the safetensors library makes of a file; None if it refuses it."""
    try:
        found = safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return None
    return {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in found}


def whole_records() -> dict[str, bytes]:
    """One whole file of each kind that is JSON."""
    digest = "sha256:" + "a" * 64
    file = manifest.File(digest, 123)
    record = header_of(io.BytesIO(weights_bytes(1)), Path("whole"))[0].record
    golden = {"sampler": "prior", "options": {}, "seed": 0, "count": 16, "content": digest}
    files = {"weights.safetensors": file, "samples.png": file}
    return {
        "manifest": manifest.encode(record, files, golden),
        "version": manifest.VersionRecord("digits", 3, digest, "2026-11-22T10:00:00+00:00").encode(),
        "alias": manifest.encode_alias("digits", "prod", 3),
        "tombstone": manifest.encode_tombstone("digits", 3, "2026-11-22T10:00:00+00:00"),
    }


def sources() -> dict[str, tuple[list[bytes], Mutator, float]]:
    """Of each kind: whole files, what damages them, its share of the inputs."""
    records = whole_records()
    return {
        "weights": (seeds(), mutated_weights, 0.6), "manifest": ([records["manifest"]], mutated_json, 0.25),
        "version": ([records["version"]], mutated_json, 0.05), "alias": ([records["alias"]], mutated_json, 0.05),
        "tombstone": ([records["tombstone"]], mutated_json, 0.05),
    }  # fmt: skip


def damaged(bench: Bench, kind: str, count: int, seed: int) -> None:
    """Tries damaged files, and some that were damaged again and again."""
    wholes, mutate, _ = sources()[kind]
    random = Random(f"{kind}{seed}")
    for whole in wholes:
        bench.try_one(kind, whole)
        assert bench.ends[f"{kind} read"], f"a whole {kind} is not read"
    for _ in range(count - len(wholes)):
        bench.try_one(kind, mutate(random.choice(wholes), random))


def guided(bench: Bench, kind: str, count: int, seed: int, finished: Callable[[], None]) -> None:
    """The same, as coverage suggests. Ends the process."""
    wholes, mutate, _ = sources()[kind]
    left = count

    def one(content: bytes) -> None:
        nonlocal left
        bench.try_one(kind, content)
        left -= 1
        if not left:
            finished()
            os._exit(0)

    def mutator(content: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(content, most))
        try:
            return mutate(content, random)[:most]
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):  # damaged beyond structure
            return bytes(atheris.Mutate(content, most))

    with tempfile.TemporaryDirectory() as corpus:
        for number, whole in enumerate(wholes):
            Path(corpus, str(number)).write_bytes(whole)
        flags = [f"-seed={seed + 1}", "-max_len=8192", "-timeout=10", "-verbosity=0", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *flags, corpus], one, custom_mutator=mutator)
        atheris.Fuzz()


def tried(kind: str, count: int, seed: int, findings: Path, with_coverage: bool) -> dict[str, object]:
    """Runs a share of the inputs in a process of its own; returns its tally."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        tally = Path(folder, "tally.json")
        command = [sys.executable, __file__, "--part", kind, "--inputs", str(count), "--seed", str(seed),
                   "--findings", str(findings), "--folder", folder, *(["--guided"] if with_coverage else [])]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not tally.exists():
            what = f"{kind}: its process ended with {done.returncode}"
            print(done.stderr[-2000:], file=sys.stderr)
            return {"inputs": 0, "failures": {what: 1}}
        found: dict[str, object] = json.loads(tally.read_text())
        return found


def part(arguments: argparse.Namespace) -> None:
    """One share, in this process."""
    bench = Bench(arguments.folder, arguments.findings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()

    def finished() -> None:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        tally = {"inputs": sum(bench.ends.values()), "seconds": time.perf_counter() - begin, "slowest": bench.slowest,
                 "grown": grown / 1024, "ends": bench.ends, "differences": bench.differences,
                 "failures": bench.failures}  # fmt: skip
        (arguments.folder / "tally.json").write_text(json.dumps(tally))

    if arguments.guided:
        guided(bench, arguments.part, arguments.inputs, arguments.seed, finished)
    damaged(bench, arguments.part, arguments.inputs, arguments.seed)
    finished()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="where failing inputs are kept"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part(arguments)
        return 0
    ways = {False: 0.75, True: 0.25} if importlib.util.find_spec("atheris") else {False: 1.0}
    failures: collections.Counter[str] = collections.Counter()
    differences: collections.Counter[str] = collections.Counter()
    total = 0
    print("| reader | inputs | inputs/s | outcomes | slowest, ms | memory grew, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, (_, _, share) in sources().items():
        for with_coverage, of in ways.items():
            count = round(arguments.inputs * share * of)
            tally = tried(kind, count, arguments.seed, arguments.findings, with_coverage)
            failures.update(tally["failures"])  # type: ignore[arg-type]
            if not tally["inputs"]:
                continue
            total += tally["inputs"]  # type: ignore[operator]
            differences.update(tally["differences"])  # type: ignore[arg-type]
            ends = ", ".join(f"{k.partition(' ')[2]} {n:,}" for k, n in sorted(tally["ends"].items()))  # type: ignore[attr-defined]
            print(f"| {kind}{', guided' if with_coverage else ''} | {tally['inputs']:,} | "
                  f"{tally['inputs'] / tally['seconds']:,.0f} | {ends} | {tally['slowest'] * 1000:.0f} | "  # type: ignore[operator]
                  f"{tally['grown']:.0f} |", flush=True)  # fmt: skip
    print(f"\n{total:,} inputs; {sum(failures.values()):,} that no reader may make of its input")
    for what, number in failures.most_common():
        print(f"  {number:8,}  {what}")
    print("\nRefused, though the safetensors library reads it, and why:")
    for what, number in differences.most_common(40):
        print(f"  {number:8,}  {what}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
