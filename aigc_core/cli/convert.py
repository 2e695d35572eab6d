"""`aigc weights convert`."""

from __future__ import annotations

import click

from aigc_core.cli.common import WeightsName, amount, note, open_registry, program


@click.command()
@click.argument("weights", type=WeightsName())
@click.option("--precision", type=click.Choice(("int8",)), required=True, help="How to keep its matrices.")
@click.option("--name", help="Keep it under this name; by default the old one with -int8.")
def convert(weights: str, precision: str, name: str | None) -> None:
    """Keep WEIGHTS in another precision, as a version of their own: smaller, and faster to sample from.

    int8 is for models that declare `int8-weights`: matrices of 8 bits with a scale a row, for sampling on a CPU.
    """
    registry = open_registry()
    from aigc_core.weights.convert import convert

    remarks: list[str] = []
    version = convert(weights, precision, name, registry, remarks)
    for remark in remarks:
        note(remark)
    click.echo(f"kept {version}, {amount(version.path.stat().st_size)}")
    click.echo(f"  digest  {version.manifest.tensors_digest}")
    click.echo(f"  card    {program()} weights show {version}")
