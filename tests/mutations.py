"""Damage done to files that were whole: to their structure, their JSON, their text and their bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from helpers import weights_bytes

NUMBERS = [
    0,
    1,
    -1,
    2,
    7,
    8,
    63,
    255,
    256,
    2**31,
    2**32,
    2**48,
    2**53,
    2**62,
    2**63,
    2**64,
    10**19,
    10**30,
    -(2**63),
]
TEXTS = ["", "aigc", "__metadata__", "U8", "F32", "F4", "X9", "dtype", "shape", "\x00", "\n", "é", "😀", "../x", "CON",
         "sha256:" + "0" * 64, "sha256:", "a" * 300]  # fmt: skip
VALUES: list[Any] = [None, True, False, [], {}, [[]], [0, 0], {"a": 1}, 0.5, -0.0, 1e308, *NUMBERS, *TEXTS]
TOKENS = ["{", "}", "[", "]", ",", ":", '"', "\\", "null", "true", "NaN", "-Infinity", "1e999", "-0", "00", "1.0", "9" * 30,
          "9" * 5000, "\\ud800", "\\u0000", "\\x", "\x00", "\x1f", "\ufeff", "\u2028", " ", "\t\n", "/**/", "'", "[" * 80,
          "[" * 5000, '{"a":' * 70, '"__metadata__":{}', '"aigc":"{}"', '"dtype":"U8"', "é", "😀"]  # fmt: skip


def mutated_value(value: Any, random: Random) -> Any:
    """A JSON value with something in it replaced, dropped, doubled, moved or renamed."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        choice = random.random()
        if choice < 0.6:
            return {**value, key: mutated_value(value[key], random)}
        rest = {k: v for k, v in value.items() if k != key}
        if choice < 0.75:
            return rest
        if choice < 0.85:
            return {**rest, random.choice(TEXTS): value[key]}
        return {**value, random.choice(TEXTS): random.choice([random.choice(VALUES), value[key]])}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        kept = (
            [value[at]] * random.randrange(3) if random.random() < 0.4 else [mutated_value(value[at], random)]
        )
        return value[:at] + kept + value[at + 1 :]
    if type(value) is int and random.random() < 0.4:
        return value + random.choice([-1, 1, 8, -8])
    if isinstance(value, str) and value and random.random() < 0.4:
        at = random.randrange(len(value))
        return (
            value[:at]
            + random.choice(["", chr(random.randrange(0x250)), random.choice(TOKENS)[:20]])
            + value[at + 1 :]
        )
    return random.choice(VALUES)


def spelled(value: Any, random: Random) -> str:
    """A JSON value as text, in one of many spellings."""
    return json.dumps(
        value, ensure_ascii=random.random() < 0.5, indent=random.choice([None, None, 1, "\t"]),
        separators=random.choice([None, (",", ":"), (" ,", ": ")]),
    )  # fmt: skip


def mutated_text(text: str, random: Random) -> str:
    """Text with tokens put in, and stretches taken out, doubled or moved."""
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice([0, 1, 2, 5, 20, 100]))
        choice = random.random()
        if choice < 0.5:
            text = text[:start] + random.choice(TOKENS) + text[end:]
        elif choice < 0.7:
            text = text[:start] + text[end:]
        elif choice < 0.85:
            text = text[:end] + text[start:end] + text[end:]
        else:
            to = random.randrange(len(text) + 1)
            text = text[:to] + text[start:end] + text[to:]
    return text


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """Bytes with some flipped, cut off, put in or set to zero."""
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8])):
        at = random.randrange(len(data) + 1)
        choice = random.random()
        if choice < 0.5 and data:
            data[at % len(data)] ^= 1 << random.randrange(8)
        elif choice < 0.65:
            del data[at:]
        elif choice < 0.75:
            del data[at : at + random.randrange(1, 64)]
        elif choice < 0.85:
            data[at:at] = random.randbytes(random.randrange(1, 16))
        elif choice < 0.95:
            data[at : at + 64] = bytes(len(data[at : at + 64]))
        else:
            data += random.randbytes(random.choice([1, 8, 4096]))
    return bytes(data)


def mutated_json(content: bytes, random: Random) -> bytes:
    """A JSON file, damaged at one of the three levels."""
    choice = random.random()
    if choice < 0.6:
        value = json.loads(content)
        for _ in range(random.choice([0, 1, 1, 1, 2, 4])):
            value = mutated_value(value, random)
        text = spelled(value, random)
        return (mutated_text(text, random) if choice < 0.1 else text).encode(errors="surrogatepass")
    if choice < 0.8:
        return mutated_text(content.decode(), random).encode(errors="surrogatepass")
    return mutated_bytes(content, random)


def mutated_weights(content: bytes, random: Random) -> bytes:
    """A weights file, damaged in its record, its header, the header's length, or anywhere."""
    length = int.from_bytes(content[:8], "little")
    text, data = content[8 : 8 + length], content[8 + length :]
    choice = random.random()
    if choice < 0.1:
        return mutated_bytes(content, random)
    if choice < 0.2:
        size = random.choice([*NUMBERS, length - 1, length + 1, len(content) - 8, len(content)]) % 2**64
        return size.to_bytes(8, "little") + content[8:]
    header = json.loads(text)
    if choice < 0.5 and "aigc" in header.get("__metadata__", {}):
        record = mutated_json(header["__metadata__"]["aigc"].encode(), random)
        header["__metadata__"]["aigc"] = record.decode(errors="replace")
        text = spelled(header, random).encode()
    elif choice < 0.6:
        header = _with_other_tensors(random)
        data = random.randbytes(
            max([0, *(info["data_offsets"][1] for k, info in header.items() if k[0] != "_")])
        )
        text = spelled(header, random).encode()
    else:
        text = mutated_json(text, random)
    if random.random() < 0.05:
        data = mutated_bytes(data, random)
    return len(text).to_bytes(8, "little") + text + data


def _with_other_tensors(random: Random) -> dict[str, Any]:
    """A header of tensors of all types; whole, but for types of less than a byte."""
    header: dict[str, Any] = {}
    position = 0
    for number in range(random.randrange(6)):
        dtype, bits = random.choice(
            [
                ("U8", 8),
                ("F32", 32),
                ("BF16", 16),
                ("C64", 64),
                ("F4", 4),
                ("F6_E2M3", 6),
                ("F8_E8M0", 8),
                ("BOOL", 8),
            ]
        )
        shape = [random.choice([0, 1, 2, 4, 8]) for _ in range(random.randrange(4))]
        count = 1
        for n in shape:
            count *= n
        end = position + (count * bits + random.choice([0, 7])) // 8
        header[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    items = list(header.items())
    random.shuffle(items)
    header = dict(items)
    if random.random() < 0.5:
        header["__metadata__"] = {"other": "x"}
    return header


def seeds() -> list[bytes]:
    """Whole weights files, of aigc and of others."""
    others: list[dict[str, Any]] = [
        {},
        {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {
            "b": {"dtype": "I64", "shape": [], "data_offsets": [4, 12]},
            "a": {"dtype": "F16", "shape": [2, 1], "data_offsets": [0, 4]},
            "none": {"dtype": "U8", "shape": [0, 3], "data_offsets": [4, 4]},
        },
    ]  # fmt: skip
    files = [weights_bytes(1), weights_bytes(2, 64, shared={"generator.v": "generator.w"})]
    for header in others:
        text = json.dumps(header).encode()
        size = max([0, *(info["data_offsets"][1] for key, info in header.items() if key[0] != "_")])
        files.append(len(text).to_bytes(8, "little") + text + bytes(range(size)))
    return files


Mutator = Callable[[bytes, Random], bytes]
