"""Start-up times, as ratios of commands that are run in turn: python benchmarks/startup.py

Each pair A B is run A B A B ...; the figure is the median of the ratios of neighbours, the first pair left out. Prints
a table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from hostile import HOSTILE

BACKEND = """
from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

@hookimpl
def aigc_register_models(registry):
    for i in range({models}):
        registry.add(ModelSpec(
            id="{name}/model%d" % i, summary="A model that only stands in a list", modality="image",
            license="MIT", generator="{module}.net:Net", config="{module}.config:Config",
            data=DataNeeds(modality="image", smallest=(1, 8, 8), largest=(4, 64, 64)),
            samplers={{"prior": SamplerSpec(
                sampler="{module}.net:Net", config="{module}.config:Config", summary="prior")}},
        ))
"""


def many_backends(folder: Path, distributions: int, models: int) -> None:
    """Writes distributions of some models each, as an installer would."""
    for number in range(distributions):
        name = f"bench{number}"
        module = f"aigc_{name}"
        (folder / module).mkdir()
        code = BACKEND.format(models=models, name=name, module=module)
        (folder / module / "__init__.py").write_text(code)
        (folder / module / "net.py").write_text("class Net: ...\n")
        schemas = "from aigc_core.options import Options\nclass Config(Options): ...\n"
        (folder / module / "config.py").write_text(schemas)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: aigc-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[aigc.v1]\n{name} = {module}\n")


def hostile_backends(folder: Path) -> None:
    """Unpacks the hostile wheels of the tests into a folder."""
    for hostile in HOSTILE:
        with zipfile.ZipFile(hostile.wheel(folder.with_name("wheels"))) as archive:
            archive.extractall(folder)


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def ratio(
    a: list[str], b: list[str], runs: int, extra: dict[str, str] | None = None
) -> tuple[float, float, float]:
    """Medians of A, of B, and of A/B over neighbouring runs; `extra` is A's environment."""
    plain = dict(os.environ)
    mine = {**plain, **(extra or {})}
    pairs = []
    for number in range(runs + 1):
        pair = seconds(a, mine), seconds(b, plain)
        if number:
            pairs.append(pair)
    return (
        statistics.median(x for x, _ in pairs),
        statistics.median(y for _, y in pairs),
        statistics.median(x / y for x, y in pairs),
    )


def sparse_weights(path: Path, megabytes: int) -> None:
    """A weights file of random tensors of this size, made by the project's own writer."""
    code = (
        "import sys, torch\n"
        "from aigc_core.registry import default\n"
        "from aigc_core.weights.file import encode\n"
        "from aigc_core.specs import DataInfo\n"
        "model = default().load('gan/mlp')\n"
        f"width = int(({megabytes} * 2**20 / 4 / 2) ** 0.5)\n"
        "config = model.config(hidden=(width, width, width))\n"
        "generator = model.generator(config, DataInfo('image', (1, 8, 8)))\n"
        "content, _ = encode(generator, model, {'name': 'x', 'split': 'train', 'digest': 'x', 'count': 1},\n"
        "    {'steps': 0, 'seed': 0, 'options': {}, 'parents': [], 'metrics': {}})\n"
        f"open({str(path)!r}, 'wb').write(content)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=11)
    arguments = parser.parse_args()
    python = sys.executable
    aigc = str(Path(python).parent / "aigc")
    listing, click = [aigc, "models", "list"], [python, "-c", "import click"]
    torch = [python, "-c", "import torch"]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AIGC_HOME"] = str(folder / "home")
        rows.append(("models list / import click", *ratio(listing, click, arguments.runs), 2.0))
        site = folder / "site"
        site.mkdir()
        many_backends(site, 200, 5)
        many = {"PYTHONPATH": str(site)}
        rows.append(
            (
                "models list + 1,000 models of 200 / without",
                *ratio(listing, listing, arguments.runs, many),
                2.0,
            )
        )
        invaded = folder / "invaded"
        hostile_backends(invaded)
        worse = {"PYTHONPATH": str(invaded)}
        rows.append(
            (
                f"models list beside {len(HOSTILE)} hostile backends / without",
                *ratio(listing, listing, arguments.runs, worse),
                1.3,
            )
        )
        train = [aigc, "train", "gan/dcgan", "--data", "digits", "--steps", "5", "--name", "bench"]
        seconds(train, dict(os.environ))
        sample = [aigc, "sample", "bench", "-n", "64", "--out", str(folder / "x.png")]
        rows.append(("sample 64 from gan/dcgan / import torch", *ratio(sample, torch, arguments.runs), 1.35))
        large = folder / "large.safetensors"
        sparse_weights(large, 200)
        size = large.stat().st_size / 2**20
        inspect = [aigc, "inspect", str(large)]
        rows.append((f"inspect {size:.0f} MiB / import torch", *ratio(inspect, torch, arguments.runs), 0.3))
    print("| A / B | A, s | B, s | A/B | at most |")
    print("| --- | --- | --- | --- | --- |")
    for text, a, b, quotient, bound in rows:
        print(f"| {text} | {a:.3f} | {b:.3f} | {quotient:.2f} | {bound} |")
    if any(quotient > bound for *_, quotient, bound in rows):
        sys.exit("a bound is exceeded")


if __name__ == "__main__":
    main()
