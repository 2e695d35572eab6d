"""Where an installed distribution came from (PEP 610)."""

from __future__ import annotations

import json
import os
from urllib.parse import unquote, urlparse


def origin(info: str) -> str:
    """`index`, a path, `PATH (editable)` or a URL, for a `.dist-info` folder."""
    if info.endswith(".egg-info"):
        return os.path.dirname(info)
    try:
        with open(os.path.join(info, "direct_url.json"), encoding="utf-8") as file:
            record = json.load(file)
        url = urlparse(record["url"])
        path = unquote(url.path) if url.scheme == "file" else record["url"]
        return f"{path} (editable)" if record.get("dir_info", {}).get("editable") else str(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "index"
