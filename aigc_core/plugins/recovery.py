"""After things went: changes that were killed, backends that are gone."""

from __future__ import annotations

from pathlib import Path

from aigc_core.home import home
from aigc_core.plugins.catalogue import Catalogue, install_command
from aigc_core.plugins.ledger import Ledger


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


def how_to_install(backend: str, distribution: str, version: str) -> str:
    """The command that brings a backend that is not installed: from a catalogue, else as it was installed here
    before, else by its distribution's name and a version that is known to fit."""
    import shlex
    import sys

    entry = Catalogue.load().entries.get(backend)
    if entry and entry.distribution == distribution:
        return install_command(entry)
    known = Ledger(Path(sys.prefix)).entries().get(distribution)
    if known and known.source != "index":
        editable = "--editable " if known.editable else ""
        return f"aigc plugins install {editable}{shlex.quote(known.requirement)}"
    return f"aigc plugins install {distribution}=={version}"
