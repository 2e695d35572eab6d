"""Writes the pages that are made from the code: python docs/generate.py [--check]

`docs/cli.md` from the commands' own help, `docs/exit-codes.md` from `aigc_core/errors.py`, the model table
of the README from the registered specs, the tables of `docs/hooks/` and of `docs/conformance.md` from the
code. `--check` changes nothing and fails if a page is out of date.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

import click

from aigc_core import backends, errors, events, hookspecs, specs
from aigc_core.cli.root import COMMANDS, cli
from aigc_core.registry import default, visible
from aigc_core.testing.kit import all_checks

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


def hook_page(name: str) -> str:
    """A page on a hook: its signature and what it is handed are taken from the code."""
    text = (ROOT / "docs" / "hooks" / f"{name}.md").read_text(encoding="utf-8")
    function = getattr(hookspecs, name)
    signature = f"{name}{inspect.signature(function)}".replace("'", "")
    what = f"```python\ndef {signature}\n```\n\n{' '.join((function.__doc__ or '').split())}"
    text = _fill(text, rf"hook: {name}", what)
    classes = re.search(r"<!-- fields: ([\w ]+); made", text)
    assert classes
    tables = "\n\n".join(_fields(name) for name in classes[1].split())
    return _fill(text, rf"fields: {classes[1]}", tables)


def _fill(text: str, mark: str, content: str) -> str:
    pattern = rf"(<!-- {mark}; made by docs/generate.py -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m.group(1)}{content}\n{m.group(2)}", text, count=1, flags=re.DOTALL)


def _fields(name: str) -> str:
    """A dataclass as a table of its fields: types, defaults and docstrings from its source."""
    home = next(m for m in (specs, events, backends) if hasattr(m, name))
    tree = ast.parse(inspect.getsource(getattr(home, name))).body[0]
    assert isinstance(tree, ast.ClassDef)
    rows = []
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = " ".join(str(after.value.value).split()) if told else ""  # type: ignore[union-attr]
            default = "" if node.value is None else ast.unparse(node.value)
            default = {"field(default_factory=dict)": "{}", "field(default_factory=list)": "[]"}.get(
                default, default
            )
            kind = ast.unparse(node.annotation).replace("|", "\\|")
            rows.append(
                f"| `{ast.unparse(node.target)}` | `{kind}` | {f'`{default}`' if default else ''} | {text} |"
            )
    doc = " ".join((ast.get_docstring(tree) or "").split())
    return "\n".join(
        [f"## {name}", "", doc, "", "| field | type | default | |", "| --- | --- | --- | --- |", *rows]
    )


def kit_page() -> str:
    """The checks of the conformance kit, in docs/conformance.md."""
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = [f"| `{c.name}` | {c.scope} | {c.promise} |" for c in all_checks().values()]
    return _fill(
        text, "checks", "\n".join(["| check | of each | what it asks |", "| --- | --- | --- |", *rows])
    )


def main() -> None:
    pages = {"docs/cli.md": cli_page(), "docs/exit-codes.md": exit_codes_page(), "README.md": readme()}
    pages["docs/conformance.md"] = kit_page()
    for name in vars(hookspecs):
        if name.startswith("aigc_"):
            pages[f"docs/hooks/{name}.md"] = hook_page(name)
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
