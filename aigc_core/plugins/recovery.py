"""After things went: changes that were killed, backends that are gone."""

from __future__ import annotations

from pathlib import Path

from aigc_core.home import home
from aigc_core.plugins.catalogue import Catalogue, install_command
from aigc_core.plugins.ledger import Ledger
from aigc_core.plugins.origin import origin


def recover() -> list[str]:
    """Undoes a change of this environment that was killed half-way; what was undone.

    Costs nothing where there is none; leaves it alone while another process is at work.
    """
    if not any((home() / "plugins").glob("change-*/journal.json")):
        return []
    from aigc_core.errors import UsageError
    from aigc_core.plugins.environment import Environment
    from aigc_core.plugins.transaction import Transaction

    transaction = Transaction(Environment.detect())
    if not transaction.pending():
        return []
    try:
        with transaction.alone() as undone:
            return undone
    except UsageError:
        return []


def how_to_install(backend: str, distribution: str, version: str, info: str = "") -> str:
    """The command that brings a backend that is not installed: from a catalogue, else as it was installed here
    before, else by its distribution's name and a version that is known to fit.

    info: its metadata folder, while it is still installed.
    """
    import shlex
    import sys

    entry = Catalogue.load().entries.get(backend)
    if entry and entry.distribution == distribution:
        return install_command(entry)
    known = Ledger(Path(sys.prefix)).entries().get(distribution)
    if known and known.source != "index":
        editable = "--editable " if known.editable else ""
        return f"aigc plugins install {editable}{shlex.quote(known.requirement)}"
    source = origin(info) if info else "index"
    if source != "index":
        editable = "--editable " if source.endswith(" (editable)") else ""
        return f"aigc plugins install {editable}{shlex.quote(source.removesuffix(' (editable)'))}"
    return f"aigc plugins install {distribution}=={version}"


def lost() -> list[str]:
    """The distributions that aigc installed into this environment, and that are gone from it."""
    import sys

    from aigc_core.plugins.entrypoints import entry_points

    entries = Ledger(Path(sys.prefix)).entries()
    there = {point.distribution for point in entry_points()} if entries else set()
    return sorted(name for name, entry in entries.items() if name not in there and not entry.removed)
