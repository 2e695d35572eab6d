"""The engine of decoding: rows of token ids that grow one token at a time. It knows no text and no sampler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from aigc_text.language import LanguageModel

MULTIPLE: Final = 4
"""Products run over rows in multiples of this, where those agree with the products of the whole block."""

TRIED: Final = 3
"""Tokens that such a trial reads, unless the context is shorter."""


class Decoder:
    """The rows of a block that are still written.

    Bit for bit, a row is the same whatever else is in its block. Prompts are read one by one, each in a product of its
    own length; nothing is padded, so nothing has to be masked. Each next token is one product over the rows that are
    left: rows that have ended leave. If a trial shows that this machine's products of so few rows are, bit for bit,
    those of the whole block, only so many are computed; else the whole block always is, each row in its place.
    Attention goes over the rows of one length, which lie beside each other in the memory.

    size: of the block. room: tokens of the longest text, if it is known.
    """

    def __init__(self, model: LanguageModel, size: int, room: int) -> None:
        self.model, self.size = model, size
        self.device = next(model.parameters()).device
        self.room = room
        self.few = size >= MULTIPLE
        self.row_at: dict[int, int] = {}
        """The row of the block that is at each place of the memory, in the order of the places."""
        self.length: dict[int, int] = {}
        """What each row has read."""

    @property
    def rows(self) -> list[int]:
        """The rows that are left, in the order of the logits."""
        return list(self.row_at.values())

    @torch.inference_mode()
    def start(self, prompts: Mapping[int, Sequence[int]]) -> Tensor:
        """Reads the prompts of rows; logits [n, V] of the token after each, in the order of `rows`."""
        self.most = self._few(len(prompts))
        self.few = self.few and agree(self.model, self.size, self.most)
        order = sorted(prompts, key=lambda row: len(prompts[row])) if self.few else sorted(prompts)
        self.row_at = {place if self.few else row: row for place, row in enumerate(order)}
        self.length = {row: len(prompts[row]) for row in order}
        self.memory = self.model.memory(self.most if self.few else self.size, self.room)
        read: dict[tuple[int, ...], tuple[int, Tensor]] = {}
        logits = []
        for place, row in self.row_at.items():
            tokens = tuple(prompts[row])
            if tokens in read:  # a prompt that was read needs no second reading
                self.memory.copy([read[tokens][0]], [place])
            else:
                read[tokens] = place, self._read(place, tokens)
            logits.append(read[tokens][1])
        return torch.cat(logits)

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> Tensor:
        """Reads the next token of rows, all that are left or some; logits [n, V] of the token after it, in the order
        of `rows`."""
        places = [place for place, row in self.row_at.items() if row in tokens]
        values = [tokens[self.row_at[place]] for place in places]
        for place in places:
            self.length[self.row_at[place]] += 1
        count = self._count(len(places))
        if count == len(places):
            return self._advance(values, places)
        # Rows that nobody asked for fill the product up; they have read nothing.
        if self.few:
            spare = [place for place in range(self.most) if place not in self.row_at][: count - len(places)]
            self.memory.clear(spare)
            return self._advance(values + [0] * len(spare), places + spare)[: len(places)]
        self.memory.clear([place for place in range(self.size) if place not in self.row_at])
        given = dict(zip(places, values, strict=True))
        whole = self._advance([given.get(place, 0) for place in range(self.size)], range(self.size))
        return whole[self._tensor(places)]

    @torch.inference_mode()
    def leave(self, rows: Iterable[int]) -> None:
        """These rows have ended. The last one of their length takes their place."""
        for row in rows:
            places = list(self.row_at)
            hole = next(place for place in places if self.row_at[place] == row)
            last = hole
            while (
                self.few
                and last + 1 in self.row_at
                and self.length[self.row_at[last + 1]] == self.length[row]
            ):
                last += 1
            if last != hole:
                self.memory.copy([last], [hole])
                self.row_at[hole] = self.row_at[last]
            del self.row_at[last], self.length[row]

    @torch.inference_mode()
    def again(self, row: int, tokens: Sequence[int]) -> Tensor:
        """Forgets what a row has read, and reads these; logits [1, V] of the token after them."""
        place = next(place for place, there in self.row_at.items() if there == row)
        self.memory.clear([place])
        self.length[row] = len(tokens)
        return self._read(place, tokens)

    def _read(self, place: int, tokens: Sequence[int]) -> Tensor:
        return self.model.advance(self._tensor(tokens)[None], self.memory, self._tensor([place]))

    def _few(self, rows: int) -> int:
        """How many rows a product has that must have so many."""
        return min(self.size, -(-rows // MULTIPLE) * MULTIPLE)

    def _count(self, rows: int) -> int:
        """How many rows the next product has."""
        if not self.few:
            return self.size
        if rows == 1 and agree(self.model, self.size, 1):
            return 1
        fitting = range(self._few(rows), self.most, MULTIPLE)
        return next((count for count in fitting if agree(self.model, self.size, count)), self.most)

    def _advance(self, values: Sequence[int], places: Sequence[int]) -> Tensor:
        return self.model.advance(self._tensor(values)[:, None], self.memory, self._tensor(places))

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self.device)


@torch.inference_mode()
def agree(model: LanguageModel, size: int, rows: int) -> bool:
    """Whether the network gives so many rows the bits that it gives them in a whole block, on this machine, with so
    many threads: tried, the first time that it is asked, with the weights as they are."""
    if rows == size:
        return True
    weight = next(model.parameters())
    known: dict[tuple[object, ...], bool] = model.__dict__.setdefault("_agreements", {})
    key = (size, rows, torch.get_num_threads(), weight.dtype, weight.device)
    if key not in known:
        last = torch.arange(
            size - 1, size - 1 - rows, -1, device=weight.device
        )  # others beside them, elsewhere
        known[key] = torch.equal(
            _trial(model, torch.arange(size, device=weight.device))[last], _trial(model, last)
        )
    return known[key]


def _trial(model: LanguageModel, texts: Tensor) -> Tensor:
    """[n, V] logits after a few tokens that differ from text to text."""
    memory = model.memory(len(texts), TRIED)
    places = torch.arange(len(texts), device=texts.device)
    read = [
        model.advance(((texts * 7 + step * 5) % model.tokenizer.size)[:, None], memory, places)
        for step in range(min(TRIED, model.context or TRIED))
    ]
    return torch.cat(read, dim=1)
