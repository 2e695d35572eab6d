"""A trial of backends in a process of its own, which may hang, print or die without harm to this one."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from aigc_core.backends import BROKEN, OK, SLOW, Problem, Registrar, Rejected, place
from aigc_core.errors import AigcError
from aigc_core.plugins.entrypoints import EntryPoint
from aigc_core.plugins.quarantine import Verdict
from aigc_core.specs import dotted_paths

START_LIMIT: Final = 60.0
"""Seconds that the child may take before it begins with its first backend."""


def probe(points: Sequence[EntryPoint], limit: float) -> dict[EntryPoint, Verdict]:
    """Tries entry points one after the other, each for `limit` seconds at most.

    What kills the child, or takes too long, is named; the others are then tried in a new one.
    """
    found: dict[EntryPoint, Verdict] = {}
    waiting = list(points)
    while waiting:
        culprit = _try(waiting, limit, found)
        waiting = [point for point in waiting if point not in found]
        if culprit is None and waiting:  # the child could not even begin
            problem = Problem("kill", "the trial process ended before it began")
            found.update({point: Verdict(BROKEN, 0.0, problem) for point in waiting})
            break
    return found


def _try(points: Sequence[EntryPoint], limit: float, found: dict[EntryPoint, Verdict]) -> EntryPoint | None:
    """Runs one child over entry points; adds its verdicts, and one on what it died of, which is returned."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from aigc_core.plugins.probe import child; child()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True).start()
    current: EntryPoint | None = None
    try:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps({"path": sys.path, "points": points}).encode())
            child.stdin.close()
        while True:
            try:
                line = lines.get(timeout=limit if current else START_LIMIT)
            except queue.Empty:
                if current:
                    text = f"its import takes more than {limit:g} s, so it is turned off"
                    found[current] = Verdict(SLOW, limit, Problem("slow", text))
                return current
            if not line:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(5)  # so that its own exit code is seen, not that of the kill below
                break
            message = json.loads(line)
            current = points[message["point"]]
            if "state" in message:
                problem = Problem(*message["problem"]) if message["problem"] else None
                found[current] = Verdict(message["state"], message["seconds"], problem)
                current = None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        child.stdout.close()
    if current:
        found[current] = Verdict(
            BROKEN, 0.0, Problem("kill", f"importing it ends the process ({_end(code)})")
        )
    return current


def _pump(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put(b"")


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


# What follows runs in the child.


def child() -> None:
    """Reads entry points from stdin; writes a line before and a line after each to what was stdout."""
    task = json.load(sys.stdin)
    sys.path[:] = task["path"]
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)

        for number, fields in enumerate(task["points"]):
            print(json.dumps({"point": number}), file=results, flush=True)
            started = time.perf_counter()
            problem = _problem(EntryPoint(*fields))
            seconds = time.perf_counter() - started
            if sys.__stdout__:
                sys.__stdout__.flush()
            if problem is None and os.fstat(1).st_size:
                printed.seek(0)
                problem = Problem("print", f"it prints on import: {_short(printed.read(80))}")
            os.ftruncate(1, 0)
            fields = [problem.kind, problem.text, problem.where] if problem else []
            state = BROKEN if problem else OK
            message = {"point": number, "state": state, "seconds": seconds, "problem": fields}
            print(json.dumps(message), file=results, flush=True)
        results.flush()
        os._exit(0)  # no thread or exit handler of a backend may hold this process


def _problem(point: EntryPoint) -> Problem | None:
    """What is wrong with a backend, as far as can be told without torch."""
    from aigc_core.plugins.discovery import examine_alone

    with record_prints() as printed:
        try:
            registrar = examine_alone(point)
            _check_specs(registrar)
        except Rejected as error:
            return error.problem
        except BaseException as error:  # KeyboardInterrupt, GeneratorExit: nobody asked for those
            text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
            return Problem("import", text, place(error, point.value.partition(":")[0].partition(".")[0]))
    if printed.text:
        return Problem("print", f"it prints on import: {_short(printed.text.encode())}", printed.where)
    return None


def _check_specs(registrar: Registrar) -> None:
    """Imports the option schemas, and looks for all other classes in the sources. Raises Rejected."""
    from aigc_core.plugins.sources import missing_name
    from aigc_core.registry import Model
    from aigc_core.specs import ModelSpec

    for spec, where in registrar.staged:
        name = spec.id if isinstance(spec, ModelSpec) else spec.name
        for path in dotted_paths(spec):
            try:
                reason = missing_name(path)
            except SyntaxError as error:
                raise Rejected("import", f"{name!r}: SyntaxError: {error.msg}", place(error)) from error
            if reason:
                raise Rejected("no-class", f"{name!r}: {reason}", where)
        if isinstance(spec, ModelSpec):
            model = Model(spec, registrar.backend)
            try:
                for schema in (model.config, model.trainer_config, *map(model.sampler_config, spec.samplers)):
                    schema.model_json_schema()
            except Exception as error:
                text = str(error) if isinstance(error, AigcError) else f"{type(error).__name__}: {error}"
                raise Rejected("no-schema", f"model {name!r}: {text}", where) from error


class _Printed:
    """Stands for sys.stdout; remembers what was written first, and from where."""

    def __init__(self) -> None:
        self.text = ""
        self.where = ""

    def write(self, text: str) -> int:
        if not self.text and text.strip():
            caller = sys._getframe(1)
            self.text, self.where = text, f"{caller.f_code.co_filename}:{caller.f_lineno}"
        return len(text)

    def flush(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.__stdout__, name)


@contextlib.contextmanager
def record_prints() -> Iterator[_Printed]:
    """Within the block, what goes to sys.stdout is swallowed and remembered."""
    printed = _Printed()
    with contextlib.redirect_stdout(printed):
        yield printed


def _short(raw: bytes) -> str:
    text = " ".join(raw.decode(errors="replace").split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
