"""A listing imports no backend's networks and no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

POISON = """
import sys
class Poison:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "numpy", "accelerate", "safetensors"):
            raise AssertionError("imported " + name)
sys.meta_path.insert(0, Poison())
sys.modules["torch"] = None
from aigc_core.cli import main
sys.argv = ["aigc"] + {arguments!r}
try:
    main()
finally:
    heavy = [m for m in sys.modules if m.startswith(("aigc_audio.", "aigc_diffusion.", "aigc_gan.", "aigc_text.", "aigc_vae."))]
    assert not [m for m in heavy if not m.endswith(".config")], heavy
    assert {configs} or not heavy, heavy
"""


def poisoned(*arguments: str, configs: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", POISON.format(arguments=list(arguments), configs=configs)],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["models"], ["models", "list", "--json"], ["models", "list", "--all"], ["plugins", "list"],
        ["plugins", "list", "--json"], ["data", "list"], ["--help"], ["--version"], ["train", "--help"],
        ["sample", "--help"], ["models", "--help"], ["weights", "list", "--json"],
        ["runs", "list", "--json"], ["runs", "--help"], ["bench", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_without_torch_and_without_any_backend_module(arguments: list[str]) -> None:
    done = poisoned(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_showing_a_model_imports_its_option_schemas_and_nothing_else() -> None:
    done = poisoned("models", "show", "gan/dcgan", configs=True)
    assert done.returncode == 0, done.stderr
    assert "critic_lr" in done.stdout


def test_a_misspelt_option_is_found_without_torch() -> None:
    done = poisoned("train", "gan/dcgan", "--data", "no-such-data", "-o", "latnt=3", configs=True)
    assert done.returncode == 2
    assert "did you mean 'latent'" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_imports_neither(shell: str) -> None:
    source = poisoned(_AIGC_COMPLETE=f"{shell}_source")
    assert source.returncode == 0, source.stderr
    assert "_AIGC_COMPLETE" in source.stdout
    environment = {"COMP_WORDS": "aigc models show gan/", "COMP_CWORD": "3"}
    if shell == "fish":
        environment = {"COMP_WORDS": "aigc models show gan/", "COMP_CWORD": "gan/"}
    done = poisoned(_AIGC_COMPLETE=f"{shell}_complete", **environment)
    assert done.returncode == 0, done.stderr
    assert "gan/dcgan" in done.stdout
    assert "vae/conv" not in done.stdout


def test_completion_of_a_group_offers_its_commands() -> None:
    done = poisoned(_AIGC_COMPLETE="bash_complete", COMP_WORDS="aigc models ", COMP_CWORD="2")
    assert done.stdout.split() == ["plain,list", "plain,show"]


def test_inspecting_weights_imports_no_torch(tmp_path: Path) -> None:
    from aigc_core.training.job import train

    trained = train("vae/mlp", "digits", steps=1)
    done = poisoned("inspect", str(trained.path), "--json", "--verify")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tensors_digest"] == trained.record["tensors_digest"]


def test_runs_are_listed_shown_and_removed_without_torch(home: Path) -> None:
    folder = home / "runs" / "mine-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"name": "mine", "weights": "mine@1"}))
    (folder / "metrics.jsonl").write_text('{"step": 25, "loss": 1.0}\n')
    (folder / ".lock").touch()
    for arguments in (["runs"], ["runs", "list", "--unfinished"], ["runs", "show", "mine"]):
        done = poisoned(*arguments)
        assert done.returncode == 0, done.stderr
    done = poisoned("runs", "rm", "mine")
    assert done.returncode == 0, done.stderr
    assert not folder.exists()


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys; before = set(sys.modules); import aigc_core; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout
    assert "aigc_core" in modules
    for heavy in ("torch", "click", "pluggy", "pydantic", "numpy"):
        assert f"'{heavy}'" not in modules
