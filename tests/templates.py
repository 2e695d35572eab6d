"""The template backends, as an installer would leave them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import Site

import aigc_core

CORE = Path(aigc_core.__file__).parent
REAL = CORE / "testing" / "data"


@contextmanager
def template(site: Site, kind: str) -> Iterator[None]:
    """Within the block the template backend of a modality is installed, as `template/small`."""
    shutil.copytree(CORE / "plugins" / "templates" / kind / "aigc_template", site.path / "aigc_template")
    info = site.path / "aigc_template-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aigc-template\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aigc.v1]\ntemplate = aigc_template\n")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "aigc_template"]:
        del sys.modules[name]
