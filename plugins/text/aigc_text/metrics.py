"""How well a language model predicts a text that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.data.tokens import Tokens
from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Metric
from aigc_text.language import LanguageModel

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.dataset import Dataset
    from aigc_core.interfaces import Generator

    Row = npt.NDArray[np.integer[Any]]
    Track = Callable[[Iterable[Any], int, str], Iterable[Any]]

VALUES: Final = 1 << 25
"""Logits that are computed at once, at most (or those of one window): memory does not grow with the text."""

WINDOWS: Final = (200, 12)
"""Batches, and windows of each, that the random-window loss is a mean over, as in nanoGPT's `estimate_loss`."""


class BitsPerByte(Metric):
    """The whole text, each token predicted once from what its window holds on its left."""

    def measure(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, float]:
        """Bits a byte of the text; and nats a token (`loss`), perplexity, and of how many tokens and bytes.

        The first token is predicted from the one that ends a document; a document's end is predicted too. Raises
        DataError for data that are not the tokens of a text.
        """
        model, text = _language_model(generator), _tokens(data)
        nats, count, size = 0.0, len(text.row), text.corpus.sizes(data.split).bytes
        windows, parts = _in_turn(text, model.config.context, model.tokenizer.end, _together(model))
        for tokens in track(windows, parts, "tokens"):
            nats += float(_nats(model, tokens).sum())
        loss = nats / count
        return {
            "bits-per-byte": nats / math.log(2) / size,
            "loss": loss,
            "perplexity": math.exp(min(loss, 700)),
            "tokens": count,
            "bytes": size,
        }


class WindowLoss(Metric):
    """The mean over windows drawn at random, as nanoGPT reports it: for comparison with its figures."""

    def measure(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, float]:
        """`window-loss` in nats a token, its standard error over the batches, and the number of windows. Raises
        DataError as above, or for less text than a window takes."""
        model, text, (batches, size) = _language_model(generator), _tokens(data), WINDOWS
        window = model.config.context
        starts = np.random.default_rng(seed).integers(0, len(text.row) - window, (batches, size))
        losses = []
        for chosen in track(starts, batches, "batches"):
            rows = np.stack([text.part(start, start + window + 1) for start in chosen.tolist()])
            parts = (rows[part : part + _together(model)] for part in range(0, size, _together(model)))
            losses.append(float(torch.cat([_nats(model, part) for part in parts]).mean()))
        error = float(np.std(losses, ddof=1)) / math.sqrt(batches)
        return {"window-loss": float(np.mean(losses)), "error": error, "windows": batches * size}


def _language_model(generator: Generator[Any]) -> LanguageModel:
    if not isinstance(generator, LanguageModel):
        raise UsageError(
            f"{type(generator).__name__} is no language model of aigc-text, which this metric judges"
        )
    return generator


def _tokens(data: Dataset) -> Tokens:
    if not isinstance(data, Tokens):
        raise DataError(f"{data.name!r} holds no tokens of a text; give a .txt, a .jsonl or a folder of them")
    return data


def _together(model: LanguageModel) -> int:
    """How many windows are computed at once."""
    return max(1, VALUES // (model.tokenizer.size * model.config.context))


def _in_turn(text: Tokens, window: int, end: int, together: int) -> tuple[Iterator[Row], int]:
    """Windows [n, T + 1] side by side, the last token of one the first of the next; how many such arrays there are.
    The last array is one window of what remains."""
    whole, rest = divmod(len(text.row), window)

    def arrays() -> Iterator[Row]:
        before = np.array([end])
        for first in range(0, whole, together):
            flat = text.part(first * window, min(first + together, whole) * window)
            flat = np.concatenate([before, flat])
            before = flat[-1:]
            yield np.lib.stride_tricks.sliding_window_view(flat, window + 1)[::window]
        if rest:
            yield np.concatenate([before, text.part(whole * window, len(text.row))])[None]

    return arrays(), -(-whole // together) + bool(rest)


def _nats(model: LanguageModel, windows: Row) -> Tensor:
    """-log p [n, T], float64, of the tokens but the first of windows [n, T + 1]."""
    device = next(chain(model.parameters(), model.buffers())).device
    x = torch.from_numpy(windows.astype(np.int64)).to(device)
    logits = model(x[:, :-1]).float()
    return F.cross_entropy(logits.transpose(1, 2), x[:, 1:], reduction="none").double()
