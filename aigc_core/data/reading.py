"""How texts and sounds are read: what `-d key=value` says. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import field_validator, model_validator

from aigc_core.errors import UsageError
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


class SoundReading(Options):
    """What is made of the sound files of a folder, and what is known of each."""

    sample_rate: int | None = Field(
        None,
        ge=1000,
        le=192_000,
        description="all are resampled to it; none: to the commonest rate among them",
    )
    trim: float | None = Field(
        None,
        gt=0,
        le=120,
        description="what is so many dB quieter than the loudest 10 ms is cut from both ends",
    )
    pad: float = Field(0.0, ge=0, le=10, description="seconds of silence that are put at both ends")
    shortest: float | None = Field(None, ge=0, description="seconds; shorter ones are left out")
    longest: float | None = Field(None, gt=0, description="seconds; longer ones are left out")
    names: str | None = Field(
        None, description="what the file names say: {label}_{speaker}_{} (without the ending; {} is anything)"
    )
    metadata: str = Field(
        "",
        description="the file that says what each sound is; by default metadata.csv or .txt; none ignores it",
    )
    columns: str = Field(
        "file|text", description="what stands in its lines: file, text, speaker, label; _ for what is ignored"
    )
    transcripts: Literal["metadata", "label"] = Field(
        "metadata",
        description="where it is said what is said: in the metadata file, or by the names of the classes",
    )

    @field_validator("names")
    @classmethod
    def _names(cls, value: str | None) -> str | None:
        if value is not None:
            known = [name for name in PLACE.findall(value) if name]
            if not known or len(known) > len({*known}):
                raise ValueError("must hold {label} or {speaker}, each once")
            if re.search("[{}]", PLACE.sub("", value)) or "}{" in value:
                raise ValueError(
                    "may hold {label}, {speaker} and {} alone in braces, with something between them"
                )
        return value

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: str) -> str:
        found = [name for name in columns(value) if name]
        for name in found:
            if name not in COLUMNS:
                raise ValueError(
                    f"there is no {name!r}; there are: {', '.join(COLUMNS)}, and _ for what is ignored"
                )
        if "file" not in found or len(found) < 2 or len({*found}) < len(found):
            raise ValueError("must name the file and at least one of text, speaker, label; each once")
        return value

    @model_validator(mode="after")
    def _fits(self) -> SoundReading:
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise ValueError(f"shortest={self.shortest:g} is longer than longest={self.longest:g}")
        if (
            self.transcripts == "label"
            and self.metadata not in ("", IGNORED)
            and "text" in columns(self.columns)
        ):
            raise ValueError(
                "transcripts=label, but the columns of the metadata file name a text; give one of both"
            )
        return self

    def outside(self, seconds: float) -> str:
        """Why a sound of such a length is left out; empty if it is not."""
        if self.shortest is not None and seconds < self.shortest:
            return f"its {seconds:.3g} s are shorter than shortest={self.shortest:g}"
        if self.longest is not None and seconds > self.longest:
            return f"its {seconds:.3g} s are longer than longest={self.longest:g}"
        return ""

    def said(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)


class PictureReading(Options):
    """What is known of pictures beside themselves."""

    captions: str = Field(
        "",
        description="the file that says what is to be seen in each; by default metadata.jsonl beside them; none ignores it",
    )

    def said(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)


PLACE: Final = re.compile(r"\{(label|speaker|)\}")
COLUMNS: Final = ("file", "text", "speaker", "label")
IGNORED: Final = "none"
"""Instead of the name of a metadata file."""


def columns(text: str) -> list[str]:
    """The names of columns, with an empty text for each that is ignored."""
    return [name.strip().removeprefix("_") for name in text.split("|")]


class Reading(NamedTuple):
    """What was given, sorted by what it is for."""

    texts: TextReading
    sounds: SoundReading
    pictures: PictureReading

    def refuse(self, reason: str, *, texts: bool = True, sounds: bool = True, pictures: bool = True) -> None:
        """Raises UsageError if anything was given for texts, sounds or pictures that are not there."""
        kinds: tuple[tuple[bool, TextReading | SoundReading | PictureReading], ...] = (
            (texts, self.texts),
            (sounds, self.sounds),
            (pictures, self.pictures),
        )
        there = [options for refused, options in kinds if not refused]
        for refused, options in kinds:
            if refused and (said := options.said()):
                given = " ".join(f"-d {name}={value}" for name, value in said.items())
                apply = f"; what applies: {', '.join(type(there[0]).model_fields)}" if len(there) == 1 else ""
                raise UsageError(f"{given} does not apply: {reason}{apply}")


def readings(given: Mapping[str, Any] | None) -> Reading:
    """The options from what was given for them. Raises UsageError for an unknown one, or a value out of range."""
    schemas: dict[str, type[Options]] = {
        "texts": TextReading, "sounds": SoundReading, "pictures": PictureReading,
    }  # fmt: skip
    found = parse(schemas, given or {}, "the reading of data (-d)")
    texts, sounds, pictures = found["texts"], found["sounds"], found["pictures"]
    assert isinstance(texts, TextReading)
    assert isinstance(sounds, SoundReading)
    assert isinstance(pictures, PictureReading)
    return Reading(texts, sounds, pictures)


def text_reading(given: Mapping[str, Any] | None) -> TextReading:
    """The options of texts. Raises UsageError for an unknown one, or a value out of range."""
    found = parse({"reading": TextReading}, given or {}, "the reading of texts (-d)")["reading"]
    assert isinstance(found, TextReading)
    return found
