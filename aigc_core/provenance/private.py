"""Texts that a record hides: whoever knows one can check it, nobody can read it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

ROUNDS: Final = 10_000
"""Of PBKDF2: so many times as dear to guess as a plain hash."""
_SCHEME: Final = "pbkdf2-sha256"


def salt_of(*names: object) -> bytes:
    """The salt of one request: a function of what it asks for, not of chance, so that processes that share a
    request, and one that takes it up again, write the same files."""
    return hashlib.sha256(repr(names).encode()).digest()[:16]


def hide(text: str, salt: bytes) -> str:
    """`pbkdf2-sha256$10000$SALT$HASH`, both in hex."""
    key = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, ROUNDS)
    return f"{_SCHEME}${ROUNDS}${salt.hex()}${key.hex()}"


def is_hidden(value: object) -> bool:
    return isinstance(value, str) and value.startswith(f"{_SCHEME}$") and value.count("$") == 3


def is_that(hidden: str, text: str) -> bool:
    """Whether `text` is what `hide` made `hidden` of. False for anything else."""
    if not is_hidden(hidden):
        return False
    _, rounds, salt, key = hidden.split("$")
    try:
        found = hashlib.pbkdf2_hmac(
            "sha256", text.encode(), bytes.fromhex(salt), min(int(rounds), 10_000_000)
        )
    except ValueError:
        return False
    return hmac.compare_digest(found.hex(), key)
