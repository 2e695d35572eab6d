"""How a text is read: what `-d key=value` says. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from aigc_core.options import Field, Options, parse

SHARE: Final = 0.1
"""Of a text that is held out, where nothing else is said."""

SMALL: Final = 1000
"""Bytes of a text below which nothing is held out, where nothing else is said."""


class TextReading(Options):
    """What a document is, and which of them are held out."""

    documents: Literal["file", "paragraph", "line"] = Field(
        "file", description="what a document of a .txt is; one of a .jsonl is an object, which is a line"
    )
    field: str = Field("text", description="which field of a .jsonl's objects holds the text")
    invalid: Literal["refuse", "replace"] = Field(
        "refuse", description="bytes that are not UTF-8: an error, or each the character U+FFFD"
    )
    validation: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="share that is held out for validation; none: 0.1, and nothing of less than 1,000 bytes",
    )

    def share(self, size: int) -> float:
        """What is held out of so many bytes of text."""
        return _default(size) if self.validation is None else self.validation

    def said(self, size: int | None = None) -> dict[str, Any]:
        """What differs from the defaults, as JSON; for a text of so many bytes, what makes a difference."""
        found = self.model_dump(mode="json", exclude_defaults=True)
        if size is not None and self.validation == _default(size):
            found.pop("validation", None)
        return found


def _default(size: int) -> float:
    return 0.0 if size < SMALL else SHARE


def text_reading(given: Mapping[str, Any] | None) -> TextReading:
    """The options from what was given for them. Raises UsageError for an unknown one, or a value out of range."""
    found = parse({"reading": TextReading}, given or {}, "the reading of texts (-d)")["reading"]
    assert isinstance(found, TextReading)
    return found
