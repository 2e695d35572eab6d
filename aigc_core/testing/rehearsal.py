"""A backend rehearsed as its users will have it: from its wheel, in a process and folders of its own."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from aigc_core.testing.kit import Failed

if TYPE_CHECKING:
    from aigc_core.testing.subject import Bench

LIMIT = 600
"""Seconds that a rehearsal may take."""


@dataclass(frozen=True)
class Facts:
    """What was seen."""

    error: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id: `error`, `printed`, `written`, `pickled`."""


@functools.lru_cache(maxsize=4)
def packed(bench: Bench) -> Path:
    """A folder with a space in its name that holds what the backend's wheel would install. Raises Failed."""
    folder = bench.folder / "installed here"
    folder.mkdir(parents=True, exist_ok=True)
    distribution = metadata.distribution(bench.backend.distribution)
    if source := _source(distribution):
        _build(source, folder, bench.folder / "wheels")
        return folder
    root = Path(str(distribution.locate_file("")))
    files = distribution.files
    if files is None:  # no RECORD: the module and the metadata
        from aigc_core.plugins.sources import locate

        file, folders = locate(bench.backend.module.partition(":")[0].partition(".")[0])
        for path in (*(folders or ()), *([] if folders else [file] if file else []), bench.backend.info):
            _copy(Path(path), folder / Path(path).name)
        return folder
    for record in files:
        if record.parts[0] != ".." and record.suffix != ".pyc":
            _copy(root / record, folder / record)
    return folder


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _source(distribution: metadata.Distribution) -> Path | None:
    """The folder of an editable install, whose wheel must be built first."""
    try:
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
        if record.get("dir_info", {}).get("editable"):
            return Path(unquote(urlparse(record["url"]).path))
    except (ValueError, KeyError, AttributeError):
        pass
    return None


def _build(source: Path, folder: Path, wheels: Path) -> None:
    from aigc_core.plugins.environment import Environment, reason_of, run

    environment = Environment.detect()
    if environment.is_uv:
        command = [
            *environment.installer[:-1],
            "build",
            "--wheel",
            "--no-sources",
            "--out-dir",
            str(wheels),
            str(source),
        ]
    else:
        command = [*environment.installer, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(source)]
    done = run(command)
    built = sorted(wheels.glob("*.whl"))
    if done.returncode or not built:
        raise Failed(f"its wheel can't be built: {reason_of(done)}")
    with zipfile.ZipFile(built[-1]) as archive:
        archive.extractall(folder)


@functools.lru_cache(maxsize=4)
def rehearse(bench: Bench) -> Facts:
    """Trains, resumes and samples every model from the packed backend; made once for all who ask."""
    place = packed(bench)
    watched = {name: bench.folder / name for name in ("work", "user", "temporary")}
    for folder in watched.values():
        folder.mkdir(exist_ok=True)
    answer = bench.folder / "facts.json"
    source = _source(metadata.distribution(bench.backend.distribution))
    task = {"name": bench.backend.name, "place": str(place), "answer": str(answer), "path": sys.path,
            "watched": [str(f) for f in watched.values()], "source": str(source or "")}  # fmt: skip
    caches = bench.folder / "caches"  # what libraries keep there is not the backend's doing
    names = (
        "XDG_CACHE_HOME",
        "MPLCONFIGDIR",
        "TORCHINDUCTOR_CACHE_DIR",
        "TRITON_CACHE_DIR",
        "NUMBA_CACHE_DIR",
    )
    environment = {
        **os.environ, **dict.fromkeys(names, str(caches)), "HOME": str(watched["user"]),
        "TMPDIR": str(watched["temporary"]), "AIGC_HOME": str(bench.folder / "rehearsal home"),
        "AIGC_PLUGINS": bench.backend.name, "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    code = "import json, sys; task = json.loads(sys.argv[1]); sys.path[:] = [task['place'], *task['path']]\n"
    code += "from aigc_core.testing.rehearsal import child; child(**task)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(task)], cwd=watched["work"], env=environment,
            capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Facts(f"it takes more than {LIMIT} s")
    if not answer.is_file():
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        return Facts(f"the process ended with exit code {done.returncode}: {''.join(last)}")
    return Facts(**json.loads(answer.read_text(encoding="utf-8")))


# What follows runs in a process of its own.


def child(
    name: str, place: str, answer: str, path: Sequence[str], watched: Sequence[str], source: str
) -> None:
    """Rehearses every model of a backend and writes the facts, as JSON, to `answer`."""
    from aigc_core.backends import OK
    from aigc_core.registry import discovered

    registry = discovered()
    backend = registry.backends[name]
    module = sys.modules.get(backend.module.partition(":")[0])
    facts: dict[str, Any] = {"error": "", "models": {}}
    if backend.state != OK:
        facts["error"] = backend.reason
    elif module is None or not str(module.__file__).startswith(place):
        facts["error"] = f"its wheel does not hold the module {backend.module}"
    else:
        import aigc_core.training.job  # the core's own imports are not the backend's doing

        assert aigc_core.training.job
        models = [i for i in registry.models if i.startswith(f"{name}/")]
        for model_id in models:
            facts["models"][model_id] = _rehearse_model(model_id, watched)
        if outside := _imported_from(source, place):
            facts["error"] = f"its wheel does not hold {', '.join(outside)}, which it imports"
    Path(answer).write_text(json.dumps(facts), encoding="utf-8")


def _imported_from(source: str, place: str) -> list[str]:
    """The modules that came from the sources of an editable install, not from its wheel."""
    found = []
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", None) or "")
        ours = name.partition(".")[0] == "aigc_core" or "site-packages" in file or file.startswith(place)
        if source and file.startswith(os.path.join(source, "")) and not ours:
            found.append(name)
    return sorted(found)


def _rehearse_model(model_id: str, watched: Sequence[str]) -> dict[str, Any]:
    from aigc_core.backends import failure
    from aigc_core.registry import default

    before = _files(watched)
    pickled = _watch_pickle()
    error = ""
    with open(os.path.join(os.environ["AIGC_HOME"], "printed"), "w+b") as printed:
        kept = [os.dup(1), os.dup(2)]
        os.dup2(printed.fileno(), 1), os.dup2(printed.fileno(), 2)
        try:
            _perform(model_id)
        except (Exception, SystemExit) as caught:
            error = failure(caught, default().backend_of(model_id).package)
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os.dup2(kept[0], 1), os.dup2(kept[1], 2)
        printed.seek(0)
        text = " ".join(printed.read(400).decode(errors="replace").split())
    written = sorted(os.path.basename(file) for file in _files(watched) - before)
    return {"error": error, "printed": text[:100], "written": written[:5], "pickled": sorted(pickled)}


def _perform(model_id: str) -> None:
    """Three steps with a checkpoint after each, and a few samples of every sampler."""
    from aigc_core.registry import default
    from aigc_core.sampling.draw import sample
    from aigc_core.testing.subject import Bench
    from aigc_core.training.job import train

    registry, home = default(), Path(os.environ["AIGC_HOME"])
    spec = registry.models[model_id]
    if spec.trainer is None:
        return
    bench = Bench(registry, registry.backends[model_id.partition("/")[0]], home)
    data, size = bench.source(model_id)
    options = {"batch_size": bench.batch_size(model_id)}
    done = train(model_id, data, size=size, steps=3, checkpoint_every=1, options=options, name="rehearsal")
    for sampler in bench.samplers(model_id):
        details = spec.samplers[sampler]
        given: dict[str, Any] = {}
        if "image" in details.needs:
            given["images"] = [_picture(bench, model_id, home / "given.png")]
        if "mask" in (*details.needs, *details.takes):
            given["masks"] = [_mask(bench, model_id, home / "mask.png")]
        if "sound" in details.needs:
            given["sounds"] = [_sound(bench, model_id, home / "given.wav")]
        if "prompt" in details.needs:
            given["prompts"] = bench.prompts(bench.data(model_id).info)[:2]
        if "label" in details.needs:
            given["labels"] = bench.data(model_id).info.classes[:2]
        parts = {option: _part(bench, part) for option, part in details.parts.items()}
        sample(done.path, count=2, block=4, sampler=sampler, options=parts, **given)


def _picture(bench: Bench, model_id: str, path: Path) -> Path:
    """The first item of a model's data, as a file."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = bench.data(model_id).fetch(torch.arange(1))[0][0].permute(1, 2, 0).numpy()
    Image.fromarray(np.squeeze(pixels)).save(path)
    return path


def _mask(bench: Bench, model_id: str, path: Path) -> Path:
    """White in its left half."""
    from PIL import Image

    height, width = bench.data(model_id).info.shape[1:]
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, (width + 1) // 2, height))
    mask.save(path)
    return path


def _sound(bench: Bench, model_id: str, path: Path) -> Path:
    """Likewise."""
    import wave

    import torch

    data = bench.data(model_id)
    item = data.fetch(torch.arange(1))[0][0]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(data.info.details["sample_rate"]))
        file.writeframes(item[0].numpy().astype("<i2").tobytes())
    return path


def _part(bench: Bench, model_id: str) -> str:
    """Weights of a model that another one computes with, too."""
    from aigc_core.training.job import train

    data, size = bench.source(model_id)
    options = {"batch_size": bench.batch_size(model_id)}
    return str(train(model_id, data, size=size, steps=1, options=options, name="part").path)


def _files(folders: Sequence[str]) -> set[str]:
    found = set()
    for folder in folders:
        for root, below, names in os.walk(folder):
            below[:] = [name for name in below if name != ".cache"]  # of the user; what libraries keep
            found |= {os.path.join(root, name) for name in names if not name.endswith(".pyc")}
    return found


def _watch_pickle() -> set[str]:
    """The names of the pickling functions and classes that are used from now on."""
    import pickle

    import torch

    used: set[str] = set()
    _USED.append(used)
    if len(_USED) == 1:
        for module, names in ((pickle, ("load", "loads", "dump", "dumps")), (torch, ("load", "save"))):
            for name in names:
                setattr(module, name, _watched(getattr(module, name), f"{module.__name__}.{name}"))
        pickle.Pickler = _watched_class(pickle.Pickler)  # type: ignore[misc]
        pickle.Unpickler = _watched_class(pickle.Unpickler)  # type: ignore[misc]
    return used


_USED: list[set[str]] = []
"""What was used, by model; the last one is being rehearsed."""

_THEIRS = ("torch._", "multiprocessing", "concurrent")
"""Who may pickle unseen: the caches of torch.compile, and what goes to worker processes."""


def _note(name: str) -> None:
    if not str(sys._getframe(2).f_globals.get("__name__")).startswith(_THEIRS):
        _USED[-1].add(name)


def _watched(function: Any, name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        _note(name)
        return function(*args, **kwargs)

    return call


def _watched_class(original: Any) -> Any:
    class Watched(original):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _note(f"pickle.{original.__name__}")
            super().__init__(*args, **kwargs)

    return Watched
