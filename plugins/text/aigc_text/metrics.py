"""How well a language model predicts a text that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_core.errors import DataError
from aigc_core.interfaces import Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.data.dataset import Dataset
    from aigc_core.interfaces import Generator

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

        The first token is predicted from the one that ends a document; a document's end is predicted too.
        """
        tokens, bytes_ = tokens_of(data), int(data.bytes)  # type: ignore[attr-defined]
        nats = 0.0
        for batch in track(*_in_turn(generator, tokens), "tokens"):
            nats += float(nats_of(generator, batch).sum())
        loss = nats / len(tokens)
        return {
            "bits-per-byte": nats / math.log(2) / bytes_,
            "loss": loss,
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "tokens": len(tokens),
            "bytes": bytes_,
        }


class WindowLoss(Metric):
    """The mean over windows drawn at random, as nanoGPT reports it: for comparison with its figures."""

    def measure(
        self, generator: Generator[Any], data: Dataset, *, seed: int, track: Track
    ) -> Mapping[str, float]:
        """`window-loss` in nats a token, its standard error over the batches, and the number of windows."""
        tokens, (batches, size) = tokens_of(data), WINDOWS
        window = min(generator.config.context, len(tokens) - 1)
        starts = np.random.default_rng(seed).integers(0, len(tokens) - window, (batches, size))
        losses = []
        for chosen in track(starts, batches, "batches"):
            rows = np.stack([tokens[start : start + window + 1] for start in chosen])
            parts = max(1, VALUES // (generator.tokenizer.size * window))
            nats = [nats_of(generator, rows[part : part + parts]) for part in range(0, size, parts)]
            losses.append(float(torch.cat(nats).mean()))
        spread = float(np.std(losses, ddof=1)) / math.sqrt(batches)
        return {"window-loss": float(np.mean(losses)), "error": spread, "windows": batches * size}


def tokens_of(data: Dataset) -> npt.NDArray[np.integer[Any]]:
    """All tokens of a split, [n], where they lie on the disk. Raises DataError for fewer than two."""
    tokens: npt.NDArray[np.integer[Any]] = data.tokens  # type: ignore[attr-defined]
    if len(tokens) < 2:
        raise DataError(f"{data.name}: {len(tokens)} tokens in its split {data.split!r}; give a longer text")
    return tokens


def _in_turn(
    generator: Generator[Any], tokens: npt.NDArray[np.integer[Any]]
) -> tuple[Iterable[npt.NDArray[np.int64]], int]:
    """Windows [n, T + 1] side by side, the last token of one the first of the next, and how many arrays of them."""
    window = generator.config.context
    size = max(1, VALUES // (generator.tokenizer.size * window))
    whole, rest = divmod(len(tokens), window)

    def piece(begin: int, end: int) -> npt.NDArray[np.int64]:
        """Tokens begin - 1 .. end - 1; before the first one stands an end."""
        before = tokens[begin - 1 : begin] if begin else np.array([generator.tokenizer.end])
        return np.concatenate([before, tokens[begin:end]]).astype(np.int64)

    def full(first: int) -> npt.NDArray[np.int64]:
        count = min(size, whole - first)
        flat = piece(first * window, (first + count) * window)
        return np.lib.stride_tricks.sliding_window_view(flat, window + 1)[::window]

    arrays: Iterable[npt.NDArray[np.int64]] = map(full, range(0, whole, size))
    if rest:
        arrays = chain(arrays, (piece(whole * window, len(tokens))[None] for _ in range(1)))
    return arrays, -(-whole // size) + bool(rest)


def nats_of(generator: Generator[Any], windows: npt.NDArray[np.integer[Any]]) -> Tensor:
    """-log p [n, T], float64, of the tokens but the first of windows [n, T + 1]."""
    device = next(chain(generator.parameters(), generator.buffers())).device
    x = torch.from_numpy(np.asarray(windows, np.int64).copy()).to(device)
    logits = generator(x[:, :-1]).float()
    return F.cross_entropy(logits.transpose(1, 2), x[:, 1:], reduction="none").double()
