"""`aigc weights list, show, tag, rm, restore, verify, gc`."""

from __future__ import annotations

import fnmatch
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import (
    WeightsName,
    amount,
    fields,
    json_option,
    note,
    open_registry,
    plural,
    print_json,
    program,
    table,
)  # fmt: skip
from aigc_core.errors import AigcError, DamagedFileError, MismatchError, UsageError

if TYPE_CHECKING:
    from aigc_core.weights.gc import Garbage
    from aigc_core.weights.store import Store
    from aigc_core.weights.version import Version


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--model", help="Only those of this model, such as gan/dcgan, or gan/*.")
@click.option("--data", help="Only those that were fitted to this data set.")
@click.option("--removed", is_flag=True, help="Those that were removed and can be restored.")
@click.option(
    "--remote", metavar="URL", help="Those at a remote: a folder, s3://BUCKET, hf://USER/REPOSITORY."
)
@json_option
def list_(
    pattern: str | None,
    model: str | None,
    data: str | None,
    removed: bool,
    remote: str | None,
    as_json: bool,
) -> None:
    """List the versions in the store; damaged ones are named and the rest is shown.

    PATTERN is a name, or a part of one such as 'digits*'.
    """
    from aigc_core.weights.index import listing, printed
    from aigc_core.weights.store import Store

    if remote is not None:
        from aigc_core.cli.remotes import list_remote

        if removed:
            raise UsageError("--removed is of the store, --remote of another one; choose one")
        list_remote(remote, (pattern, model, data), as_json)
        return
    store = Store()
    if removed:
        _removed(store.removed(), as_json)
        return
    if as_json and not (pattern or model or data):
        text, problems = printed(store)
        _tell(problems)
        click.echo(text)
        return
    found = listing(store)
    _tell(found.problems)
    rows: list[dict[str, Any]] = [
        row
        for name, _, text in found.rows
        if fnmatch.fnmatchcase(name, pattern or "*")
        and fnmatch.fnmatchcase((row := json.loads(text))["model"], model or "*")
        and fnmatch.fnmatchcase(str(row["data"]), data or "*")
    ]
    if as_json:
        print_json(rows)
    elif rows:
        weights_table(rows)
    elif found.rows:
        note("no weights match; see them all: aigc weights list")
    else:
        note("no weights are kept yet; train some: aigc train MODEL --data digits")


def _tell(problems: dict[str, str]) -> None:
    for version, reason in problems.items():
        note(f"{version}: {reason}")


def weights_table(rows: list[dict[str, Any]]) -> None:
    table(
        [
            [
                str(row["weights"]), str(row["model"]), str(row["data"]), str(row["steps"]),
                f"{row['parameters'] or 0:,}", str(row["tensors_digest"])[7:19], ", ".join(row["aliases"]),
            ]
            for row in rows
        ],
        ["WEIGHTS", "MODEL", "DATA", "STEPS", "PARAMETERS", "DIGEST", "ALIASES"],
    )  # fmt: skip


def _removed(versions: list[Version], as_json: bool) -> None:
    if as_json:
        print_json([str(version) for version in versions])
        return
    for version in versions:
        click.echo(version)
    if not versions:
        note("none was removed that could be restored")


@click.command()
@click.argument("weights", type=WeightsName())
@click.option("--sheet", type=click.Path(path_type=Path), help="Write its sheet of samples to this file.")
@json_option
def show(weights: str, sheet: Path | None, as_json: bool) -> None:
    """Show the card of one version: model, config, data, training, licence, files, how to sample it."""
    from aigc_core.cli.outcome import given
    from aigc_core.weights.card import card, portrait
    from aigc_core.weights.store import Store

    store = Store()
    version = store.version(weights)
    aliases = sorted(a for a, n in store.aliases().get(version.name, {}).items() if n == version.number)
    if sheet is not None:
        _write_sheet(version, sheet)
    manifest = version.manifest
    if as_json:
        print_json(
            {
                "weights": str(version), "aliases": aliases, "published": version.record.published,
                "manifest": manifest.digest, "path": str(version.path), "tensors_digest": manifest.tensors_digest,
                "files": {name: {"digest": f.digest, "size": f.size, "path": str(store.layout.blob(f.digest))}
                          for name, f in manifest.files.items()},
                "golden": manifest.golden, **manifest.record,
            }
        )  # fmt: skip
        return
    picture = portrait(manifest)
    fields(
        {
            "weights": " ".join([str(version), *(f"({version.name}@{alias})" for alias in aliases)]),
            **card(manifest),
            "published": version.record.published,
            "manifest": manifest.digest,
            "file": str(version.path),
            "samples": str(store.layout.blob(manifest.files[picture].digest)) if picture else None,
            "sample it": f"{program()} sample {version}{given(str(manifest.record['model']))} --out DIR/",
        }
    )


def _write_sheet(version: Version, out: Path) -> None:
    from aigc_core.files import write_atomically
    from aigc_core.weights.card import portrait

    manifest = version.manifest
    name = portrait(manifest)
    if name is None:
        raise UsageError(
            f"{version} has no sheet of samples; draw one: {program()} sample {version} --out {out}"
        )
    if out.suffix != Path(name).suffix:
        raise UsageError(f"--sheet {out}: the samples are kept as {Path(name).suffix}; end it so")
    with write_atomically(out) as file:
        file.write(version.store.layout.blob(manifest.files[name].digest).read_bytes())


@click.command()
@click.argument("weights", type=WeightsName())
@click.argument("alias", required=False)
@click.option("--remove", is_flag=True, help="Take the alias away that WEIGHTS names: NAME@ALIAS.")
def tag(weights: str, alias: str | None, remove: bool) -> None:
    """Give a version an alias: `aigc weights tag digits@3 prod`, then digits@prod is digits@3.

    If another version had that alias, it loses it, at one stroke.
    """
    from aigc_core.weights.store import Store

    if remove:
        name, at, tag = weights.partition("@")
        if alias is not None or not at:
            raise UsageError("name the alias to take away: aigc weights tag --remove NAME@ALIAS")
        Store().untag(name, tag)
        click.echo(f"took {weights} away")
        return
    if alias is None:
        raise UsageError(f"give the alias, too: aigc weights tag {weights} ALIAS")
    version = Store().tag(weights, alias)
    click.echo(f"{version.name}@{alias} is {version}")


@click.command()
@click.argument("weights", nargs=-1, required=True, type=WeightsName())
def rm(weights: tuple[str, ...]) -> None:
    """Remove versions: NAME@3. Until `aigc weights gc --delete`, restore brings them back."""
    from aigc_core.weights.store import Store

    if bare := [name for name in weights if "@" not in name]:
        raise UsageError(f"name the version of {bare[0][:120]!r} to remove: NAME@3")
    for reference in weights:
        _check_needed(Store(), reference)
        version = Store().remove(reference)
        click.echo(f"removed {version}; bring it back: aigc weights restore {version}")


def _check_needed(store: Store, reference: str) -> None:
    """Raises UsageError if adapters are kept alone that are nothing without these weights."""
    going = store.version(reference)
    digest = going.manifest.tensors_digest
    if any(
        digest == v.manifest.tensors_digest for v in store.versions(going.name) if v.number != going.number
    ):
        return
    for version in store:
        try:
            base = version.manifest.record.get("base")
        except AigcError:  # what can't be read needs nothing
            continue
        if base == digest:
            raise UsageError(f"{version} is adapters that are added to {going}; remove those first")


@click.command()
@click.argument("weights", nargs=-1, required=True)
def restore(weights: tuple[str, ...]) -> None:
    """Bring back versions that were removed: NAME@3 (see: aigc weights list --removed)."""
    from aigc_core.weights.store import Store

    for reference in weights:
        click.echo(f"restored {Store().restore(reference)}")


@click.command()
@click.argument("weights", nargs=-1, type=WeightsName())
@click.option("--bytes-only", is_flag=True, help="Don't draw the golden samples.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def verify(weights: tuple[str, ...], bytes_only: bool, quiet: bool, as_json: bool) -> None:
    """Read every byte of versions (by default of all), and draw their golden samples again.

    A golden sample is what a version drew when it was published: so not only its bytes are checked, but what they
    do with the code of today. Exits with 5 if bytes are damaged, with 9 if a golden sample differs.
    """
    from aigc_core.progress import Progress
    from aigc_core.weights.store import Store
    from aigc_core.weights.verify import verify

    store = Store()
    versions = [store.version(reference) for reference in weights] or list(store)
    registry = None if bytes_only else open_registry()
    progress = Progress(False if quiet else None)
    verdicts = []
    for version in versions:
        with store.using():
            verdict = verify(version, registry, progress)
        verdicts.append(verdict)
        if not as_json:
            click.echo(f"{version}  bytes {verdict.bytes}; golden sample {verdict.golden}")
    if as_json:
        print_json([{"weights": str(v.version), "bytes": v.bytes, "golden": v.golden} for v in verdicts])
    if damaged := [v for v in verdicts if not v.whole]:
        raise DamagedFileError(
            f"{plural(len(damaged), 'version')} damaged: {', '.join(str(v.version) for v in damaged)}; pull "
            "or retrain what you need of them"
        )
    if changed := [v for v in verdicts if not v.same]:
        names = ", ".join(str(v.version) for v in changed)
        raise MismatchError(f"the golden samples of {names} differ; their bytes are whole")


@click.command()
@click.option("--delete", is_flag=True, help="Delete it; without this, it is only shown.")
@click.option("--explain", is_flag=True, help="Say of each blob why it stays or goes.")
@json_option
def gc(delete: bool, explain: bool, as_json: bool) -> None:
    """Show what nobody can reach any more: versions that were removed, and bytes that no version needs.

    Deletes it with --delete, when no other command uses the store.
    """
    from aigc_core.weights.gc import collect, garbage
    from aigc_core.weights.store import Store

    store = Store()
    found = collect(store) if delete else garbage(store)
    if as_json:
        print_json(
            {
                "deleted": delete, "versions": [str(v) for v in found.versions], "bytes": found.bytes_found,
                "blobs": [p.name for p in found.blobs], "manifests": [p.stem for p in found.manifests],
                "partial": [p.name for p in found.partial], "kept": found.kept,
            }
        )  # fmt: skip
        return
    if explain:
        _explain(found)
    if not found:
        click.echo("nothing to delete")
        return
    for version in found.versions:
        click.echo(f"{'deleted' if delete else 'would delete'} {version}, that was removed")
    what = f"{plural(len(found.blobs), 'blob')}, {plural(len(found.manifests), 'manifest')}, "
    what += f"{plural(len(found.partial), 'unfinished file')}: {amount(found.bytes_found)}"
    click.echo(f"deleted {what}" if delete else f"would delete {what}; do so: aigc weights gc --delete")


def _explain(found: Garbage) -> None:
    for digest, reasons in sorted(found.kept.items()):
        click.echo(f"stays  {digest[7:19]}  {', '.join(reasons)}")
    for path in found.blobs:
        click.echo(f"goes   {path.name[:12]}  no version needs it")
    for path in found.partial:
        click.echo(f"goes   {path.name[:40]}  unfinished")
    sys.stdout.flush()
