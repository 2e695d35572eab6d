"""What is logged besides `metrics.jsonl`: curves, TensorBoard, a logger that somebody else wrote."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Run, Site
from PIL import Image
from wheels import build

from aigc_core.errors import StorageError, UsageError
from aigc_core.training.curves import Panel, draw, panels, smooth
from aigc_core.training.metrics import last_metrics, read_metrics
from aigc_core.training.tensorboard import TensorBoard, require

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "logger"
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard"
)
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")


def write_log(path: Path, *lines: dict[str, float] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


# metrics.jsonl


def test_a_log_that_a_kill_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    log = write_log(tmp_path / "m", {"step": 25, "loss": 2.0}, {"step": 50, "loss": 1}, '{"step": 75, "lo')
    assert read_metrics(log) == [(25, {"loss": 2.0}), (50, {"loss": 1.0})]
    assert last_metrics(log) == (50, {"loss": 1.0})


def test_lines_that_are_no_log_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "m"
    log.write_bytes(b'[1]\n\xff\n{"loss": 1}\n{"step": "x"}\n{"step": 5, "loss": 3, "note": "text"}\n3\n')
    assert read_metrics(log) == [(5, {"loss": 3.0})]
    assert read_metrics(tmp_path / "none") == []
    assert last_metrics(tmp_path / "none") is None
    assert last_metrics(write_log(tmp_path / "empty")) is None


def test_where_a_log_goes_back_the_later_lines_hold(tmp_path: Path) -> None:
    log = write_log(tmp_path / "m", *({"step": s, "loss": i} for i, s in enumerate([25, 50, 75, 50, 60])))
    assert read_metrics(log) == [(25, {"loss": 0.0}), (50, {"loss": 3.0}), (60, {"loss": 4.0})]


def test_the_last_line_of_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = write_log(tmp_path / "m", *({"step": s, "loss": 0.5} for s in range(1, 20_000)))
    assert log.stat().st_size > 500_000
    assert last_metrics(log) == (19_999, {"loss": 0.5})


# curves.png


def test_metrics_of_one_kind_share_a_panel() -> None:
    names = ["lr", "kl", "critic_loss", "items_per_second", "grad_norm", "reconstruction"]
    assert panels(names) == [
        Panel("losses", ("kl", "critic_loss", "reconstruction")),
        Panel("grad_norm", ("grad_norm",)),
        Panel("lr", ("lr",)),
        Panel("items_per_second", ("items_per_second",)),
    ]
    assert panels(["lr", "critic_lr"]) == [Panel("learning rate", ("lr", "critic_lr"))]
    assert panels(["accuracy"]) == [Panel("accuracy", ("accuracy",))]


def test_a_running_mean_neither_lags_nor_leaves_the_range() -> None:
    line = [float(i) for i in range(100)]
    assert smooth(line, 5)[:90] == pytest.approx(line[:90])
    assert smooth([3.0] * 20, 4) == pytest.approx([3.0] * 20)
    assert smooth([], 3) == []
    noise = smooth([(-1.0) ** i for i in range(200)], 10)
    assert max(map(abs, noise[20:])) < 0.2


def drawn(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_curves_show_every_metric(tmp_path: Path) -> None:
    lines = [
        {"step": 25 * i, "loss": 100 / i, "kl": 0.1 * i, "lr": 1e-3, "_odd $name": -i, "items/s": 5e3}
        for i in range(1, 200)
    ]
    draw(write_log(tmp_path / "m", *lines), tmp_path / "curves.png", "gan/dcgan on $digits$")
    image = drawn(tmp_path / "curves.png")
    assert image.format == "PNG"
    assert min(image.size) > 500
    colours = {c for _, c in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x33, 0x66, 0xB0), (0xD1, 0x68, 0x2A)} <= colours
    assert [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    "lines",
    [
        [{"step": 25, "loss": 3.0}],
        [{"step": 25, "loss": 3.0}, {"step": 50, "loss": math.nan}, {"step": 75, "loss": math.inf}],
        [{"step": 25, "loss": math.nan}, {"step": 50, "loss": 1.0}, '{"step": 75, "l'],
        [{"step": 25, "loss": 0.0}, {"step": 50, "kl": -1.0}],
        [{"step": 25, "loss": 1e300}, {"step": 50, "loss": 1e-300}],
        [{"step": 25, "loss": 1e99}, {"step": 50, "loss": 1e-300}, {"step": 75, "loss": -1e99}],
        [{"step": s, **{f"metric {i}": s * i for i in range(20)}} for s in range(3)],
        [{"step": s, **{f"loss {i}": s * i for i in range(20)}} for s in range(3)],
        [{"step": s, "損失": s} for s in range(3)],
    ],
    ids=["one", "not a number", "cut off", "zero", "far apart", "both far", "many", "many losses", "letters"],
)
def test_curves_are_drawn_of_whatever_there_is(
    lines: list[dict[str, float] | str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(write_log(tmp_path / "m", *lines), tmp_path / "curves.png", "t")
    assert drawn(tmp_path / "curves.png").size[0] > 500
    assert capsys.readouterr() == ("", "")


def test_without_a_number_there_is_no_picture(tmp_path: Path) -> None:
    for lines in ([], [{"step": 25, "loss": math.nan}], [{"step": 25}]):
        draw(write_log(tmp_path / "m", *lines), tmp_path / "curves.png", "t")
        draw(tmp_path / "none", tmp_path / "curves.png", "t")
        assert not (tmp_path / "curves.png").exists()


def test_where_curves_cannot_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        draw(write_log(tmp_path / "m", {"step": 1, "loss": 1.0}), tmp_path / "file" / "curves.png", "t")


def test_drawing_is_silent_and_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    """Also where the cache of its fonts is made for the first time, and cannot be kept."""
    log = write_log(tmp_path / "m", {"step": 1, "loss": 1.0})
    code = (
        "import logging, sys; from pathlib import Path; from aigc_core.training.curves import draw; "
        "assert 'matplotlib' not in sys.modules; "
        f"draw(Path({str(log)!r}), Path({str(tmp_path / 'c.png')!r}), 't'); "
        "assert 'matplotlib.pyplot' not in sys.modules; assert 'torch' not in sys.modules; "
        "assert logging.getLogger('matplotlib').level == logging.NOTSET"
    )
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
        env={**os.environ, "MPLCONFIGDIR": str(nowhere / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


# TensorBoard


def scalars(folder: Path, name: str) -> dict[int, float]:
    """What TensorBoard itself would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def images(folder: Path) -> dict[int, tuple[int, int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {e.step: (e.width, e.height) for e in events.Images("samples")}


@needs_tensorboard
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_metrics_and_sheets(tmp_path: Path) -> None:
    sheet = tmp_path / "00000050.png"
    Image.new("L", (40, 20), 128).save(sheet)
    board = TensorBoard(tmp_path / "tb")
    for step in (25, 50):
        board.log(step, {"loss": 1 / step, "kl": math.nan})
    board.image(50, sheet)
    board.image(50, tmp_path / "00000050.txt")
    board.close()
    assert scalars(tmp_path / "tb", "loss") == pytest.approx({25: 0.04, 50: 0.02})
    assert images(tmp_path / "tb") == {50: (40, 20)}


@needs_tensorboard
@pytest.mark.filterwarnings("ignore")
def test_steps_that_are_made_again_replace_what_was_written_of_them(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path / "tb")
    for step in (25, 50, 75, 100):
        first.log(step, {"loss": 1.0})
    first.close()
    resumed = TensorBoard(tmp_path / "tb", begun=50)
    resumed.log(75, {"loss": 2.0})
    resumed.log(100, {"loss": 2.0})
    resumed.rewind(75)
    resumed.log(90, {"loss": 3.0})
    resumed.close()
    assert scalars(tmp_path / "tb", "loss") == {25: 1.0, 50: 1.0, 75: 2.0, 90: 3.0}


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r'pip install "aigc-core\[tensorboard\]"'):
        require()


@needs_tensorboard
def test_asking_for_the_package_imports_nothing() -> None:
    code = (
        "import sys; from aigc_core.training.tensorboard import require; require(); "
        "assert not {'torch', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_tensorboard
def test_tensorboard_prints_nothing(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from aigc_core.training.tensorboard import TensorBoard; "
        f"board = TensorBoard(Path({str(tmp_path / 'tb')!r})); board.log(1, {{'loss': 1.0}}); "
        "board.close(); board.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_tensorboard
@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_cannot_be_written_to_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        TensorBoard(tmp_path / "file" / "tb")


# a logger of somebody else


def wandb_records(file: Path) -> Iterator[bytes]:
    """The records of an offline run: a LevelDB log, blocks of 32 KiB of (checksum, length, type, bytes)."""
    data, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def wandb_history(run: Path) -> list[dict[str, float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    rows = []
    for content in wandb_records(file):
        record = Record.FromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


@needs_wandb
@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_example_logs_to_weights_and_biases_offline(
    process: Run, site: Site, home: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(build(EXAMPLE, tmp_path)) as wheel:
        wheel.extractall(site.path)
    own = {f"WANDB_{kind}_DIR": str(tmp_path / "wandb") for kind in ("CONFIG", "CACHE", "DATA")}
    command = ["train", "vae/mlp", "--data", "digits", "--name", "mine", "--steps", 60]
    done = process(*command, "--json", WANDB_MODE="offline", WANDB_SILENT="true", **own)
    assert done.code == 0, done.err
    assert done.err == ""
    (folder,) = (home / "runs").iterdir()
    logged = [row for row in wandb_history(folder) if "loss" in row]
    assert [row["step"] for row in logged] == [1, 25, 50, 60]
    for (step, metrics), row in zip(read_metrics(folder / "metrics.jsonl"), logged, strict=True):
        assert {"step": step, **metrics} == pytest.approx({name: row[name] for name in ("step", *metrics)})
    assert json.loads(done.out)["training"]["metrics"]["loss"] == pytest.approx(logged[-1]["loss"])


def test_the_page_holds_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
    for file, language in (("aigc_wandb.py", "python"), ("pyproject.toml", "toml")):
        assert f"```{language}\n{(EXAMPLE / file).read_text(encoding='utf-8')}```\n" in page
