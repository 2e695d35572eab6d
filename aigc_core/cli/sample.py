"""`aigc sample`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from aigc_core.cli.common import KeyValue, WeightsName, open_registry
from aigc_core.modality import default_ending


@click.command()
@click.argument("weights", type=WeightsName())
@click.option("-n", "count", type=int, help="How many; by default 64, or one for each --image.")
@click.option("--start", type=int, default=0, show_default=True, help="The index of the first one.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Sample i of a seed is always the same one."
)
@click.option("--sampler", help="One of the model's samplers; by default its first.")
@click.option(
    "-s", "--sampler-option", "options", type=KeyValue(), multiple=True, help="An option of the sampler."
)
@click.option("--image", "images", multiple=True, help="A picture to work on; may be given many times.")
@click.option("--block", type=int, help="Samples computed together; by default the sampler's own number.")
@click.option(
    "--out",
    help="x.png (one sheet), x.txt or x.wav, as the samples are; x.npz; or a folder. By default a file that "
    "is named after WEIGHTS.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def sample(
    weights: str,
    count: int | None,
    start: int,
    seed: int,
    sampler: str | None,
    options: tuple[tuple[str, str], ...],
    images: tuple[str, ...],
    block: int | None,
    out: str | None,
    quiet: bool,
) -> None:
    """Draw samples from WEIGHTS: a name in the store, name@version, or a file."""
    registry = open_registry()
    from aigc_core.sampling.writers import check_target
    from aigc_core.weights.header import output_modality, read_header
    from aigc_core.weights.store import Store

    path = Store().find(weights)  # all this before torch is imported: a mistake is answered at once
    made = output_modality(read_header(path))
    if out is None:
        name = Path(weights).stem if weights.endswith(".safetensors") else weights.replace("@", "-")
        out = f"{name}{default_ending(made)}"
    check_target(out, made)

    from aigc_core.progress import Progress
    from aigc_core.sampling.draw import sample as draw

    with contextlib.redirect_stdout(sys.stderr):  # a backend's prints are not the command's output
        draw(
            path, count=count, start=start, seed=seed, sampler=sampler, options=dict(options), images=images,
            block=block, out=out, registry=registry, progress=Progress(False if quiet else None),
        )  # fmt: skip
    click.echo(out)
