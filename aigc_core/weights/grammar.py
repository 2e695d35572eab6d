"""The JSON of a safetensors header, by a grammar that knows nothing else.

A general reader would first build whatever a hostile header describes: a million empty objects, a shape of a
million dimensions. Here each tensor is looked at by itself, and takes no more memory than its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, NamedTuple

METADATA: Final = "__metadata__"
SPACE: Final = r"[ \t\r\n]*+"
STRING: Final = r'("(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+")'
NUMBER: Final = r"(?:0|[1-9][0-9]{0,14}+)"
"""Below 10^15: a petabyte."""
LIST: Final = rf"\[{SPACE}(?:{NUMBER}(?:{SPACE},{SPACE}{NUMBER}){{0,63}}+)?+{SPACE}\]"
"""At most 64 numbers, as many dimensions as torch and numpy know."""
USUAL: Final = (
    rf',{STRING}:\{{"dtype":("[A-Z0-9_]{{1,16}}+"),"shape":(\[(?:{NUMBER}(?:,{NUMBER}){{0,63}}+)?+\]),'
    rf'"data_offsets":\[({NUMBER}),({NUMBER})\]\}}'
)
"""A tensor that is not the first, as the library spells it: most of what is ever read."""
FIELD: Final = rf'{SPACE}"(dtype|shape|data_offsets)"{SPACE}:{SPACE}("[A-Z0-9_]{{1,16}}+"|{LIST}){SPACE}'


class Entry(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read(text: str, key: str) -> tuple[dict[str, Entry], str | None]:
    """The tensors of a header by their names, and its metadata under `key`. Raises ValueError."""
    tensors: dict[str, Entry] = {}
    found: list[str] = []
    sections = 0
    string, usual = re.compile(STRING), re.compile(USUAL)
    entry = re.compile(rf"\{{{FIELD},{FIELD},{FIELD}\}}")

    def add(name: str, item: Entry) -> None:
        if name in tensors or name == METADATA:
            raise ValueError(f"{name[:50]!r} occurs twice, or is no tensor")
        tensors[name] = item

    def text_of(name: str, position: int) -> int:
        match = string.match(text, position)
        if not match:
            raise ValueError(f"metadata {name[:50]!r} is no text")
        value = _unescaped(match[1])
        if name == key:
            found.append(value)
        return match.end()

    def member(name: str, position: int) -> int:
        nonlocal sections
        if name == METADATA:
            sections += 1
            return _object(text, position, text_of)
        match = entry.match(text, position)
        if not match:
            raise ValueError(f"tensor {name[:50]!r} has other fields than dtype, shape and data_offsets")
        add(name, _entry(name, *match.groups()))
        end = match.end()
        while match := usual.match(text, end):
            quoted, dtype, shape, first, last = match.groups()
            add(_unescaped(quoted), Entry(dtype[1:-1], _numbers(shape), int(first), int(last)))
            end = match.end()
        return end

    end = _object(text, re.match(SPACE, text).end(), member)  # type: ignore[union-attr]
    if text[end:].strip(" \t\r\n"):
        raise ValueError("something follows it")
    if sections > 1 or len(found) > 1:
        raise ValueError("a key occurs twice")
    return tensors, found[0] if found else None


def _object(text: str, position: int, member: Callable[[str, int], int]) -> int:
    """Calls `member` with each key of an object and its value's position; it returns where that ends."""
    opening = re.compile(rf"\{{{SPACE}(\}})?").match(text, position)
    if not opening:
        raise ValueError("an object is missing")
    closed, position = bool(opening[1]), opening.end()
    key, separator = re.compile(rf"{STRING}{SPACE}:{SPACE}"), re.compile(rf"{SPACE}(?:,{SPACE}|(\}}))")
    while not closed:
        match = key.match(text, position)
        if not match:
            raise ValueError(f"no key at character {position}")
        position = member(_unescaped(match[1]), match.end())
        match = separator.match(text, position)
        if not match:
            raise ValueError(f"neither ',' nor '}}' at character {position}")
        closed, position = bool(match[1]), match.end()
    return position


def _entry(name: str, *fields: str) -> Entry:
    """From keys and values in turn; their order is free."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        start, end = _numbers(values["data_offsets"])
        dtype = values["dtype"]
        if dtype[0] != '"':
            raise ValueError
        return Entry(dtype[1:-1], _numbers(values["shape"]), start, end)
    except (KeyError, ValueError):
        raise ValueError(f"tensor {name[:50]!r} lacks its dtype, shape or data_offsets") from None


def _numbers(text: str) -> tuple[int, ...]:
    inside = text[1:-1]
    return tuple(map(int, inside.split(","))) if inside.strip() else ()


def _unescaped(quoted: str) -> str:
    """The text of a JSON string. Raises ValueError for half of a surrogate pair."""
    if "\\" not in quoted:
        return quoted[1:-1]
    value = str(json.loads(quoted))
    value.encode()
    return value
