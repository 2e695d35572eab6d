"""What is said of sound files beside the files: by the lines of a metadata file, by their names."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aigc_core.data.folder import files_below
from aigc_core.data.reading import IGNORED, SoundReading, columns
from aigc_core.errors import DataError

ENDINGS: Final = (".wav", ".flac", ".ogg")
"""Of sounds."""
SPLITS: Final = ("train", "test", "validation")
NAMES: Final = ("metadata.csv", "metadata.txt")
"""What a metadata file is called, where no name is given."""
LONGEST: Final = 1 << 14
"""Characters of a transcript, at most."""
WAVS: Final = "wavs"
"""The folder beside a metadata file that the sounds may lie in (LJSpeech)."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of one sound."""

    text: str | None = None
    speaker: str | None = None
    label: str | None = None


@dataclass(slots=True)
class Metadata:
    """What a metadata file says of the files that are there."""

    path: Path
    rows: dict[Path, Said] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Of its lines: `metadata.csv:12: reason`."""
    faulty: set[Path] = field(default_factory=set)
    """The files that such lines are about."""


def find_metadata(root: Path, reading: SoundReading) -> Path | None:
    """The metadata file of a folder: in it, or, where the folder is one of several splits, beside it.

    Raises DataError if there is none of the name that was asked for.
    """
    if reading.metadata == IGNORED or (reading.transcripts == "label" and not reading.metadata):
        return None
    folders = (root, root.parent) if root.name in SPLITS else (root,)
    for name in (reading.metadata,) if reading.metadata else NAMES:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    if reading.metadata:
        raise DataError(f"{root}: no metadata file {reading.metadata!r} in it (-d metadata=...)")
    return None


def read_metadata(path: Path, root: Path, sounds: Sequence[Path], reading: SoundReading) -> Metadata:
    """The lines of a metadata file about sounds below `root`, as `file|text`; columns beyond those named are ignored.

    A file is named with or without its ending, from the folder of the metadata file, or of the sounds, or from `wavs`
    in it. Texts are brought to NFC, white space to single spaces. Raises DataError if the file can't be read.
    """
    names, found = columns(reading.columns), Metadata(path)
    known = _by_name(sounds, _places(path.parent, root))
    others = {} if root == path.parent else _elsewhere(path.parent)
    least = max(i for i, name in enumerate(names) if name) + 1
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    lines: dict[Path, int] = {}
    for number, raw in enumerate(content.splitlines(), 1):
        try:
            cells = [plain_text(cell) for cell in raw.decode().split("|")]
        except UnicodeDecodeError as error:
            found.problems.append(f"{path.name}:{number}: is not UTF-8 (byte {error.start} of the line)")
            continue
        if cells == [""]:
            continue
        values = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        name = values.get("file", "")
        file = known.get(name)
        empty = [name for name, value in values.items() if not value]
        problem = ""
        if len(cells) < least:
            problem = f"has {len(cells)} of {least} columns ({reading.columns})"
        elif file is None and name in known:
            problem = f"there are several sounds {name!r}; name one with its ending"
        elif file is None and name in others:
            continue  # a sound of another split
        elif file is None:
            problem = f"there is no sound {name!r}" + ("; is it a header?" if number == 1 else "")
        elif len(values.get("text", "")) > LONGEST:
            problem = f"its text has {len(values['text']):,} characters, more than {LONGEST:,}"
        elif empty:
            problem = f"its {empty[0]} is empty"
        elif file in lines:
            problem = f"says {name!r} again, after line {lines[file]}"
        if problem or file is None:
            found.problems.append(f"{path.name}:{number}: {problem}")
            if file is not None:
                found.faulty.add(file)
            continue
        lines[file] = number
        found.rows[file] = Said(values.get("text"), values.get("speaker"), values.get("label"))
    return found


def by_names(pattern: str, root: Path, sounds: Sequence[Path]) -> Mapping[Path, Said]:
    """What the names of files say, of those that a pattern fits; it is held against as many of the last parts of a
    path as it has itself, without the ending."""
    parts = pattern.count("/") + 1
    regex = "".join(
        f"(?P<{piece}>[^/]+?)" if index % 2 and piece else "[^/]*?" if index % 2 else re.escape(piece)
        for index, piece in enumerate(re.split(r"\{(label|speaker|)\}", pattern))
    )
    fits, found = re.compile(regex), {}
    for path in sounds:
        stem = "/".join(path.relative_to(root).with_suffix("").parts[-parts:])
        if match := fits.fullmatch(plain_text(stem)):
            named = match.groupdict()
            found[path] = Said(None, named.get("speaker"), named.get("label"))
    return found


def plain_text(text: str) -> str:
    """In NFC, white space as single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _places(folder: Path, root: Path) -> list[Path]:
    """From where a line of a metadata file in `folder` may name the sounds below `root`."""
    return list(dict.fromkeys((folder, folder / WAVS, root, root / WAVS)))


def _by_name(sounds: Sequence[Path], places: Sequence[Path]) -> dict[str, Path | None]:
    """The sounds by all names that a line may give them; None for one that several of them have."""
    found: dict[str, Path | None] = {}
    for path in sounds:
        for base in places:
            if path.is_relative_to(base):
                relative = path.relative_to(base)
                for name in {
                    plain_text(relative.as_posix()),
                    plain_text(relative.with_suffix("").as_posix()),
                }:
                    found[name] = path if found.get(name, path) == path else None
    return found


def _elsewhere(folder: Path) -> Mapping[str, Path | None]:
    """The names of the sounds of all splits."""
    splits = [place for name in SPLITS for place in _places(folder, folder / name)]
    return _by_name(files_below(folder, ENDINGS), list(dict.fromkeys(splits)))
