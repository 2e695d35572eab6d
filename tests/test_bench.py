"""`aigc bench`: models trained for the same time, drawn from, judged, and put into one table."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Result, Run, write_sounds
from PIL import Image

import aigc_core
from aigc_core.benchmark import report
from aigc_core.benchmark.ask import ask, command, duration, samplers
from aigc_core.benchmark.row import Number, Row, Rows
from aigc_core.benchmark.work import steps_seconds
from aigc_core.errors import DataError, UsageError
from aigc_core.registry import default
from aigc_core.weights.store import Store

CLASSES, TRAIN, TEST = 4, 120, 60


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of the digits 0 to 3, a folder a class, with a part that is held out."""
    from sklearn.datasets import load_digits

    digits, folder = load_digits(), tmp_path_factory.mktemp("data") / "scans"
    pixels, labels = (digits.images * 15.9).astype(np.uint8), digits.target
    kept = np.flatnonzero(labels < CLASSES)[: TRAIN + TEST]
    for number, index in enumerate(kept):
        path = folder / ("train" if number < TRAIN else "test") / str(labels[index]) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(path)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier that judges is trained for an instant."""
    from aigc_core.evaluation import features

    monkeypatch.setattr(features, "STEPS", 20)


def bench(aigc: Run, data: Path, out: Path, *more: object) -> Result:
    return aigc("bench", "--data", data, "--budget", "1s", "-n", 80, "--out", out, *more)


def drawable(model: str) -> list[str | None]:
    """The samplers that a bench draws with."""
    return samplers(default().models[model], True)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def test_a_table_with_a_row_for_each_model_sampler_and_seed(
    quick: None, drawn: Path, tmp_path: Path, aigc: Run
) -> None:
    done = bench(aigc, drawn, tmp_path / "out", "vae/mlp", "gan/mlp", "--seeds", 1)
    assert done.code == 0, done.err
    asked = [(m, s) for m in ("gan/mlp", "vae/mlp") for s in drawable(m)]
    rows = rows_of(tmp_path / "out" / "scans-1s")
    assert {(r["model"], r["sampler"], r["seed"]) for r in rows} == {(*a, 0) for a in asked}
    for row in rows:
        facts = row["facts"]
        assert row["failed"] is None
        assert facts["weights"] == f"bench-scans-1s-{row['model'].replace('/', '-')}-s{row['seed']}@1"
        assert facts["tensors_digest"] == aigc_core.inspect(facts["weights"])["tensors_digest"]
        assert 0 < facts["seconds"] < 3
        assert facts["images_per_second"] > 0 < facts["samples_per_second"]
        assert next(iter(row["figures"])) == "fid"
        assert row["figures"]["fid"]["value"] > 0
        sheet = tmp_path / "out" / "scans-1s" / row["sheet"]
        said = aigc_core.inspect(sheet)
        assert (said["sampler"], said["count"], said["intact"]) == (row["sampler"], 64, True)
    page = (tmp_path / "out" / "scans-1s.md").read_text()
    every = page.partition("## Every run")[2]
    for model, sampler in asked:
        assert len(re.findall(rf"^\| `{model}` \| {sampler} \| 0 \|", every, re.MULTILINE)) == 1
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (tmp_path / "out" / target).is_file()
    assert "(scans-1s/gan-mlp-prior-s0.png)" in page
    assert done.out.splitlines()[-1] == str(tmp_path / "out" / "scans-1s.md")
    assert "2 of 2: gan/mlp, seed 0; about 1s left" in re.sub(r"about \w+ left", "about 1s left", done.err)


def test_the_command_on_the_page_makes_it_again_and_trains_nothing(
    quick: None, drawn: Path, tmp_path: Path, aigc: Run
) -> None:
    out = tmp_path / "out"
    assert bench(aigc, drawn, out, "vae/mlp", "--seed", 5).code == 0
    page, rows = (out / "scans-1s.md").read_text(), rows_of(out / "scans-1s")
    (line,) = [line.strip() for line in page.splitlines() if line.startswith("    aigc bench")]
    again = aigc(*shlex.split(line)[1:], "--out", out, "--json")
    assert again.code == 0, again.err
    assert again.err == ""
    assert sorted(json.loads(again.out)["rows"], key=lambda r: str(r["sampler"])) == rows
    assert (out / "scans-1s.md").read_text() == page
    (out / "scans-1s" / "vae-mlp-prior-s5.json").unlink()
    assert "1 of 1: vae/mlp, seed 5" in bench(aigc, drawn, out, "vae/mlp", "--seed", 5).err
    (before,) = [row for row in rows if row["sampler"] == "prior"]
    (made,) = [row for row in rows_of(out / "scans-1s") if row["sampler"] == "prior"]
    assert made["facts"]["tensors_digest"] == before["facts"]["tensors_digest"]
    assert [str(version) for version in Store()] == ["bench-scans-1s-vae-mlp-s5@1"]
    assert made["figures"] == before["figures"], "the same weights, judged again, have the same figures"


def test_rows_of_another_question_are_not_on_the_page(
    quick: None, drawn: Path, tmp_path: Path, aigc: Run
) -> None:
    out = tmp_path / "out"
    assert bench(aigc, drawn, out, "vae/mlp", "--seeds", 1).code == 0
    before = (out / "scans-1s" / "vae-mlp-prior-s0.json").read_text()
    few = bench(aigc, drawn, out, "vae/mlp", "--seed", 1, "-n", 40, "--json")
    rows = json.loads(few.out)["rows"]
    assert [row["sampler"] for row in rows] == drawable("vae/mlp")
    assert {(row["seed"], row["asked"]["count"]) for row in rows} == {(1, 40)}
    assert "`vae/mlp` | prior | 0" not in (out / "scans-1s.md").read_text()
    assert (out / "scans-1s" / "vae-mlp-prior-s0.json").read_text() == before


def test_a_model_that_diverges_is_a_row_and_not_the_end(
    quick: None, drawn: Path, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = default().load("gan/mlp").trainer
    real = trainer.step

    def step(self: Any, batch: Any) -> Any:
        return {name: value * float("nan") for name, value in real(self, batch).items()}

    monkeypatch.setattr(trainer, "step", step)
    out = tmp_path / "out"
    done = bench(aigc, drawn, out, "gan/mlp", "vae/mlp", "--seeds", 1)
    assert done.code == 0, done.err
    assert "gan/mlp seed 0 failed: " in done.err
    failed, *fine = rows_of(out / "scans-1s")
    assert (failed["model"], failed["sampler"], failed["figures"]) == ("gan/mlp", None, {})
    assert "training has diverged" in failed["failed"]
    assert [row["model"] for row in fine] == ["vae/mlp"] * len(drawable("vae/mlp"))
    assert all(row["figures"] for row in fine)
    page = (out / "scans-1s.md").read_text()
    assert re.search(r"^- `gan/mlp`, seed 0: .*training has diverged", page, re.MULTILINE)
    assert re.search(r"^\| `gan/mlp` \| – \| 0 \|.*\| failed \|$", page, re.MULTILINE)
    monkeypatch.setattr(trainer, "step", real)
    assert bench(aigc, drawn, out, "gan/mlp", "vae/mlp", "--seeds", 1).err == "", "it is not tried again"
    (out / "scans-1s" / "gan-mlp-s0.json").unlink()
    assert bench(aigc, drawn, out, "gan/mlp", "vae/mlp", "--seeds", 1).code == 0
    assert "failed" not in (out / "scans-1s.md").read_text()


DRIVER = """
import sys
from aigc_core.evaluation import features
features.STEPS = 20
from aigc_core.cli import main
sys.argv = ["aigc", *sys.argv[1:]]
main()
"""


@pytest.fixture
def start(drawn: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts the command in a process of its own."""
    begun: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        words = ["bench", "vae/mlp", "--data", drawn, "--budget", "1s", "-n", 40, "--seeds", 3]
        line = [sys.executable, "-c", DRIVER, *map(str, words), "--out", str(tmp_path / "out")]
        begun.append(subprocess.Popen(line, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.long
def test_killed_it_goes_on_and_two_at_once_share_the_work(start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "scans-1s"
    first = start()
    while not list(folder.glob("*-prior-s0.json")):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = {path.name: path.read_text() for path in folder.glob("*.json")}
    two = [start(), start()]
    told = [process.communicate(timeout=120)[1] for process in two]
    assert [process.returncode for process in two] == [0, 0], told
    rows = rows_of(folder)
    assert sorted(row["seed"] for row in rows) == sorted([0, 1, 2] * len(drawable("vae/mlp")))
    assert all((folder / name).read_text() == text for name, text in kept.items())
    assert sorted(map(str, Store())) == [f"bench-scans-1s-vae-mlp-s{seed}@1" for seed in range(3)]
    trained = re.findall(r"vae/mlp, seed (\d);", "".join(told))
    assert trained.count("1") == trained.count("2") == 1, "each is trained once"
    page = (tmp_path / "out" / "scans-1s.md").read_text()
    assert len(re.findall(r"^\| `vae/mlp` \| prior \| [012] \|", page, re.MULTILINE)) == 3
    assert not [p for p in folder.iterdir() if p.name.startswith(".")], "no locks, nothing half-written"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["vae/mlpp"], 3, "no model 'vae/mlpp'; did you mean 'vae/mlp'?"),
        (["mlp"], 2, "model name 'mlp' is ambiguous"),
        (["--budget", "0.5s"], 2, "--budget 0.5s is too short to train in; give at least 1s"),
        (["--budget", "soon"], 2, "a time must be like 90s, 5m or 1h30m, not 'soon'"),
        (["--seeds", "0"], 2, "--seeds must lie in 1 .. 1000, not 0"),
        (["--seed", "-1"], 2, "--seed must lie in 0 .."),
        (["--seeds", "2", "--seed", "1"], 2, "give --seeds N, or --seed K as often as wanted, not both"),
        (["-n", "1"], 2, "-n must lie in 2 .. 10000000, not 1"),
        (["--data", "no-such"], 3, "no data set and no path 'no-such'"),
        (["--data", "digits"], 6, "digits: has no split to judge by (validation or test)"),
        (["--split", "dev"], 3, "no folder"),
        (["--features", "eyes"], 2, "no features 'eyes'; there are: own,"),
        (["text/gpt"], 6, "model 'text/gpt' is for text, 'scans' is image"),
        (["audio/tacotron", "--data", "SOUNDS"], 3, "no backend that is installed has a metric for audio"),
        (["vae/mlp", "--out", "FILE/there"], 8, "its folder is a file"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(
    drawn: Path, tmp_path: Path, aigc: Run, home: Path, words: list[str], code: int, said: str
) -> None:
    (tmp_path / "file").touch()
    if "SOUNDS" in words:
        write_sounds(tmp_path / "sounds", 3)
    places = {"SOUNDS": str(tmp_path / "sounds"), "FILE/there": str(tmp_path / "file" / "there")}
    words = [places.get(word, word) for word in words]
    refused = aigc(
        "bench", "--budget", "1s", *([] if "--data" in words else ["--data", drawn]), "--out", tmp_path / "o", *words
    )  # fmt: skip
    assert refused.code == code, refused.err
    assert said in refused.error
    assert not (home / "runs").exists()


def test_what_the_data_do_not_fit_is_named_and_passed_over(drawn: Path) -> None:
    from aigc_core.benchmark.job import _fitting
    from aigc_core.data.dataset import ArrayImages

    small = ArrayImages(np.zeros((9, 1, 4, 4), np.uint8), name="small")
    with pytest.raises(DataError, match="no model can be benched on 'small': .*items are 1x4x4"):
        _fitting(default(), small, [])
    fine = ArrayImages(np.zeros((9, 1, 8, 8), np.uint8), name="fine")
    fitting, passed_over = _fitting(default(), fine, [])
    needy = {s.id for s in default().models.values() if s.modality == "image" and s.data.labels}
    assert {"gan/mlp", "gan/dcgan", "vae/mlp", "vae/conv"} <= {spec.id for spec in fitting}
    assert set(passed_over) == needy
    assert all("it needs labels" in reason for reason in passed_over.values())


def test_models_of_texts_are_judged_without_samples(tmp_path: Path, aigc: Run) -> None:
    lines = "".join(f"line {n} of a book about a house in {n % 7} towns\n" for n in range(300))
    (tmp_path / "book.txt").write_text(lines)
    out = tmp_path / "out"
    done = bench(aigc, tmp_path / "book.txt", out, "text/lstm", "--seeds", 1, "--json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["rows"]
    assert row["sampler"] is None
    assert row["figures"]
    assert all(number["value"] > 0 for number in row["figures"].values())
    assert (out / "book.txt-1s" / row["sheet"]).read_text().strip()
    again = bench(aigc, tmp_path / "book.txt", out, "text/lstm", "--seeds", 1, "--json")
    assert again.out == done.out


def made(
    model: str, sampler: str | None, seed: int, *, failed: str | None = None, **figures: float | None
) -> Row:
    """A row as it is kept."""
    numbers = {n: Number(v, None, n, n != "coverage") for n, v in figures.items()}
    return Row(
        {"budget": 60.0}, model, sampler, seed, failed, numbers, {"date": f"2026-11-2{seed}T00:00"}, None
    )


ASKED = {"budget": 60.0, "count": 10, "split": "test", "data": "sha256:0"}


def test_the_spread_over_seeds_and_the_best_sampler_of_each_model() -> None:
    rows = [made("a/b", "plain", s, fid=v, coverage=0.5) for s, v in enumerate([2.0, 4.0, 6.0])]
    rows += [made("a/b", "fine", s, fid=v, coverage=0.25) for s, v in enumerate([1.0, 2.0, None])]
    rows += [made("c/d", "alone", 0, fid=0.125), made("c/d", None, 1, failed="it | diverged")]
    page = report.page("set-1m", "set", ASKED, rows, "set-1m")
    means = page.partition("## Over the seeds")[2].partition("## Every run")[0]
    assert "| `a/b` | plain | 3 | – | – | 4 ± 2 (2 .. 6) | 0.5 ± 0 (0.5 .. 0.5) |" in means
    assert "| `a/b` | **fine** | 3 | – | – | 1.5 ± 0.707 (1 .. 2) |" in means
    assert "| `c/d` | alone | 1 | – | – | 0.125 | – |" in means, "one sampler alone is not the best of many"
    assert "| `c/d` | – | 0 of 1 | – | – | – | – |" in means
    assert "- `c/d`, seed 1: it | diverged" in page
    assert "Lower is better of fid." in page
    assert "2026-11-20 to 2026-11-22" in page
    assert "    aigc bench --data set --budget 1m a/b c/d --seeds 3 -n 10 --split test\n" in page
    assert report.best(report.groups(rows), "coverage", lower=False) == {("a/b", "plain")}


def test_damaged_rows_are_measured_again_and_a_lock_is_for_one(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows")
    rows.open()
    row = made("a/b", "plain", 0, fid=2.0)
    rows.write(row)
    assert list(rows) == [row] == [rows.read("a/b", "plain", 0)]
    for text in (
        "",
        "[]",
        "{}",
        '{"format": 9}',
        '{"format": 1, "figures": {"a": 3}}',
        '{"format": 1, "figures": {}}',
    ):
        (rows.folder / "a-b-plain-s0.json").write_text(text)
        assert rows.read("a/b", "plain", 0) is None
        assert list(rows) == []
    with rows.alone("a") as ours, rows.alone("a") as others, rows.alone("b") as another:
        assert (ours, others, another) == (True, False, True)
    with rows.alone("a") as ours:
        assert ours
    assert [path.name for path in rows.folder.iterdir()] == ["a-b-plain-s0.json"]


def test_times_and_commands_are_written_as_they_are_read() -> None:
    from aigc_core.training.settings import seconds

    for value in (1.0, 1.5, 59.0, 60.0, 90.0, 600.0, 3600.0, 3661.0, 5400.0, 86400.0):
        assert seconds(duration(value)) == value
    assert [duration(v) for v in (90.0, 600.0, 5400.0)] == ["90s", "10m", "1h30m"]
    asked = {"budget": 600.0, "count": 64, "split": "a b"}
    assert command("my set", asked, ["vae/mlp"], [2, 5]) == (
        "aigc bench --data 'my set' --budget 10m vae/mlp --seed 2 --seed 5 -n 64 --split 'a b'"
    )
    assert ask("x/mnist", 600, 3, 64).weights("gan/dcgan", 1) == "bench-mnist-10m-gan-dcgan-s1"
    with pytest.raises(UsageError, match="too short"):
        ask("mnist", 0.2, 3, 64)


def test_the_time_of_steps_is_that_of_the_log(tmp_path: Path) -> None:
    lines = [{"step": 1, "items_per_second": 10.0}, {"step": 25, "items_per_second": 120.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert steps_seconds(tmp_path / "metrics.jsonl", 10) == pytest.approx(1 + 2)
    assert steps_seconds(tmp_path / "none.jsonl", 10) == 0
