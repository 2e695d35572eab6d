"""How long a registration module takes to import, and what of it takes longest."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from aigc_core.backends import Backend

_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def measure(backend: Backend) -> dict[str, Any]:
    """`ms` of the whole import beyond the core's own, `heaviest` module by itself and its `heaviest_ms`."""
    module = backend.module.partition(":")[0]
    # What the core needs anyway is imported first: it is not the backend's.
    code = f"import aigc_core.plugins.discovery, sys; sys.stderr.write('begin\\n'); import {module}"
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = [_LINE.match(line) for line in done.stderr.partition("begin\n")[2].splitlines()]
    found = [(int(m[1]), m[4]) for m in lines if m]
    heaviest = max(found, default=(0, module))
    return {
        "ms": sum(us for us, _ in found) / 1000,
        "heaviest": heaviest[1],
        "heaviest_ms": heaviest[0] / 1000,
    }
