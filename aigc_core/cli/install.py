"""`aigc plugins install`, `uninstall`, `upgrade` and `restore`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aigc_core.cli.common import json_option, note, print_json
from aigc_core.errors import NotFoundError, UsageError, did_you_mean

if TYPE_CHECKING:
    from aigc_core.plugins.changes import Plan
    from aigc_core.plugins.install import Installer
    from aigc_core.plugins.targets import Target

_F = TypeVar("_F", bound=Callable[..., Any])


def _options(command: _F) -> _F:
    for option in (
        json_option,
        click.option(
            "--break-system-packages", is_flag=True, help="Change a Python that the operating system manages."
        ),
        click.option(
            "--yes", is_flag=True, help="Let it change the version of the core or of torch, if it must."
        ),
        click.option("--dry-run", is_flag=True, help="Show the command and what it would change, and stop."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("backends", metavar="NAME|PATH|WHEEL...", nargs=-1, required=True)
@click.option(
    "-e", "--editable", is_flag=True, help="Use a folder's sources in place, so that changes show at once."
)
@click.option(
    "--registry", "registries", metavar="FILE", multiple=True, help="A catalogue to look into first."
)
@_options
def install(backends: tuple[str, ...], editable: bool, registries: tuple[str, ...], **flags: bool) -> None:
    """Install backends into the environment that aigc runs in.

    Each is a name in the catalogue (aigc plugins search), a folder, a wheel, a URL, or a distribution with its
    version (NAME==1.0). It is tried apart from the environment first: registered, imported, each model trained
    for two steps and sampled. Only what works is kept; otherwise the environment is as it was.
    """
    from aigc_core.plugins.catalogue import load_files
    from aigc_core.plugins.targets import find_target

    catalogue = load_files(registries)
    targets = [find_target(text, catalogue, editable=editable) for text in backends]
    _install(targets, **flags)


@click.command()
@click.argument("backends", metavar="NAME...", nargs=-1)
@click.option(
    "--registry", "registries", metavar="FILE", multiple=True, help="A catalogue to look into first."
)
@_options
def upgrade(backends: tuple[str, ...], registries: tuple[str, ...], **flags: bool) -> None:
    """Upgrade backends, by default all that were installed by aigc.

    Each comes from where it came from before; it is tried first, as by install, and the version that was there stays
    if the new one does not work.
    """
    from aigc_core.plugins.catalogue import load_files
    from aigc_core.plugins.environment import Environment
    from aigc_core.plugins.ledger import Ledger
    from aigc_core.plugins.targets import Target, find_target

    catalogue = load_files(registries)
    environment = Environment.detect()
    ledger = Ledger(environment.prefix).entries()
    targets: list[Target] = []
    gone: list[str] = []
    there = environment.installed()
    for name in backends or sorted(n for n, entry in ledger.items() if n in there and not entry.removed):
        distribution = _distribution(name)
        entry = ledger.get(distribution)
        wanted = entry.requirement if entry and entry.source != "index" else distribution
        try:
            if wanted == distribution and catalogue.find(distribution) is None:
                targets.append(Target(distribution, "index", distribution))
            else:
                targets.append(find_target(wanted, catalogue, editable=bool(entry and entry.editable)))
        except (NotFoundError, UsageError) as error:
            gone.append(distribution)
            note(f"{distribution} can't be upgraded: {error}")
    if not targets and not gone:
        raise NotFoundError(
            "nothing was installed by aigc here; name the backends to upgrade: aigc plugins list"
        )
    if targets:
        _install(targets, upgrade=True, **flags)
    if gone:
        raise NotFoundError(f"not upgraded: {', '.join(gone)}; install them from where they are now")


@click.command()
@_options
def restore(**flags: bool) -> None:
    """Install again the backends that this environment has lost, as when an upgrade of the tool built it anew."""
    from aigc_core.plugins.catalogue import Catalogue
    from aigc_core.plugins.environment import Environment
    from aigc_core.plugins.ledger import Ledger
    from aigc_core.plugins.targets import find_target

    environment = Environment.detect()
    there = environment.installed()
    entries = Ledger(environment.prefix).entries()
    lost = [entry for name, entry in entries.items() if name not in there and not entry.removed]
    if not lost:
        _nothing("nothing is lost" if entries else "nothing was installed by aigc here", flags["as_json"])
        return
    catalogue = Catalogue.load()
    targets, gone = [], []
    for entry in lost:
        listed = catalogue.find(entry.distribution) is not None
        wanted = entry.distribution if listed else f"{entry.distribution}=={entry.version}"
        try:
            wanted = wanted if entry.source == "index" else entry.requirement
            targets.append(find_target(wanted, catalogue, editable=entry.editable))
        except (NotFoundError, UsageError) as error:
            gone.append(entry.distribution)
            note(f"{entry.distribution} can't be restored: {error}")
    if targets:
        _install(targets, **flags)
    if gone:
        raise NotFoundError(f"not restored: {', '.join(gone)}; install them from where they are now")


@click.command()
@click.argument("backends", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the commands, and stop.")
@click.option(
    "--break-system-packages", is_flag=True, help="Change a Python that the operating system manages."
)
@json_option
def uninstall(
    backends: tuple[str, ...], yes: bool, dry_run: bool, break_system_packages: bool, as_json: bool
) -> None:
    """Remove backends from the environment that aigc runs in. Weights remain, and say what they need."""
    from aigc_core.plugins.environment import Environment

    environment = Environment.detect()
    distributions = list(dict.fromkeys(_distribution(name) for name in backends))
    for distribution in distributions:
        if distribution not in environment.installed():
            raise NotFoundError(
                f"{distribution} is not installed in {environment.prefix}; see: aigc plugins list"
            )
    if dry_run:
        for distribution in distributions:
            click.echo(shlex.join(environment.uninstall(distribution)))
        return
    environment.check_changeable(break_system_packages)
    rows = [_removal(distribution, environment) for distribution in distributions]
    needing = [weights for row in rows for weights in row["weights"]]
    if needing and not yes and sys.stdin.isatty():
        names = ", ".join(distributions)
        click.confirm(f"weights need it ({', '.join(needing[:5])}); remove {names}?", abort=True)
    installer = _installer(environment)
    with installer.transaction.alone() as undone:
        _tell_undone(undone)
        for row in rows:
            installer.uninstall(row["distribution"])
            if not as_json:
                click.echo(f"removed {row['distribution']}")
                if row["weights"]:
                    more = ", ..." if len(row["weights"]) > 5 else ""
                    click.echo(f"  remain  weights that need it: {', '.join(row['weights'][:5])}{more}")
                click.echo(f"  back    {row['back']}")
    if as_json:
        print_json(rows)


def _removal(distribution: str, environment: Any) -> dict[str, Any]:
    """What a removal leaves behind, and what undoes it."""
    from aigc_core.plugins.entrypoints import entry_points
    from aigc_core.plugins.recovery import how_to_install
    from aigc_core.weights.store import Store

    point = next(p for p in entry_points() if p.distribution == distribution)
    back = how_to_install(point.name, distribution, environment.installed()[distribution], point.info)
    weights = [str(version) for version in Store() if _made_by(version, distribution)]
    return {"distribution": distribution, "weights": weights, "back": back}


def _nothing(text: str, as_json: bool) -> None:
    """Says that there was nothing to do."""
    if as_json:
        print_json({"installed": [], "changes": []})
    note(text)


def _made_by(version: Any, distribution: str) -> bool:
    from aigc_core.errors import AigcError

    try:
        return bool(version.manifest.record["backend"]["distribution"] == distribution)
    except (AigcError, KeyError, TypeError):
        return False


def _distribution(name: str) -> str:
    """The distribution of an installed backend, by either name. Raises NotFoundError, UsageError for the core."""
    from aigc_core.plugins.entrypoints import entry_points, normalise

    points = entry_points()
    found = {p.distribution for p in points if p.name == name}
    found = found or {p.distribution for p in points if p.distribution == normalise(name)}
    if len(found) == 1:
        return found.pop()
    if found:
        raise UsageError(
            f"backend {name!r} is offered by {' and '.join(sorted(found))}; name the distribution"
        )
    hint = did_you_mean(name, [p.name for p in points]) or "; see: aigc plugins list"
    raise NotFoundError(f"no backend {name!r} is installed{hint}")


def _installer(environment: Any) -> Installer:
    from aigc_core.plugins.install import Installer

    return Installer(environment, note)


def _tell_undone(undone: Sequence[str]) -> None:
    if undone:
        note(f"an install or removal of {', '.join(undone)} had been killed half-way; it is undone now")


def _install(
    targets: Sequence[Target],
    *,
    dry_run: bool,
    yes: bool,
    break_system_packages: bool,
    as_json: bool,
    upgrade: bool = False,
) -> None:
    from aigc_core.plugins.environment import Environment
    from aigc_core.plugins.trial import trial
    from aigc_core.registry import discovered

    environment = Environment.detect()
    if not dry_run:
        environment.check_changeable(break_system_packages)
    installer = _installer(environment)
    if dry_run:
        _show(installer.plan(targets, upgrade=upgrade), environment.kind, as_json)
        return
    with installer.transaction.alone() as undone:
        _tell_undone(undone)
        note(f"resolving, for {environment.kind} ({environment.prefix})")
        plan = installer.plan(targets, upgrade=upgrade)
        if not plan.changes:
            _nothing("nothing to do: it is there already, as new as it can be", as_json)
            return
        broken = [backend.name for backend in discovered().broken()]

        def confirm(risky: str) -> bool:
            return yes or (
                sys.stdin.isatty()
                and click.confirm(f"This changes what other backends stand on: {risky}. Go on?")
            )

        entries = installer.install(plan, confirm, lambda stage, names: trial(stage, names, broken))
    if as_json:
        from dataclasses import asdict

        print_json(
            {"installed": [asdict(entry) for entry in entries], "changes": [_change(c) for c in plan.changes]}
        )
        return
    for entry in entries:
        click.echo(f"installed {entry.distribution} {entry.version} (backend {', '.join(entry.backends)})")
    names = {entry.distribution for entry in entries}
    for change in plan.changes:
        if change.name not in names:
            click.echo(f"  with    {change}")
    click.echo("  next    aigc models list")


def _show(plan: Plan, kind: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "environment": kind,
                "command": list(plan.command),
                "changes": [_change(c) for c in plan.changes],
            }
        )
        return
    click.echo(shlex.join(plan.command))
    for change in plan.changes:
        mark = " (the core or torch: asks first)" if change in plan.risky else ""
        click.echo(f"  {change}{mark}")


def _change(change: Any) -> dict[str, Any]:
    return {"name": change.name, "before": change.before, "after": change.after}
