"""What is to be said, as symbols."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aigc_core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from aigc_audio.config import SpeechOptions
    from aigc_audio.tacotron.network import Tacotron
    from aigc_core.interfaces import Block


@dataclass(frozen=True)
class Line:
    """What one row says."""

    text: str
    symbols: Tensor
    """[1, L] int64, the end's symbol last."""
    speaker: int
    """An index into the generator's speakers; 0 where there are none."""


def lines(model: Tacotron, block: Block, options: SpeechOptions) -> dict[int, Line]:
    """By row, of those that were asked for: its prompt, or else an example of the data. Raises UsageError for one that
    the model can't say."""
    texts = block.prompts or _examples(model, block)
    voices = _voices(model, options.speaker)
    found = {}
    for row in block.rows:
        text = spelled(texts[row], model.characters)
        symbols = [1 + model.characters.index(c) for c in text]
        found[row] = Line(
            text,
            torch.tensor([[*symbols, model.end]], device=block.device),
            voices[(block.start + row) % len(voices)],
        )
    return found


def spelled(text: str, characters: str) -> str:
    """A prompt in the characters that a model has learnt: in their case, if they have but one, and with one space where
    there is white space. Raises UsageError, naming those that it has not learnt, or if nothing is left."""
    text = " ".join(text.split())
    if not any(c.isupper() for c in characters):
        text = text.lower()
    elif not any(c.islower() for c in characters):
        text = text.upper()
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    if not forms[0]:
        raise UsageError("the prompt is empty; give it something to say")
    for form in forms:
        if set(form) <= set(characters):
            return form
    unknown = " ".join(f"{c!r}" for c in sorted(set(forms[0]) - set(characters)))
    known = characters if len(characters) <= 100 else f"{characters[:100]} and {len(characters) - 100} more"
    raise UsageError(
        f"the prompt {_short(forms[0])!r} has what the model never heard spoken: {unknown}; it knows {known!r}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _examples(model: Tacotron, block: Block) -> list[str]:
    examples = model.data.details.get("examples")
    if not examples:
        raise UsageError("nothing to say: give it a --prompt")
    return [examples[index % len(examples)] for index in block.indices]


def _voices(model: Tacotron, names: tuple[str, ...]) -> list[int]:
    """The speakers that are asked for, or the first."""
    for name in names:
        if not model.speakers:
            raise UsageError(f"there is no speaker {name!r}: the model has one voice; leave out --speaker")
        if name not in model.speakers:
            hint = did_you_mean(name, list(model.speakers)) or ""
            raise UsageError(f"there is no speaker {name!r}{hint}; there are: {', '.join(model.speakers)}")
    return [model.speakers.index(name) for name in names] or [0]
