"""`curves.png`: every metric of a run over its steps, as small multiples of one picture.

matplotlib is imported when a picture is drawn, and used by its objects alone: no pyplot, no backend is
chosen, no figure outlives the call.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aigc_core.files import write_atomically
from aigc_core.training.metrics import Entry, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS: Final = re.compile(r"loss|^(kl|elbo|nll|bpd|mse|mae|reconstruction|commitment|perplexity)$|bits_per_")
THROUGHPUT: Final = re.compile(r"per_second$|_per_s$|/s$|throughput")
RATE: Final = re.compile(r"^(lr|learning_rate)$|_(lr|learning_rate)$")
KINDS: Final = (("losses", LOSS), ("learning rate", RATE), ("throughput", THROUGHPUT))

COLOURS: Final = ("#3366b0", "#d1682a", "#3a8f5c", "#a03c7a", "#7a6a4f", "#4aa3b5", "#b5a13a", "#6f5bb0")
INK: Final = "#333333"
FAINT: Final = "#d9d9d9"
MOST_POINTS: Final = 3000
"""Of one line: more than a panel has pixels for."""
FEW_POINTS: Final = 40
"""Fewer are not smoothed."""
LOG_RANGE: Final = 50.0
"""From this ratio of the highest value to the lowest on, a panel of positive values is logarithmic."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: metrics of one kind share it, as losses do."""

    title: str
    metrics: tuple[str, ...]


def draw(metrics: Path, out: Path, title: str) -> None:
    """Draws `metrics.jsonl` as a PNG at `out`, which appears whole or not at all.

    Without a single finite value nothing is drawn. Raises StorageError.
    """
    entries = read_metrics(metrics)
    names = dict.fromkeys(n for _, values in entries for n, v in values.items() if _drawable(v))
    if not names:
        return
    with _quiet():
        content = _png(entries, panels(list(names)), title)
    with write_atomically(out) as file:
        file.write(content)


def panels(names: Sequence[str]) -> list[Panel]:
    """Which metrics share a plot: losses, learning rates, throughputs; each of the others has its own."""
    left = list(names)
    found = []
    for title, pattern in KINDS:
        same = tuple(name for name in left if pattern.search(name.lower()))
        left = [name for name in left if name not in same]
        if same:
            found.append(Panel(title if len(same) > 1 else same[0], same))
    losses, rest = found[:1], found[1:]
    if losses and not LOSS.search(losses[0].metrics[0].lower()):
        losses, rest = [], found
    return [*losses, *(Panel(name, (name,)) for name in left), *rest]


def smooth(values: Sequence[float], width: int) -> list[float]:
    """The mean of `width` neighbours on either side of each value.

    Near the beginning, where curves are steep, of as many as there are on both sides; near the end, where
    they are flat and looked at most, of at least half as many on the left.
    """
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    last = len(values) - 1
    found = []
    for i in range(len(values)):
        right = min(width, i, last - i)
        left = min(i, max(right, width // 2))
        found.append((sums[i + right + 1] - sums[i - left]) / (left + right + 1))
    return found


def _png(entries: Sequence[Entry], shown: Sequence[Panel], title: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = 1 if len(shown) == 1 else 2 if len(shown) <= 6 else 3
    rows = math.ceil(len(shown) / columns)
    size = (7.6, 4.4) if columns == 1 else (4.9 * columns, 2.9 * rows + 0.5)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=size, dpi=110, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    heading = figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    heading.set_parse_math(False)
    first, last = entries[0][0], entries[-1][0]
    for place, panel in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        _plot(axes, entries, panel)
        if first < last:
            axes.set_xlim(first - 0.02 * (last - first), last + 0.02 * (last - first))
        if place >= len(shown) - columns:
            axes.set_xlabel("step", fontsize=9, color=INK)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _plot(axes: Axes, entries: Sequence[Entry], panel: Panel) -> None:
    """Each metric as a faint line of what was logged and a strong one of its running mean."""
    lines = []
    low, high = math.inf, -math.inf
    for name, colour in zip(panel.metrics, _cycle(), strict=False):
        points = [(step, values[name]) for step, values in entries if _drawable(values.get(name, math.nan))]
        steps, raw = [p[0] for p in points], [p[1] for p in points]
        smoothed = len(raw) >= FEW_POINTS and not RATE.search(name)
        mean = smooth(raw, max(3, len(raw) // 60)) if smoothed else raw
        low, high = min(low, min(mean)), max(high, max(mean))
        kept = _thinned(len(raw))
        if smoothed:
            axes.plot(
                [steps[i] for i in kept], [raw[i] for i in kept], color=colour, alpha=0.28, linewidth=0.8
            )
        (line,) = axes.plot(
            [steps[i] for i in kept], [mean[i] for i in kept],
            color=colour, linewidth=1.7, marker="o" if len(raw) < 12 else None, markersize=3.5,
        )  # fmt: skip
        lines.append(line)
    if low > 0 and high / low >= LOG_RANGE:
        axes.set_yscale("log")
    _dress(axes, panel, any(RATE.search(name) for name in panel.metrics))
    if len(lines) > 1:
        legend = axes.legend(
            lines, [name.lstrip("_") or name for name in panel.metrics],
            fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def _dress(axes: Axes, panel: Panel, from_zero: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    heading = axes.set_title(panel.title, fontsize=10, loc="left", color=INK)
    heading.set_parse_math(False)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.tick_params(labelsize=8, colors=INK, length=3, width=0.6)
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_step))
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter(FuncFormatter(_figure))
        if from_zero:
            axes.set_ylim(bottom=0)


def _figure(value: float, place: object = None, least: float = 1e4) -> str:
    """`0.0015`, `5500`, `200k`: by thousands from `least` on."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, least):
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"


def _step(value: float, place: object = None) -> str:
    return _figure(value, least=1e3)


def _drawable(value: float) -> bool:
    """Neither what is no number, nor what is too large for an axis."""
    return abs(value) <= 1e100


def _thinned(count: int) -> range:
    """The points of a line that are drawn, the last one among them."""
    step = max(1, math.ceil(count / MOST_POINTS))
    return range((count - 1) % step, count, step)


def _cycle() -> Iterator[str]:
    while True:
        yield from COLOURS


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """matplotlib tells of its font cache and of letters that its font lacks; neither is the user's concern."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
