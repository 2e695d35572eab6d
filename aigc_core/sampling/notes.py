"""What samplers say of their samples beside them: facts for the record, pictures to look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aigc_core.interfaces import Block


class Notes:
    """By index of a sample, what `Block.note` and `Block.show` were given."""

    def __init__(self) -> None:
        self.facts: Final[dict[int, dict[str, Any]]] = {}
        self.pictures: Final[dict[int, npt.NDArray[np.uint8]]] = {}

    def take(self, block: Block, private: bool = False) -> None:
        """Keeps what was said of those rows of a block that were asked for. private: but nothing that holds words, which
        may be the prompt's."""
        for row in block.rows:
            if block.notes is not None and block.notes[row]:
                facts = block.notes[row]
                if private:
                    facts = {name: fact for name, fact in facts.items() if not _has_words(fact)}
                self.facts[block.start + row] = facts
            if block.pictures is not None and row in block.pictures:
                self.pictures[block.start + row] = block.pictures[row]

    def said(self, indices: Iterable[int]) -> dict[str, Any]:
        """What a record of these samples says of their facts, in their order; nothing if there are none."""
        found = [self.facts.get(index, {}) for index in indices]
        return {"notes": found} if any(found) else {}

    def shown(self, indices: Iterable[int]) -> list[npt.NDArray[np.uint8]]:
        """The pictures of these samples, in their order, of those that have one."""
        return [self.pictures[index] for index in indices if index in self.pictures]

    def clear(self) -> None:
        self.facts.clear()
        self.pictures.clear()


def _has_words(fact: Any) -> bool:
    if isinstance(fact, dict):
        return any(map(_has_words, (*fact, *fact.values())))
    if isinstance(fact, list | tuple):
        return any(map(_has_words, fact))
    return isinstance(fact, str)
