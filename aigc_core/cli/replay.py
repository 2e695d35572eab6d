"""`aigc replay`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict

import click

from aigc_core.cli.common import WeightsName, json_option, open_registry, plural, print_json
from aigc_core.errors import MismatchError


@click.command()
@click.argument("file", type=click.Path())
@click.option("--weights", type=WeightsName(), help="The weights, where the store does not hold them.")
@click.option(
    "--image", "images", multiple=True, help="A picture that the sampler was given; may be given many times."
)
@click.option(
    "--mask", "masks", multiple=True, help="A mask that the sampler was given; may be given many times."
)
@click.option(
    "--sound", "sounds", multiple=True, help="A sound that the sampler was given; may be given many times."
)
@click.option(
    "--prompt", "prompts", multiple=True, help="A prompt that the record hides; may be given many times."
)
@click.option("--out", help="Keep what is made again; as for aigc sample.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def replay(
    file: str,
    weights: str | None,
    images: tuple[str, ...],
    masks: tuple[str, ...],
    sounds: tuple[str, ...],
    prompts: tuple[str, ...],
    out: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the samples of FILE (or of a folder) again, by the settings of their record, and compare what they decode to.

    Prints `exact`, or `drift` with the largest difference and what has changed in the environment since. The exit code
    is 0 only if it is exact.
    """
    registry = open_registry()
    from aigc_core.progress import Progress
    from aigc_core.provenance.replay import replay as again

    with contextlib.redirect_stdout(sys.stderr):  # a backend's prints are not the command's output
        progress = Progress(False if quiet else None)
        done = again(
            file,
            weights=weights,
            images=images,
            masks=masks,
            sounds=sounds,
            prompts=prompts,
            out=out,
            registry=registry,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "verdict": "exact" if done.exact else "drift", **asdict(done), "path": str(done.path),
                "out": None if done.out is None else str(done.out),
            }
        )  # fmt: skip
    elif done.exact:
        click.echo(f"exact  {plural(done.samples, 'sample')} of {file}, by {done.weights}")
    else:
        most = "" if done.largest is None else f", by at most {done.largest:.3g} {done.unit}"
        click.echo(
            f"drift  {done.differing} of {plural(done.samples, 'sample')} of {file} by {done.weights}{most}"
        )
        for difference in done.differences:
            click.echo(f"  {difference}")
        if done.differing > len(done.differences):
            click.echo(f"  and {done.differing - len(done.differences)} more")
    if done.environment and not as_json:
        click.echo(f"  not as it was: {', '.join(done.environment)}")
    if not done.exact:
        reason = "see what is not as it was" if done.environment else "its record or its content was altered"
        raise MismatchError(f"{file} did not come out the same; {reason}")
