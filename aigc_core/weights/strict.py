"""JSON from files that anyone may have written: one spelling a value, and no more memory than the text is worth.

Python's own reader takes more than JSON (NaN, numbers without end, a key twice, half of a surrogate pair) and
needs up to 30 bytes of memory for one of text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

DEEPEST: Final = 64
"""Levels of brackets, far below those at which Python's own writers give up."""
SMALL: Final = 4_000_000
GROWTH: Final = 12
"""A longer text than SMALL is read only if its value takes no more than GROWTH bytes a character."""
LONGEST_NUMBER: Final = 30
HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a surrogate pair, written out; two of them are one character and allowed."""


def parse(text: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError, and no other error, for what is not strictly JSON.

    Also for whole numbers of more than 30 digits, others beyond a float's range, and for nesting that only an
    attacker would write.
    """
    if isinstance(text, bytes):
        text = text.decode()
    if len(text) > SMALL and _bytes_needed(text) > GROWTH * len(text):
        raise ValueError("it would take far more memory than its size")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise ValueError("it is nested too deeply")
    if not text.isascii():
        text.encode()
    if HALF.search(text):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its pairs. Raises ValueError if a key occurs twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("a number has too many digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=unique, parse_int=_whole, parse_float=_finite, parse_constant=_refused
)


def _bytes_needed(text: str) -> int:
    """What CPython would take for the value at most: for objects, lists, keys and items."""
    return 200 * text.count("{") + 64 * text.count("[") + 120 * text.count(":") + 48 * text.count(",")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
