"""Installing backends: planned, tried apart from the environment, and only then brought into it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import BackendError, DamagedFileError, NotFoundError, UsageError, did_you_mean
from aigc_core.files import user_path
from aigc_core.plugins.catalogue import Catalogue, CatalogueEntry
from aigc_core.plugins.entrypoints import normalise
from aigc_core.plugins.environment import Environment, reason_of, run
from aigc_core.plugins.ledger import Installed, Ledger
from aigc_core.plugins.transaction import Transaction, files_of, name_of

PROTECTED: Final = ("aigc-core", "torch")
"""What a backend must not change unless the user says yes."""

TRIAL_LIMIT: Final = 900.0
"""Seconds that the trial of a backend may take."""

Tell = Callable[[str], None]
Confirm = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """Something to install."""

    requirement: str
    """A path, a URL, or a name with a version."""
    source: str
    """path, wheel, git, index"""
    distribution: str | None = None
    """Its name, where that is known beforehand."""
    editable: bool = False
    find_links: str | None = None

    @property
    def arguments(self) -> list[str]:
        return ["--editable", self.requirement] if self.editable else [self.requirement]


@dataclass(frozen=True, slots=True)
class Change:
    """What an install does to one distribution."""

    name: str
    before: str | None
    after: str | None
    pin: str
    """What installs just that: `name==version`, or as it was asked for."""

    def __str__(self) -> str:
        return f"{self.name} {' -> '.join(v for v in (self.before, self.after or 'removed') if v)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an install would do."""

    targets: tuple[Target, ...]
    changes: tuple[Change, ...]
    command: tuple[str, ...]
    """The very command that brings it into the environment."""

    @property
    def risky(self) -> list[Change]:
        """Changes to what other backends stand on."""
        return [change for change in self.changes if change.name in PROTECTED]


def find_target(text: str, catalogue: Catalogue, *, editable: bool = False) -> Target:
    """From what the user wrote to what is installed: a backend of the catalogue, a folder, a wheel, a URL, or
    a distribution with its version.

    Raises NotFoundError, UsageError, DamagedFileError for a wheel that is not the catalogue's.
    """
    entry = catalogue.find(text)
    path = user_path(text)
    if entry is not None and not (path.is_dir() and ("/" in text or "\\" in text)):
        return replace(_of_entry(entry), editable=editable)
    if path.is_dir():
        if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise UsageError(f"{text}: a folder without a pyproject.toml is no package")
        return Target(str(path.resolve()), "path", _project_name(path), editable)
    if editable:
        raise UsageError(f"{text}: only a folder can be installed with --editable")
    if path.is_file():
        if path.suffix != ".whl":
            raise UsageError(f"{text}: not a wheel (.whl) and not a folder")
        return Target(str(path.resolve()), "wheel", normalise(path.name.partition("-")[0]))
    if "://" in text:
        return Target(text, "git" if "git+" in text else "wheel")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?\s*(==|>=|~=)\s*[\w.*+!-]+", text):
        return Target(text, "index", normalise(re.split(r"[\[=~> ]", text)[0]))
    if text.endswith(".whl") or "/" in text:
        raise NotFoundError(f"no file or folder {text!r}")
    hint = did_you_mean(text, list(catalogue.entries)) or "; see: aigc plugins search"
    raise NotFoundError(
        f"no backend {text!r} in the catalogue{hint} (a distribution that no catalogue lists is given with its "
        f"version, {text}==1.0, or as a path, a wheel or a URL)"
    )


def _of_entry(entry: CatalogueEntry) -> Target:
    source = entry.source()
    if source.kind == "wheel" and "://" not in source.requirement:
        wheel = Path(source.requirement)
        if not wheel.is_file():
            raise NotFoundError(f"no wheel {wheel}, which {entry.file} names for backend {entry.name!r}")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if source.sha256 and found != source.sha256.lower():
            raise DamagedFileError(
                f"{wheel}: its sha256 is {found}, but {entry.file} says {source.sha256}; fetch it again"
            )
    return Target(
        source.requirement, source.kind, normalise(entry.distribution), find_links=source.find_links
    )


def _project_name(folder: Path) -> str | None:
    try:
        name = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return normalise(str(name))


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
                _changes_of_uv(done.stderr + done.stdout, before) if done.returncode == 0 else reason_of(done)
            )
        # --force-reinstall would list every dependency as a change.
        plain = [a for a in arguments if a != "--force-reinstall"]
        done = run(self.environment.install("--dry-run", "--quiet", "--report", "-", *plain))
        if done.returncode:
            return reason_of(done)
        return _changes_of_pip(json.loads(done.stdout), before)

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
        files = [str(p.relative_to(stage)) for p in stage.rglob("*") if p.is_file() and p.name != ".lock"]
        self._check_files(plan, stage, files)
        backends = _backends_in(stage)
        if not backends:
            raise BackendError(
                f"{', '.join(t.requirement for t in plan.targets)} is no backend: no entry point in a group "
                "`aigc.v1` (docs/hooks.md)"
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
                    f"not installed: it brings {file}, which Python would run at every start; a backend has no need of it"
                )
            taken = (self.environment.site / file).exists() and not file.startswith("bin/")
            if taken and file not in own:
                raise BackendError(
                    f"not installed: it would overwrite {self.environment.site / file}, which is not its own"
                )

    @contextlib.contextmanager
    def _undoing(self) -> Any:
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
    from aigc_core.plugins.entrypoints import points_in

    return sorted({p.name for p in points_in(str(stage)) if info is None or Path(p.info).name == info.name})


def _changes_of_uv(text: str, before: Mapping[str, str]) -> list[Change]:
    """The lines ` - name==version` and ` + name==version` or ` + name @ URL` of a dry run."""
    after: dict[str, tuple[str, str]] = {}
    for sign, name, rest in re.findall(r"^ ([+~-]) ([\w.-]+)(.*)$", text, re.MULTILINE):
        if sign != "-":
            version = rest.partition("==")[2].split(" ")[0]
            after[normalise(name)] = (version or "new", f"{name}=={version}" if version else f"{name}{rest}")
        else:
            after.setdefault(normalise(name), ("", ""))
    return [Change(n, before.get(n), version or None, pin) for n, (version, pin) in sorted(after.items())]


def _changes_of_pip(report: Mapping[str, Any], before: Mapping[str, str]) -> list[Change]:
    """The installs of pip's report (`--report`, version 1)."""
    changes = []
    for item in report["install"]:
        name, version = normalise(item["metadata"]["name"]), item["metadata"]["version"]
        changes.append(Change(name, before.get(name), version, f"{name}=={version}"))
    return sorted(changes, key=lambda change: change.name)


def trial(stage: Path, backends: Sequence[str], known_broken: Iterable[str] = ()) -> list[str]:
    """What is wrong with staged backends, from a fresh process that sees them before the environment.

    They are registered, their classes imported, and each model is built, trained for a step and sampled;
    backends that were well must be so still.
    """
    code = (
        "import json, site, sys\n"
        "stage, task = sys.argv[1], json.loads(sys.argv[2])\n"
        "count = len(sys.path)\n"
        "site.addsitedir(stage)\n"
        "sys.path[:] = sys.path[count:] + sys.path[:count]\n"
        "from aigc_core.testing.smoke import main\n"
        "main(**task)\n"
    )
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as told:
        folder = Path(name)
        answer = folder / "answer.json"
        task = {"backends": list(backends), "known_broken": sorted(known_broken), "answer": str(answer)}
        environment = {**os.environ, "AIGC_HOME": str(folder / "home")}
        for variable in ("AIGC_PLUGINS", "AIGC_DISABLE_PLUGINS", "AIGC_STRICT_PLUGINS"):
            environment.pop(variable, None)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", code, str(stage), json.dumps(task)], cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=told, stderr=told, timeout=TRIAL_LIMIT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"its trial takes more than {TRIAL_LIMIT:g} s"]
        if answer.is_file():
            return [str(problem) for problem in json.loads(answer.read_text(encoding="utf-8"))]
        told.seek(0)
        last = told.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        return [f"its trial ended with exit code {done.returncode}{': ' if last else ''}{''.join(last)}"]
