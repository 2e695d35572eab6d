"""Seeds for what must not share a random stream."""

from __future__ import annotations

import hashlib

MAX_SEED = 2**63 - 1


def derive(seed: int, *names: str | int) -> int:
    """A seed in 0 .. 2^63 - 1 for one purpose of a run: a function of the run's seed and the names alone."""
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") & MAX_SEED
