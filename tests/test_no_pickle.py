"""No pickle is read, nor written: what aigc does, it does with every door of `pickle` nailed up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers import write_pictures

POISON = """
import _pickle, json, pickle, sys

fired = []


class Poison:
    '''Can be a base class, as torch and joblib have it, but not made.'''

    dispatch = {}

    def __init__(self, *arguments, **options):
        fired.append("made")
        raise RuntimeError("pickle was used")


def refuse(*arguments, **options):
    fired.append("called")
    raise RuntimeError("pickle was used")


for module in (pickle, _pickle):
    for name in ("load", "loads", "dump", "dumps", "_load", "_loads", "_dump", "_dumps"):
        setattr(module, name, refuse)
    for name in ("Unpickler", "Pickler", "_Unpickler"):
        setattr(module, name, Poison)


def run(*arguments):
    from aigc_core.cli import main

    sys.argv = ["aigc", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code in (None, 0), (arguments, end.code)
    assert not fired, (arguments, fired)
"""

ALL = """
run("train", "vae/mlp", "--data", "digits", "--steps", "4", "-o", "hidden=8", "--name", "tiny", "--quiet",
    "--checkpoint-every", "2")
run("train", "gan/mlp", "--data", "pictures", "--steps", "1", "-o", "batch_size=4", "--name", "other", "--quiet")
run("sample", "tiny", "-n", "3", "--out", "x.png")
run("sample", "tiny", "-n", "3", "--out", "x.npz")
run("sample", "tiny", "-n", "3", "--out", "x.tar")
run("sample", "tiny", "-n", "3", "--out", "f/")
run("sample", "tiny", "--sampler", "gmm", "-n", "3", "--out", "gmm.png")
run("sample", "tiny", "--sampler", "reconstruct", "--image", "f/000001.png", "--out", "again.png")
from PIL import Image

Image.open("f/000001.png").convert("RGB").save("stripped.png")
for name in ("x.png", "x.npz", "x.tar", "f/000001.png", "stripped.png"):
    run("inspect", name) if name != "stripped.png" else None
    run("trace", name)
    run("replay", name)
run("weights", "list", "--json")
run("inspect", "tiny", "--verify")
run("runs", "list")
run("models", "show", "vae/mlp")
print("all done", json.dumps(sorted(fired)))
"""

PROOF = """
import numpy, torch

numpy.save("objects.npy", numpy.zeros(1), allow_pickle=False)
for use in (
    lambda: pickle.loads(b"N."), lambda: pickle.Unpickler(open("objects.npy", "rb")), lambda: pickle.dumps(1),
    lambda: numpy.array([{}], object).dump("x"), lambda: torch.save({"x": 1}, "x.pt"),
    lambda: torch.load("real.pt", weights_only=False), lambda: numpy.load("real.npy", allow_pickle=True),
):
    before = len(fired)
    try:
        use()
    except BaseException as error:
        pass
    assert len(fired) > before, "a door that is open"
print("proved", len(fired))
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", POISON + code], cwd=folder, capture_output=True, text=True)


def test_all_of_it_works_without_pickle(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 8, (12, 12))
    done = python(ALL, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all done []\n")
    assert done.stdout.count("exact  ") == 5


def test_the_poison_is_met_by_whoever_uses_pickle(tmp_path: Path) -> None:
    """By numpy and torch, too, when they are asked to."""
    import numpy as np
    import torch

    torch.save({"x": [1]}, tmp_path / "real.pt")
    np.save(tmp_path / "real.npy", np.array([{}], object), allow_pickle=True)
    done = python(PROOF, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "proved 7\n"
