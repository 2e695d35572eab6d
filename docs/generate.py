"""Writes the pages that are made from the code: python docs/generate.py [--check]

`docs/cli.md` from the commands' own help, `docs/exit-codes.md` from `aigc_core/errors.py`, the model table
of the README from the registered specs. `--check` changes nothing and fails if a page is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from aigc_core import errors
from aigc_core.cli.root import COMMANDS, cli
from aigc_core.registry import default, visible

ROOT = Path(__file__).resolve().parents[1]


def cli_page() -> str:
    lines = [
        "# The command line",
        "",
        "Made from the commands' own help by `python docs/generate.py`. `aigc` and `python -m aigc_core` are the same;",
        "the exit codes are [a page of their own](exit-codes.md).",
        "",
        'Shell completion: `eval "$(_AIGC_COMPLETE=bash_source aigc)"` in `~/.bashrc` (`zsh_source`, `fish_source` likewise).',
        "",
    ]
    root = click.Context(cli, info_name="aigc", max_content_width=100, terminal_width=100)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        lines += _help(command, name, root, 2)
    return "\n".join(lines)


def _help(command: click.Command, name: str, parent: click.Context, level: int) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    lines = [
        f"{'#' * level} {context.command_path}",
        "",
        "```",
        command.get_help(context).rstrip(),
        "```",
        "",
    ]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            lines += _help(found, sub, context, level + 1)
    return lines


def exit_codes_page() -> str:
    rows = {0: "It worked."}
    for found in vars(errors).values():
        if isinstance(found, type) and issubclass(found, errors.AigcError):
            text = " ".join((found.__doc__ or "").split())
            rows[found.exit_code] = "A bug in aigc; please report it." if found.exit_code == 1 else text
    lines = [
        "# Exit codes",
        "",
        "Made from `aigc_core/errors.py` by `python docs/generate.py`. An error is one line on stderr: the thing, the",
        "reason, the next step. Nothing half-written is left behind. `AIGC_DEBUG=1` shows the traceback.",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| {code} | {text} |" for code, text in sorted(rows.items())),
        "",
        "The Python API raises the same errors as exceptions, all of them `aigc_core.errors.AigcError`.",
        "",
    ]
    return "\n".join(lines)


def readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    registry = default()
    rows = []
    for spec in visible(registry.models.values()):
        samplers = ", ".join(f"`{name}`" for name in spec.samplers)
        home = registry.backend_of(spec.id).distribution
        rows.append(f"| `{spec.id}` | {spec.modality} | {spec.summary} | {samplers} | `{home}` |")
    table = "\n".join(
        ["| model | modality | what it is | samplers | backend |", "| --- | --- | --- | --- | --- |", *rows]
    )
    return re.sub(
        r"(<!-- models: made by docs/generate.py -->\n).*?(\n<!-- end -->)",
        lambda m: m.group(1) + table + m.group(2),
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    pages = {"docs/cli.md": cli_page(), "docs/exit-codes.md": exit_codes_page(), "README.md": readme()}
    stale = []
    for name, text in pages.items():
        path = ROOT / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"out of date: {', '.join(stale)}; run: python docs/generate.py")


if __name__ == "__main__":
    main()
