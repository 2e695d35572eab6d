"""The command line: `main` turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = "interrupted; what was kept before is unharmed"


def main() -> None:
    """The console script `aigc`. Exits with a code of docs/exit-codes.md."""
    import click

    from aigc_core.cli.root import cli
    from aigc_core.errors import AigcError, StorageError, did_you_mean

    _mind_imports()
    try:
        code = cli.main(prog_name="aigc", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.NoSuchOption as error:
        known = [name for p in (error.ctx.command.params if error.ctx else []) for name in p.opts]
        hint = did_you_mean(error.option_name, known) or "; see --help"
        _fail(f"no option {error.option_name!r}{hint}", 2)
    except click.ClickException as error:
        _fail(_line(error.format_message()), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(INTERRUPTED, 130)
    except AigcError as error:
        if os.environ.get("AIGC_DEBUG"):
            import traceback

            traceback.print_exc()
        _fail(_line(str(error)), error.exit_code)
    except BrokenPipeError:  # `aigc models list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if os.environ.get("AIGC_DEBUG"):
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{(error.strerror or str(error)).lower()}", StorageError.exit_code)
    except Exception as error:
        if os.environ.get("AIGC_DEBUG"):
            raise
        from aigc_core.backends import failure

        _fail(f"a bug, please report it (AIGC_DEBUG=1 shows the traceback): {failure(error)}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _mind_imports() -> None:
    """Has a Ctrl-C while torch is imported end the process at once: an exception in the middle of that is lost, or ends
    the process in C++. Nothing has begun by then."""
    ours = threading.current_thread() is threading.main_thread()
    if (
        ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # not where it is to be ignored
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if getattr(spec, "_initializing", False):
        from aigc_core.launch import report

        report(f"aigc: {INTERRUPTED}\n")
        sys.stderr.flush()
        os._exit(130)
    raise KeyboardInterrupt


def plain(text: str) -> str:
    """Text that a terminal does not obey: what a file says of itself may hold anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(text: str) -> str:
    return plain(" ".join(text.split()))


def _fail(message: str, code: int) -> None:
    from aigc_core.launch import report

    report(f"aigc: {message}\n")
    sys.exit(code)
