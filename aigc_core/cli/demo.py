"""`aigc demo`: the whole house in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aigc_core.cli.common import note, open_registry, program
from aigc_core.errors import BackendError
from aigc_core.registry import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aigc_core.progress import Progress
    from aigc_core.registry import Registry

DATA = "digits"
RECIPES: dict[str, dict[str, Any]] = {
    "vae/conv": {"epochs": 80, "options": {"latent": 5, "likelihood": "bernoulli", "batch_size": 64}},
    "gan/dcgan": {"epochs": 150, "options": {"width": 32}},
}
COLUMNS, ROWS = 12, 4


@click.command()
@click.option("--out", default="aigc-demo.png", show_default=True, help="Where to draw the picture.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def demo(out: str, quiet: bool) -> None:
    """Train a VAE and a GAN on scikit-learn's 8x8 digits, keep them, and draw what they make."""
    registry = open_registry()
    missing = [model for model in RECIPES if model not in registry.models]
    if missing:
        from aigc_core.plugins.catalogue import Catalogue, install_command

        catalogue = Catalogue.load()
        entries = {e.name: e for e in map(catalogue.provider, missing) if e}
        raise BackendError(
            f"the demo needs {' and '.join(missing)}; install: {install_command(*entries.values())}"
        )
    click.secho("Models", bold=True)
    for spec in visible(registry.models.values()):
        click.echo(f"  {spec.id:<10}  {spec.summary}")
    from aigc_core.progress import Progress
    from aigc_core.sampling.writers import check_target

    check_target(Path(out))
    panels = _panels(registry, Progress(False if quiet else None))
    _draw(panels, Path(out))
    click.secho("Picture", bold=True)
    click.echo(f"  {out}")
    click.secho("Try next", bold=True)
    click.echo(f"  {program()} sample demo-dcgan -n 16 --seed 7 --out more.png")
    click.echo(f"  {program()} sample demo-conv --sampler interpolate --out walk.png")
    click.echo(f"  {program()} train gan/dcgan --data FOLDER-OF-PICTURES --size 32 --name mine")


def _panels(registry: Registry, progress: Progress) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Trains what has not been trained yet; (label, pictures [N, H, W, C]) for the data and each model."""
    import torch

    from aigc_core.data.sources import open_data
    from aigc_core.sampling.draw import sample
    from aigc_core.training.job import train

    count = COLUMNS * ROWS
    dataset = open_data(DATA, registry)
    real = dataset.fetch(torch.arange(count))[0].permute(0, 2, 3, 1).numpy()
    panels = [(f"real digits: {len(dataset)} scans of 8x8 pixels", real)]
    click.secho("Training", bold=True)
    for model, recipe in RECIPES.items():
        name = f"demo-{model.partition('/')[2]}"
        if progress.shown is False:
            note(f"training {model} ...")
        done = train(model, DATA, name=name, registry=registry, progress=progress, **recipe)
        state = "kept before" if done.already_finished else f"in {done.seconds:.0f} s"
        steps = done.record["training"]["steps"]
        click.echo(f"  {model:<10}  {done.weights}, {steps} steps {state}")
        drawn = sample(done.path, count=count, registry=registry)
        assert drawn is not None
        panels.append((f"{model}: samples of {done.weights}", drawn.array))
    return panels


def _draw(panels: list[tuple[str, npt.NDArray[np.uint8]]], out: Path) -> None:
    """One PNG: a labelled panel below the other, pictures enlarged smoothly."""
    from PIL import Image, ImageDraw, ImageFont

    from aigc_core._version import __version__
    from aigc_core.files import write_atomically
    from aigc_core.modality.image import png_bytes

    cell, gap, margin, title = 64, 6, 24, 44
    width = 2 * margin + COLUMNS * (cell + gap) - gap
    height = margin + len(panels) * (title + ROWS * (cell + gap) + margin // 2)
    canvas = Image.new("L", (width, height), 250)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(22)
    top = margin // 2
    for label, pictures in panels:
        pen.text((margin, top + 10), label, fill=30, font=font)
        top += title
        for i, picture in enumerate(pictures):
            tile = Image.fromarray(picture[:, :, 0]).resize((cell, cell), Image.Resampling.BICUBIC)
            canvas.paste(tile, (margin + i % COLUMNS * (cell + gap), top + i // COLUMNS * (cell + gap)))
        top += ROWS * (cell + gap) + margin // 2
    with write_atomically(out) as file:
        file.write(png_bytes(canvas, {"core": __version__, "panels": [label for label, _ in panels]}))
