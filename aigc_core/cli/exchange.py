"""`aigc weights diff, export, import, retrain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import (
    DataName,
    WeightsName,
    json_option,
    note,
    open_registry,
    plural,
    print_json,
    program,
    table,
)  # fmt: skip
from aigc_core.errors import MismatchError, NotFoundError, UsageError

if TYPE_CHECKING:
    from aigc_core.weights.version import Version

SHOWN = 20
"""Tensors that `diff` names, the farthest first."""


@click.command()
@click.argument("a", type=WeightsName())
@click.argument("b", type=WeightsName())
@click.option("--all", "every", is_flag=True, help=f"Name all tensors that differ, not only {SHOWN}.")
@json_option
def diff(a: str, b: str, every: bool, as_json: bool) -> None:
    """Compare weights A and B: model, config, data, training, code, and the distance of each tensor.

    The distance is |a - b| / |a| over all values of a tensor: 0 for equal ones, about 1.4 for unrelated ones.
    """
    from aigc_core.progress import Progress
    from aigc_core.weights.diff import difference
    from aigc_core.weights.store import Store

    store = Store()
    found = difference(store.resolve(a), store.resolve(b), Progress())
    if as_json:
        print_json(
            {
                "fields": {name: list(values) for name, values in found.fields.items()},
                "tensors": dict(found.tensors),
                "equal_tensors": found.equal,
            }
        )
        return
    if not found:
        click.echo(f"no difference: {plural(found.equal, 'tensor')}, bit for bit")
        return
    if found.fields:
        table([[name, _text(x), _text(y)] for name, (x, y) in found.fields.items()], ["FIELD", a, b])
        click.echo()
    far = sorted(found.tensors.items(), key=lambda item: -item[1] if isinstance(item[1], float) else -1e99)
    shown = far if every else far[:SHOWN]
    if shown:
        table(
            [[name, f"{d:.4g}" if isinstance(d, float) else d] for name, d in shown], ["TENSOR", "DISTANCE"]
        )
    if len(far) > len(shown):
        click.echo(f"and {len(far) - len(shown)} more (--all)")
    click.echo(f"{plural(found.equal, 'tensor')} equal, {len(far)} not")


def _text(value: Any) -> str:
    text = "" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@click.command()
@click.argument("weights", type=WeightsName())
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", help="Write it in the form of another library, such as `huggingface`.")
def export(weights: str, folder: Path, form: str | None) -> None:
    """Write a version to FOLDER: its files, a model card (README.md) and SHA256SUMS, to share or to publish.

    The same version gives the same bytes. `aigc weights import` takes it back.
    """
    from aigc_core.weights.store import Store

    if form is not None:
        _export_foreign(weights, folder, form)
        return
    from aigc_core.weights.export import export

    version = Store().version(weights)
    export(version, folder)
    click.echo(f"{version} is in {folder}")


def _export_foreign(weights: str, folder: Path, form: str) -> None:
    from aigc_core.registry import known
    from aigc_core.weights.store import Store

    registry = open_registry()
    known(registry.formats, form, "format")  # a mistake is answered before torch is imported
    found = Store().resolve(weights)
    from aigc_core.weights import foreign
    from aigc_core.weights.file import load

    foreign.write(load(found, registry), folder, registry, form)
    click.echo(f"{found.version or weights} is in {folder}, in the form of {form}")


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", help="Keep it under this name; by default the folder's or file's own.")
@click.option("--alias", help="And give the new version this alias.")
@click.option(
    "--format", "form", help="The form of a folder of another library; by default the one that knows it."
)
def import_(source: Path, name: str | None, alias: str | None, form: str | None) -> None:
    """Take a folder that `export` wrote, one of another library, or a weights file, into the store.

    All of it is checked before. Of other libraries' folders, those are taken that an installed backend knows.
    """
    from aigc_core.registry import known
    from aigc_core.weights.export import MANIFEST, import_folder
    from aigc_core.weights.layout import check_alias, check_name
    from aigc_core.weights.store import Store

    if not source.exists():
        raise NotFoundError(f"no folder or file {source}")
    if form is not None:
        if not source.is_dir():
            raise UsageError(f"{source} is a file; --format is of folders of other libraries")
        known(open_registry().formats, form, "format")
    elif not source.is_dir():
        from aigc_core.weights.header import check_tensors, read_header

        check_tensors(read_header(source))
    if name is None:
        name = source.resolve().name.removesuffix(".safetensors")
    check_name(name)
    if alias is not None:
        check_alias(alias)
    if source.is_dir() and form is None and (source / MANIFEST).is_file():
        version = import_folder(source, name, Store(), alias)
    else:
        version = _import_and_draw(source, name, alias, form)
    click.echo(f"kept {version}" + (f", which is {version.name}@{alias}" if alias else ""))
    click.echo(f"  digest  {version.manifest.tensors_digest}")
    click.echo(f"  card    {program()} weights show {version}")


def _import_and_draw(source: Path, name: str, alias: str | None, form: str | None) -> Version:
    """A file, or a folder of another library, as a version with a golden sample."""
    from aigc_core.sampling.golden import publish
    from aigc_core.weights.store import Store

    registry = open_registry()
    remarks: list[str] = []
    content: Path | bytes = source
    if source.is_dir():
        from aigc_core.weights import foreign

        taken = foreign.read(source, registry, form)
        content, remarks = taken.content, list(taken.remarks)
    version = publish(Store(), name, content, {}, registry, remarks, alias)
    for remark in remarks:
        note(remark)
    return version


@click.command()
@click.argument("weights", type=WeightsName())
@click.option(
    "--data", type=DataName(), help="Where the data lie, if the weights' own run no longer says it."
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def retrain(weights: str, data: str | None, quiet: bool, as_json: bool) -> None:
    """Train a version again, from its seed, in a place of its own, and compare: exact, or the first step that differs.

    Keeps nothing of it. Exits with 9 unless the tensors are the same, bit for bit.
    """
    from aigc_core.training.retrain import retrain
    from aigc_core.weights.store import Store

    version = Store().version(weights)
    found = retrain(version, data, quiet=quiet)
    changed = f"; changed since: {', '.join(found.environment)}" if found.environment else ""
    if as_json:
        print_json(
            {
                "weights": str(version), "exact": found.exact, "tensors_digest": found.tensors_digest,
                "first_step_that_differs": found.step, "metrics": found.metrics, "environment": found.environment,
            }
        )  # fmt: skip
    if found.exact:
        if not as_json:
            click.echo(f"{version}: exact: the same tensors, {found.tensors_digest}{changed}")
        return
    where = "no metric that was kept differs, the tensors do"
    if found.step is not None and found.metrics is not None:
        before, now = found.metrics
        name = next(key for key in before if before[key] != now.get(key))
        where = f"differs from step {found.step} on ({name} {before[name]:.6g} then, {now.get(name)} now)"
    same = "; the environment is the same" if not found.environment else ""
    raise MismatchError(f"{version}: {where}{changed}{same}")
