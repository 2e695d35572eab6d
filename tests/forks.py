"""Trainings as children of one process that has imported everything, so that each starts at once: to be killed.

python forks.py OUT: reads one task a line, as JSON: a call of `train`, or a command line; answers with the child's
id, and with its exit status when it has ended. What came of it is in the file OUT. `Forks` is the other end.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import Result


@dataclass(frozen=True)
class Ended:
    """How a training ended: `signal` is the one that killed it, or `told` is what `train` returned or raised."""

    signal: int
    told: dict[str, Any]


class Forks:
    """One training at a time, each in a process of its own."""

    def __init__(self, home: Path) -> None:
        """home: the `AIGC_HOME` of all of them."""
        self._home = home
        self._out = home.with_name(f"{home.name}.json")
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(self._out)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, **call: Any) -> int:
        """Begins `train(**call)`; returns the id of its process."""
        return self._begin({"call": call, "home": str(self._home)})

    def command(self, *arguments: str, home: Path, largest: int | None = None) -> Result:
        """Runs `aigc ARGUMENTS`. largest: the bytes that a file may grow to."""
        self._begin({"arguments": arguments, "home": str(home), "largest": largest})
        status = os.waitstatus_to_exitcode(int(self._line()))
        out, err = (self._out.with_suffix(f".{n}").read_text(encoding="utf-8") for n in ("out", "err"))
        return Result(status, out, err)

    def _begin(self, task: dict[str, Any]) -> int:
        self._out.unlink(missing_ok=True)
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(task) + "\n")
        self._server.stdin.flush()
        return int(self._line())

    def end(self) -> Ended:
        """Waits for the training that runs."""
        status = int(self._line())
        told = json.loads(self._out.read_text(encoding="utf-8")) if self._out.exists() else {}
        return Ended(-os.waitstatus_to_exitcode(status), told)

    def done(self) -> bool:
        """Whether the training that runs has come to its end."""
        return self._out.exists()

    def run(self, **call: Any) -> dict[str, Any]:
        """One training from its start to its end."""
        self.start(**call)
        ended = self.end()
        assert "error" not in ended.told, ended.told
        assert ended.signal == 0, ended
        return ended.told

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()

    def _line(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the process that forks has ended"
        return line


def serve(out: Path) -> None:
    from aigc_core.registry import default
    from aigc_core.training.job import train

    with tempfile.TemporaryDirectory() as os.environ["AIGC_HOME"]:  # what is imported late is imported now
        train("vae/mlp", "digits", steps=1, sheet_every=1, checkpoint_every=1)
    for model in default().models:
        default().load(model)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            task = json.loads(line)
            os.environ["AIGC_HOME"] = task["home"]
            if "arguments" in task:
                _command(task["arguments"], task["largest"], out)
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            told = _train(task["call"])
            temporary = out.with_suffix(".new")
            temporary.write_text(json.dumps(told), encoding="utf-8")
            temporary.replace(out)
            os._exit(0)
        os.write(1, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(1, f"{status}\n".encode())


def _command(arguments: list[str], largest: int | None, out: Path) -> None:
    from aigc_core.cli import main

    for number, ending in ((0, None), (1, ".out"), (2, ".err")):
        path = out.with_suffix(ending) if ending else Path(os.devnull)
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.argv = ["aigc", *arguments]
    try:
        main()
    except SystemExit as exit:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit.code if isinstance(exit.code, int) else 0)


def _train(call: dict[str, Any]) -> dict[str, Any]:
    from aigc_core.errors import AigcError
    from aigc_core.training.job import train

    try:
        done = train(**call)
    except AigcError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    except Exception:
        import traceback

        return {"error": traceback.format_exc()}
    return {
        "weights": done.weights, "digest": done.record["tensors_digest"], "resumed_at": done.resumed_at,
        "remarks": done.remarks, "seconds": done.seconds,
    }  # fmt: skip


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
