"""The documentation is what the program does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import UV, build, environment

from aigc_core import hookspecs

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("plugins/*/README.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]
)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.mark.long
def test_getting_started_runs_as_it_is_written(tmp_path: Path) -> None:
    page = ROOT / "docs" / "getting-started.md"
    commands = [
        line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")
    ]
    assert len(commands) >= 14
    script = tmp_path / "aigc"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m aigc_core "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    work = tmp_path / "work"
    work.mkdir()
    printed = ""
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        printed += done.stdout
    for block in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=work, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "(16, 8, 8, 1)" in done.stdout
    names = {p.name for p in work.iterdir()}
    made = {"first.png", "first.npz", "five", "walk.png", "again.png", "sixteen.png", "more.png", "exported"}
    assert made == names
    assert "kept second@1" in printed


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [h.lower().replace(" ", "-") for h in heads], target


@pytest.mark.long
@pytest.mark.skipif(UV is None, reason="needs uv: pip install uv")
def test_the_tutorial_for_authors_runs_as_it_is_written(tmp_path: Path) -> None:
    page = ROOT / "docs" / "write-a-backend.md"
    (tmp_path / "core").mkdir()
    env = environment(tmp_path / "env", build(ROOT, tmp_path / "core"))
    env.uv("install", "--quiet", "--constraint", ROOT / "constraints.txt", "pytest", "build")
    variables = env.variables(PATH=f"{env.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    (catalogue,) = [block for block in blocks(page, "toml") if block.startswith("# mine.toml\n")]
    (work / "mine.toml").write_text(catalogue)
    commands = [line[2:] for b in blocks(page, "console") for line in b.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 14
    printed = []
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=work, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        printed.append(done.stdout)
    checked = printed[commands.index("aigc plugins check shapes")]
    count = re.search(r"all \d+ checks passed", page.read_text(encoding="utf-8"))
    assert count
    assert count[0] in checked
    first, again = ((work / name).stat().st_size for name in ("first.png", "again.png"))
    assert first > again > 0


def test_the_example_in_the_repository_is_the_one_on_the_page() -> None:
    page, example = ROOT / "docs" / "write-a-backend.md", ROOT / "docs" / "examples" / "tiny"
    assert len(blocks(page, "python")[0].splitlines()) < 80
    assert blocks(page, "python")[0] == (example / "aigc_tiny.py").read_text(encoding="utf-8")
    assert blocks(page, "toml")[0] == (example / "pyproject.toml").read_text(encoding="utf-8")


def test_the_page_on_hooks_names_each_with_its_argument() -> None:
    page = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    for name, function in vars(hookspecs).items():
        if name.startswith("aigc_"):
            (argument,) = function.__code__.co_varnames[: function.__code__.co_argcount]
            assert f"`{name}({argument})`" in page


def test_no_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "debian" + ".org", "npmjs" + ".org"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt", ".yml", ""):
            text = path.read_text(encoding="utf-8")
            assert not [host for host in hosts if host in text], name
