"""Fixtures: a home of its own for every test, the command line in this process, backends made of files."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Result, Run, Site

from aigc_core import registry as registry_module
from aigc_core.registry import Registry

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background: so would be all its processes
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing that a test keeps is kept in the user's home."""
    folder = tmp_path / "home"
    monkeypatch.setenv("AIGC_HOME", str(folder))
    for name in (
        "AIGC_DEBUG", "AIGC_DATA", "AIGC_DATA_MEMORY", "UV_RUN_RECURSION_DEPTH", "AIGC_PLUGINS",
        "AIGC_DISABLE_PLUGINS", "AIGC_STRICT_PLUGINS", "AIGC_IMPORT_LIMIT", "AIGC_C2PA_CERT", "AIGC_C2PA_KEY",
        "AIGC_C2PA_TRUST",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def aigc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in this process: `aigc("models", "list")`."""

    def run(*arguments: object) -> Result:
        from aigc_core.cli import main

        monkeypatch.setattr(sys, "argv", ["aigc", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        out, err = capsys.readouterr()
        code = exit.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def process() -> Run:
    """Runs the command line in a process of its own; keyword arguments are added to the environment."""

    def run(*arguments: object, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "aigc_core", *map(str, arguments)],
            capture_output=True, text=True, env={**os.environ, **environment}, timeout=300,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def registry() -> Registry:
    return registry_module.default()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site folder in front of `sys.path`, for this process and its children."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    registry_module.discovered.cache_clear()
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if name.endswith("_backend"):
            del sys.modules[name]
    registry_module.discovered.cache_clear()
