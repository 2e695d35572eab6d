"""What restricts the choice of the next token: functions of logits [n, V], in which -inf is what can't be chosen.

No row depends on another. In the order in which they are applied: repetition, forbid, temperature, top_k, top_p,
min_p, typical.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Makes tokens that were there (seen [n, V] bool) less likely (Keskar et al. 2019, arXiv:1909.05858, section 4.1):
    positive logits are divided by the penalty, negative ones multiplied."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def forbid(logits: Tensor, tokens: Sequence[Sequence[int]]) -> Tensor:
    """Takes out tokens of each row."""
    if (
        tokens and len(tokens[0]) == 1 and all(those == tokens[0] for those in tokens)
    ):  # the end alone, mostly
        logits = logits.clone()
        logits.select(1, tokens[0][0]).fill_(-torch.inf)
        return logits
    rows = [row for row, those in enumerate(tokens) for _ in those]
    columns = [token for those in tokens for token in those]
    logits = logits.clone()
    logits[torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)] = -torch.inf
    return logits


def repeating(text: Sequence[int], n: int) -> list[int]:
    """The tokens that would make the last n of a text a sequence that was there before (Paulus et al. 2018,
    arXiv:1705.04304, section 2.5)."""
    if len(text) < n:
        return []
    tokens = np.asarray(text)
    if n == 1:
        return [int(token) for token in np.unique(tokens)]
    windows = np.lib.stride_tricks.sliding_window_view(tokens[:-1], n - 1)
    same = (windows == tokens[len(tokens) - n + 1 :]).all(1)
    return [int(token) for token in tokens[n - 1 :][same]]


def temperature(logits: Tensor, value: float) -> Tensor:
    """Below 1 sharper, above flatter."""
    return logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """The k likeliest tokens (Fan et al. 2018, arXiv:1805.04833), and any as likely as the last of them."""
    if k >= logits.shape[1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[:, -1:], -torch.inf)


def top_p(logits: Tensor, mass: float) -> Tensor:
    """The fewest likeliest tokens that have this mass together (Holtzman et al. 2020, arXiv:1904.09751)."""
    return _fewest(logits, -logits, mass)


def min_p(logits: Tensor, part: float) -> Tensor:
    """Tokens with at least this part of the likeliest's probability (Nguyen et al. 2024, arXiv:2407.01082)."""
    probabilities = logits.softmax(1)
    return logits.masked_fill(probabilities < part * probabilities.amax(1, keepdim=True), -torch.inf)


def typical(logits: Tensor, mass: float) -> Tensor:
    """The fewest tokens of this mass whose surprise is nearest to the entropy (Meister et al. 2023, arXiv:2202.00666,
    equation 12)."""
    surprise = -logits.log_softmax(1)
    expected = entropy(logits)[:, None]
    return _fewest(logits, (surprise - expected).abs(), mass)


def entropy(logits: Tensor) -> Tensor:
    """[n] of the distribution, in nats."""
    logs = logits.log_softmax(1)
    # A sum that runs along the row, in one order whatever the number of rows and threads.
    return -(logs.exp() * logs.nan_to_num(neginf=0.0)).cumsum(1)[:, -1]


def left(logits: Tensor) -> Tensor:
    """[n] how many tokens can still be chosen."""
    return (logits > -torch.inf).sum(1)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """[n] tokens by the inverse of the cumulative distribution, at uniform values [n] from 0 to 1."""
    cumulative = logits.double().softmax(1).cumsum(1)
    # Where the cumulative probability passes the value; its end may miss 1 by a rounding error. A token that can't
    # be chosen adds nothing to the sum, and is never where it passes, since the value is below the end.
    wanted = (uniform.double() * cumulative[:, -1]).clamp(max=cumulative[:, -1] * (1 - 2**-52))
    return torch.searchsorted(cumulative, wanted[:, None], right=True)[:, 0]


def _fewest(logits: Tensor, badness: Tensor, mass: float) -> Tensor:
    """Tokens by rising badness until they have the mass; the first one always."""
    order = badness.argsort(dim=1, stable=True)
    before = logits.softmax(1).gather(1, order).cumsum(1)
    out = torch.zeros_like(before, dtype=torch.bool)
    out[:, 1:] = before[:, :-1] >= mass
    return logits.masked_fill(torch.zeros_like(out).scatter(1, order, out), -torch.inf)
