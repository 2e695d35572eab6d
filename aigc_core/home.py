"""Where aigc keeps what outlives a command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LINUX = sys.platform.startswith("linux")


def home() -> Path:
    """`$AIGC_HOME`, or the user's data folder."""
    own = os.environ.get("AIGC_HOME")
    if own:
        return Path(own).expanduser().absolute()
    if _LINUX:  # as platformdirs, which takes half as long to import as click
        data = os.environ.get("XDG_DATA_HOME", "").strip()
        return Path(data or "~/.local/share").expanduser() / "aigc"
    from platformdirs import user_data_path

    return user_data_path("aigc", appauthor=False)


def cache_home() -> Path:
    """The user's cache folder (`~/.cache` on Linux)."""
    from platformdirs import user_cache_path

    return user_cache_path()
