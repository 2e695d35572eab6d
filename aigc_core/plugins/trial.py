"""The trial of staged backends, in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

TRIAL_LIMIT: Final = 900.0
"""Seconds that the trial of a backend may take."""


def trial(stage: Path, backends: Sequence[str], known_broken: Iterable[str] = ()) -> list[str]:
    """What is wrong with staged backends, from a fresh process that sees them before the environment.

    They are registered, their classes imported, and each model is built, trained for a step and sampled;
    backends that were well must be so still.
    """
    code = (
        "import json, site, sys\n"
        "stage, task = sys.argv[1], json.loads(sys.argv[2])\n"
        "count = len(sys.path)\n"
        "site.addsitedir(stage)\n"
        "sys.path[:] = sys.path[count:] + sys.path[:count]\n"
        "from aigc_core.testing.smoke import main\n"
        "main(**task)\n"
    )
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as told:
        folder = Path(name)
        answer = folder / "answer.json"
        task = {"backends": list(backends), "known_broken": sorted(known_broken), "answer": str(answer)}
        environment = {**os.environ, "AIGC_HOME": str(folder / "home")}
        for variable in ("AIGC_PLUGINS", "AIGC_DISABLE_PLUGINS", "AIGC_STRICT_PLUGINS"):
            environment.pop(variable, None)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", code, str(stage), json.dumps(task)], cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=told, stderr=told, timeout=TRIAL_LIMIT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"its trial takes more than {TRIAL_LIMIT:g} s"]
        if answer.is_file():
            return [str(problem) for problem in json.loads(answer.read_text(encoding="utf-8"))]
        told.seek(0)
        last = told.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        return [f"its trial ended with exit code {done.returncode}{': ' if last else ''}{''.join(last)}"]
