"""Cards side by side, where that means something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import DamagedFileError, NotFoundError, StorageError, UsageError
from aigc_core.evaluation.card import FORMAT
from aigc_core.weights import strict

SAME: Final[Mapping[tuple[str, str], str]] = {
    ("data", "digest"): "other data",
    ("data", "split"): "another split",
    ("data", "compared"): "other numbers of real items",
    ("samples", "count"): "other numbers of samples",
    ("extractor", "digest"): "other features",
    ("extractor", "resize"): "pictures resized otherwise",
}
"""What cards of a metric must share, and what is said where they don't. The data of one digest are of one number; those
that samples were compared with may be fewer."""

_OUTLINE: Final = {
    "name": str,
    "figures": dict,
    "intervals": dict,
    "weights": dict,
    "data": dict,
    "seed": int,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of all files."""

    metric: str
    figure: str
    values: tuple[float | None, ...]
    """In the order of the files; None where a file has none."""
    intervals: tuple[tuple[float, float] | None, ...]


def read(path: str | Path) -> list[Mapping[str, Any]]:
    """The cards of a file that `aigc eval --out` or `--json` wrote. Raises NotFoundError, StorageError,
    DamagedFileError."""
    try:
        text = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"no file {path}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    try:
        cards = strict.parse(text)
    except ValueError as error:
        raise DamagedFileError(f"{path}: no cards of metrics: {' '.join(str(error).split())}") from None
    cards = cards if isinstance(cards, list) else [cards]
    for card in cards:
        if not isinstance(card, dict) or "figures" not in card:
            raise DamagedFileError(
                f"{path}: no cards of metrics; make some: aigc eval WEIGHTS --data D --out {path}"
            )
        if card.get("format") != FORMAT:
            raise DamagedFileError(
                f"{path}: a card of format {card.get('format')!r:.20}, this aigc reads {FORMAT}; measure anew"
            )
        if not all(isinstance(card.get(key), kind) for key, kind in _OUTLINE.items()) or not _sound(card):
            raise DamagedFileError(f"{path}: a card is incomplete; measure anew")
    names = [card["name"] for card in cards]
    if not names or len(set(names)) < len(names):
        raise DamagedFileError(f"{path}: holds {'two cards of one metric' if names else 'no card'}")
    return cards


def _sound(card: Mapping[str, Any]) -> bool:
    """Whether figures and intervals are numbers."""
    figures = all(_is_number(value) or value is None for value in card["figures"].values())
    return figures and all(
        pair is None or (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)))
        for pair in card["intervals"].values()
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def differences(files: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """Why the cards of files, by their names, do not compare: a line each; [] where they do."""
    found = []
    for metric in _metrics(files):
        there = [(name, card) for name, cards in files for card in cards if card["name"] == metric]
        first, one = there[0]
        for name, other in there[1:]:
            for (part, key), what in SAME.items():
                a, b = ((card.get(part) or {}).get(key) for card in (one, other))
                if a != b:
                    found.append(f"{metric}: {what} ({first}: {_short(a)}, {name}: {_short(b)})")
    return found


def side_by_side(paths: Sequence[str | Path]) -> list[Row]:
    """The figures of files of cards. Raises UsageError where they do not compare; `differences` tells all reasons."""
    if len(paths) < 2:
        raise UsageError("give two files of cards or more: aigc eval compare A.json B.json")
    files = [(str(path), read(path)) for path in paths]
    if wrong := differences(files):
        raise UsageError(f"these cards do not compare: {wrong[0]}; measure them alike")
    rows = []
    for metric in _metrics(files):
        cards = [next((c for c in cards if c["name"] == metric), None) for _, cards in files]
        figures = dict.fromkeys(name for card in cards if card for name in card["figures"])
        for figure in figures:
            values = tuple(card["figures"].get(figure) if card else None for card in cards)
            pairs = [card["intervals"].get(figure) if card else None for card in cards]
            rows.append(Row(metric, figure, values, tuple((p[0], p[1]) if p else None for p in pairs)))
    return rows


def _metrics(files: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    return list(dict.fromkeys(card["name"] for _, cards in files for card in cards))


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[: len("sha256:") + 12] if text.startswith("sha256:") else text[:60]
