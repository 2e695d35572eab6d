"""The table of a bench in Markdown, made of its rows alone: the same rows are the same page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aigc_core.benchmark.ask import command, duration
from aigc_core.benchmark.row import Number, Row

NONE: Final = "–"
"""In the place of what is not known."""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one model and sampler."""

    model: str
    sampler: str | None
    rows: tuple[Row, ...]

    def values(self, figure: str) -> list[float]:
        """A figure over the seeds, those that have it."""
        numbers = [row.figures.get(figure) for row in self.rows]
        return [number.value for number in numbers if number is not None and number.value is not None]


def figures(rows: Iterable[Row]) -> dict[str, Number]:
    """The names of all figures in the order in which they come, each with one that tells which way is better."""
    found: dict[str, Number] = {}
    for row in rows:
        for name, number in row.figures.items():
            found.setdefault(name, number)
    return found


def groups(rows: Iterable[Row]) -> list[Group]:
    """By model and sampler, in the order in which they come; those that failed before they were drawn from last."""
    found: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        found.setdefault((row.model, row.sampler), []).append(row)
    return [
        Group(model, sampler, tuple(sorted(same, key=lambda r: r.seed)))
        for (model, sampler), same in found.items()
    ]


def best(found: Sequence[Group], figure: str, lower: bool) -> set[tuple[str, str | None]]:
    """Of each model that has several samplers, the one whose mean over the seeds is best."""
    chosen: dict[str, tuple[float, Group]] = {}
    several = {
        g.model for g in found if sum(h.model == g.model and bool(h.values(figure)) for h in found) > 1
    }
    for group in found:
        if group.model in several and (values := group.values(figure)):
            mean = statistics.fmean(values) * (1 if lower else -1)
            if group.model not in chosen or mean < chosen[group.model][0]:
                chosen[group.model] = (mean, group)
    return {(group.model, group.sampler) for _, group in chosen.values()}


def page(title: str, data: str, asked: Mapping[str, Any], rows: Sequence[Row], folder: str) -> str:
    """title: `mnist-10m`; asked: what decides the table; rows: in the order of the table; folder: of their pictures,
    relative to the page."""
    names = figures(rows)
    models, seeds = list(dict.fromkeys(row.model for row in rows)), sorted({row.seed for row in rows})
    parts = [
        f"# {title}",
        _about(data, asked, rows),
        f"    {command(data, dict(asked), models, seeds)}",
    ]
    parts.append(_machine(rows))
    found = groups(rows)
    marked: set[tuple[str, str | None]] = set()
    if names:
        first, number = next(iter(names.items()))
        marked = best(found, first, number.lower_is_better)
        if len(seeds) > 1:
            parts += ["## Over the seeds", _over_seeds(names, marked, first), _means(found, names, marked)]
    parts += ["## Every run", _runs(rows, names, folder)]
    if failed := [f"- {_who(row)}: {row.failed}" for row in rows if row.failed]:
        parts += ["## What failed", "\n".join(failed)]
    if shown := _pictures(found, marked, folder):
        parts += ["## Samples", shown]
    return "\n\n".join(parts) + "\n"


def _about(data: str, asked: Mapping[str, Any], rows: Sequence[Row]) -> str:
    text = (
        f"Each model, with all its defaults, trained on `{data}` for {duration(asked['budget'])} in all, measuring its "
        f"speed included. Judged on the split `{asked['split']}`"
    )
    if eyes := {row.facts["extractor"]["name"] for row in rows if row.facts.get("extractor")}:
        named = " and ".join(f"`{name}`" for name in sorted(eyes))
        text += f" by {asked['count']:,} samples of each sampler, as {named} sees them"
    return f"{text}. Made, and made again, by:"


def _machine(rows: Sequence[Row]) -> str:
    told: dict[str, None] = {}
    versions: dict[str, set[str]] = {}
    for row in rows:
        env = row.facts.get("environment", {})
        if "torch" in env:
            told[_environment(env)] = None
        for name, version in row.facts.get("versions", {}).items():
            versions.setdefault(name, set()).add(version)
    dates = sorted(str(row.facts["date"])[:10] for row in rows if row.facts.get("date"))
    when = " to ".join(dict.fromkeys(dates[:1] + dates[-1:]))
    named = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in sorted(versions.items()))
    return "\n".join(filter(None, [f"{when}; {named}.", *(f"{line}." for line in told)]))


def _environment(env: Mapping[str, Any]) -> str:
    device = env.get("hardware", "") if env.get("device") == "cuda" else env.get("processor", "")
    parts = [
        f"{device}, {env.get('cores')} cores",
        f"trained with {env.get('threads')} threads in {env.get('precision')}",
        f"Python {env['python']}" if "python" in env else "",
        f"torch {env['torch']}",
    ]
    return "; ".join(filter(None, parts))


def _over_seeds(names: Mapping[str, Number], marked: set[Any], first: str) -> str:
    ways = [n for n, number in names.items() if number.lower_is_better]
    text = "Mean ± sample standard deviation (least .. most)."
    if ways:
        text += f" Lower is better of {', '.join(ways)}."
    return (text + (f" In bold, of each model, the sampler with the best {first}." if marked else "")).strip()


def _means(found: Sequence[Group], names: Mapping[str, Number], marked: set[tuple[str, str | None]]) -> str:
    head = ["model", "sampler", "seeds", "images/s", "samples/s", *names]
    lines = []
    for group in found:
        bold = (group.model, group.sampler) in marked
        sampler = group.sampler or NONE
        done = sum(row.failed is None for row in group.rows)
        seeds = str(done) if done == len(group.rows) else f"{done} of {len(group.rows)}"
        speeds = [_mean_fact(group, key) for key in ("images_per_second", "samples_per_second")]
        cells = [_spread(group.values(name)) for name in names]
        lines.append([f"`{group.model}`", f"**{sampler}**" if bold else sampler, seeds, *speeds, *cells])
    return _table(head, lines)


def _runs(rows: Sequence[Row], names: Mapping[str, Number], folder: str) -> str:
    head = [
        "model", "sampler", "seed", "seconds", "steps", "images/s", "parameters", "samples/s", *names, "samples"
    ]  # fmt: skip
    lines = []
    for row in rows:
        facts = row.facts
        shown = f"[look]({folder}/{row.sheet})" if row.sheet else "failed" if row.failed else NONE
        lines.append(
            [
                f"`{row.model}`", row.sampler or NONE, str(row.seed), _count(facts.get("seconds")),
                _count(facts.get("steps")), _count(facts.get("images_per_second")), _count(facts.get("parameters")),
                _count(facts.get("samples_per_second")),
                *(_number(row.figures[n].value if n in row.figures else None) for n in names), shown,
            ]
        )  # fmt: skip
    notes = (
        "Seconds are those of the steps alone; measuring the speed before them, and fitting samplers and keeping the "
        f"weights after them, come on top. Beside each sheet, in `{folder}`, a JSON file of the same name says all of a row, "
        "the 95 % intervals of its figures among it."
    )
    return f"{_table(head, lines)}\n\n{notes}"


def _pictures(found: Sequence[Group], marked: set[tuple[str, str | None]], folder: str) -> str:
    """Of each model the sheet of its best sampler, of the first seed."""
    chosen: dict[str, Row] = {}
    for group in found:
        rows = [row for row in group.rows if row.sheet and row.sheet.endswith(".png")]
        if rows and (group.model not in chosen or (group.model, group.sampler) in marked):
            chosen[group.model] = rows[0]
    return "\n\n".join(f"{_who(row)}:\n\n![{_who(row)}]({folder}/{row.sheet})" for row in chosen.values())


def _who(row: Row) -> str:
    return ", ".join(filter(None, [f"`{row.model}`", row.sampler, f"seed {row.seed}"]))


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |" for row in rows)


def _mean_fact(group: Group, key: str) -> str:
    values = [row.facts[key] for row in group.rows if row.facts.get(key)]
    return _count(statistics.fmean(values)) if values else NONE


def _spread(values: Sequence[float]) -> str:
    if not values:
        return NONE
    mean = _number(statistics.fmean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ± {_number(statistics.stdev(values))} ({_number(min(values))} .. {_number(max(values))})"


def _number(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _count(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if abs(value) >= 10 or float(value).is_integer() else f"{value:.2g}"
