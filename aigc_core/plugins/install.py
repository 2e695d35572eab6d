"""Installing backends: planned, tried apart from the environment, and only then brought into it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from aigc_core.errors import BackendError, UsageError
from aigc_core.plugins.changes import PROTECTED, Change, Plan, changes_of_pip, changes_of_uv
from aigc_core.plugins.entrypoints import entry_points, points_in
from aigc_core.plugins.environment import Environment, reason_of, run
from aigc_core.plugins.ledger import Installed, Ledger
from aigc_core.plugins.targets import Target
from aigc_core.plugins.transaction import Transaction, files_of, name_of
from aigc_core.plugins.trial import TRIAL_LIMIT

Tell = Callable[[str], None]
Confirm = Callable[[str], bool]


class Installer:
    """Changes one environment."""

    def __init__(self, environment: Environment, tell: Tell) -> None:
        self.environment: Final = environment
        self.ledger: Final = Ledger(environment.prefix)
        self.transaction: Final = Transaction(environment)
        self._tell = tell

    def plan(self, targets: Sequence[Target], *, upgrade: bool = False) -> Plan:
        """Lets the installer resolve, without a change. Raises BackendError where it finds no solution.

        Core and torch are held where they are, if there is a solution that holds them.
        """
        before = self.environment.installed()
        arguments = [a for target in targets for a in target.arguments]
        arguments += self._options(targets, upgrade)
        with tempfile.TemporaryDirectory() as folder:
            held = Path(folder) / "held.txt"
            held.write_text("".join(f"{name}=={before[name]}\n" for name in PROTECTED if name in before))
            changes = self._resolve([*arguments, "--constraint", str(held)], before)
            if isinstance(changes, str):
                freely = self._resolve(arguments, before)
                if isinstance(freely, str):
                    names = ", ".join(target.requirement for target in targets)
                    raise BackendError(f"{names} can't be installed here: {freely}")
                changes = freely
        changes = [self._pinned(change, targets) for change in changes]
        pins = [c.pin for c in changes if c.after and not any(c.name == t.distribution for t in targets)]
        command = self.environment.install(
            "--no-deps", *[a for t in targets for a in t.arguments], *pins, *self._options(targets, upgrade)
        )
        return Plan(tuple(targets), tuple(changes), tuple(command))

    def _options(self, targets: Iterable[Target], upgrade: bool) -> list[str]:
        options: list[str] = []
        for target in targets:
            if target.find_links:
                options += ["--find-links", target.find_links]
            if self.environment.is_uv and target.distribution:
                # uv keeps what it built of a folder; its sources may have changed since.
                options += ["--reinstall-package", target.distribution]
                options += ["--upgrade-package", target.distribution] if upgrade else []
        if self.environment.is_uv:
            return [*options, "--no-sources"]
        if any(target.source != "index" for target in targets):
            options.append("--force-reinstall")
        return [*options, *(["--upgrade"] if upgrade else [])]

    def _resolve(self, arguments: Sequence[str], before: Mapping[str, str]) -> list[Change] | str:
        """The changes an installer would make, or why there is no solution."""
        if self.environment.is_uv:
            done = run(self.environment.install("--dry-run", *arguments))
            return (
                changes_of_uv(done.stderr + done.stdout, before) if done.returncode == 0 else reason_of(done)
            )
        # --force-reinstall would list every dependency as a change.
        plain = [a for a in arguments if a != "--force-reinstall"]
        done = run(self.environment.install("--dry-run", "--quiet", "--report", "-", *plain))
        if done.returncode:
            return reason_of(done)
        return changes_of_pip(json.loads(done.stdout), before)

    def _pinned(self, change: Change, targets: Iterable[Target]) -> Change:
        for target in targets:
            if target.distribution == change.name:
                return replace(change, pin=target.requirement)
        return change

    def install(
        self, plan: Plan, confirm: Confirm, trial: Callable[[Path, Sequence[str]], list[str]]
    ) -> list[Installed]:
        """Stages, tries, and brings into the environment; all of it or none. Call it within
        `transaction.alone`.

        Raises UsageError where the user says no, BackendError where the installer or the trial fails; the
        environment is then as it was.
        """
        if plan.risky and not confirm(", ".join(map(str, plan.risky))):
            risky = ", ".join(map(str, plan.risky))
            raise UsageError(f"it would change what other backends stand on: {risky}; say --yes to let it")
        stage = self.transaction.folder / "stage"
        files, backends = self._stage(plan, stage)
        self._tell(f"trying {', '.join(backends)} apart from the environment")
        if problems := trial(stage, backends):
            raise BackendError(f"not installed, since it does not work: {'; '.join(problems)}")
        self._tell("installing")
        distributions = {name_of(f"{info.name}/x") for info in stage.glob("*.dist-info")}
        before = self.environment.installed()
        removed = [change.name for change in plan.changes if change.before]
        self.transaction.begin(files, {*removed, *(distributions & set(before))})
        with self._undoing():
            done = run(plan.command)
            if done.returncode:
                raise BackendError(f"the installer failed: {reason_of(done)}")
            self._check_result(backends)
        self.transaction.commit()
        entries = self._entries(plan, stage, backends)
        self.ledger.add(*entries)
        return entries

    def uninstall(self, distribution: str) -> None:
        """Removes one distribution, whole or not at all. Raises BackendError."""
        self.transaction.begin([], [distribution])
        with self._undoing():
            done = run(self.environment.uninstall(distribution))
            if done.returncode or distribution in self.environment.installed():
                raise BackendError(f"{distribution} could not be removed: {reason_of(done)}")
        self.transaction.commit()
        self.ledger.remove(distribution)

    def _stage(self, plan: Plan, stage: Path) -> tuple[list[str], list[str]]:
        """Installs into a folder of its own; the files that will be written, and the backends among them."""
        self._tell("fetching and building")
        stage.mkdir(parents=True)
        options = [
            o for o in self._options(plan.targets, False) if o not in ("--force-reinstall", "--upgrade")
        ]
        names = {target.distribution for target in plan.targets}
        pins = [c.pin for c in plan.changes if c.after and c.name not in names]
        wanted = [a for target in plan.targets for a in target.arguments]
        done = run(self.environment.install("--no-deps", "--target", str(stage), *wanted, *pins, *options))
        if done.returncode:
            raise BackendError(f"{', '.join(t.requirement for t in plan.targets)}: {reason_of(done)}")
        staged = [p.relative_to(stage) for p in stage.rglob("*") if p.is_file() and p.name != ".lock"]
        files = [self._destination(file) for file in staged]
        self._check_files(plan, stage, files)
        backends = _backends_in(stage)
        if not backends:
            raise BackendError(
                f"{', '.join(t.requirement for t in plan.targets)} is no backend: no entry point in a group "
                "`aigc.v1`"
            )
        taken = {p.name: p.distribution for p in entry_points()}
        for point in points_in(str(stage)):
            other = taken.get(point.name, point.distribution)
            if other != point.distribution:
                raise BackendError(
                    f"not installed: backend {point.name!r} is offered by {other}, which is installed; remove that "
                    f"first (aigc plugins uninstall {other}), or rename this one"
                )
        return files, backends

    def _check_files(self, plan: Plan, stage: Path, files: Iterable[str]) -> None:
        """Raises BackendError for what would harm others: foreign files, code at every start of Python."""
        mine = {name_of(f"{info.name}/x") for info in stage.glob("*.dist-info")}
        own = {file for name in mine for file in files_of(name, self.environment.site)}
        editable = any(target.editable for target in plan.targets)
        for file in files:
            if file.endswith(".pth") and "/" not in file and not editable:
                raise BackendError(
                    f"not installed: it brings {file}, which Python would run at every start; a backend has no "
                    "need of it"
                )
            target = os.path.normpath(self.environment.site / file)
            if os.path.exists(target) and file not in own:
                raise BackendError(f"not installed: it would overwrite {target}, which is not its own")

    def _destination(self, staged: Path) -> str:
        """Where a staged file will lie, relative to the folder of packages; scripts lie elsewhere."""
        if staged.parts[0] != "bin":
            return str(staged)
        script = self.environment.scripts.joinpath(*staged.parts[1:])
        return os.path.relpath(script, self.environment.site)

    @contextlib.contextmanager
    def _undoing(self) -> Iterator[None]:
        """Puts the environment back if the block fails, or the user stops it."""
        try:
            yield
        except BaseException:
            self.transaction.roll_back()
            raise

    def _check_result(self, backends: Sequence[str]) -> None:
        """The environment itself, in a fresh process: the new backends are ok. Raises BackendError."""
        done = run([sys.executable, "-m", "aigc_core", "plugins", "list", "--json"], timeout=TRIAL_LIMIT)
        try:
            states = {row["name"]: row for row in json.loads(done.stdout)}
        except ValueError:
            raise BackendError(f"the listing fails with it: {reason_of(done)}") from None
        for name in backends:
            row = states.get(name, {"state": "not there", "reason": "no such entry point"})
            if row["state"] not in ("ok", "disabled"):
                raise BackendError(f"backend {name!r} is {row['state']} once installed: {row['reason']}")

    def _entries(self, plan: Plan, stage: Path, backends: Sequence[str]) -> list[Installed]:
        entries = []
        installed = self.environment.installed()
        for info in stage.glob("*.dist-info"):
            name = name_of(f"{info.name}/x")
            mine = [b for b in _backends_in(stage, info) if b in backends]
            target = next((t for t in plan.targets if t.distribution in (name, None)), None)
            if mine and target:
                entries.append(
                    Installed(
                        name,
                        installed.get(name, ""),
                        tuple(mine),
                        target.requirement,
                        target.source,
                        target.editable,
                    )
                )
        return entries


def _backends_in(stage: Path, info: Path | None = None) -> list[str]:
    """The names of the entry points that are staged."""
    return sorted({p.name for p in points_in(str(stage)) if info is None or Path(p.info).name == info.name})
