"""Progress on stderr: a bar where there is a terminal, silence where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


class Bar(Protocol):
    """What a job tells while it works."""

    def update(self, amount: int, figures: Mapping[str, float] | None = None) -> None: ...


class Progress:
    """Makes bars; `shown=False` makes silent ones. tqdm is imported with the first bar that shows."""

    def __init__(self, shown: bool | None = None, *, patience: float = 0.0) -> None:
        """None shows bars if stderr is a terminal; none shows before so many seconds of its work."""
        self.shown = sys.stderr.isatty() if shown is None else shown
        self.patience = patience

    @contextmanager
    def bar(self, total: int, text: str, unit: str, initial: int = 0) -> Iterator[Bar]:
        """A bar over a known amount of work."""
        if not self.shown:
            yield _Silent()
            return
        from tqdm import tqdm

        with tqdm(
            total=total,
            desc=text,
            unit=unit,
            unit_scale=unit == "B",
            initial=initial,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            delay=self.patience,
        ) as shown:
            yield _Shown(shown)

    def track(self, items: Iterable[_T], total: int, text: str) -> Iterator[_T]:
        """Wraps an iterable of known length."""
        with self.bar(total, text, "") as bar:
            for item in items:
                yield item
                bar.update(1)


class _Silent:
    def update(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        pass


class _Shown:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        if figures:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()}, refresh=False)
        self._bar.update(amount)
