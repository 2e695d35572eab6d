"""What a training came to, as `aigc train` and `aigc runs resume` print it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from aigc_core.cli.common import note, print_json, program, show_skipped
from aigc_core.modality import default_ending
from aigc_core.registry import default

if TYPE_CHECKING:
    from aigc_core.training.job import Trained


def show_outcome(done: Trained, as_json: bool) -> None:
    """Prints the weights, their figures and the next step; what was skipped goes to stderr."""
    show_skipped(done.skipped)
    for remark in done.remarks:
        note(remark)
    if as_json:
        print_json({**asdict(done), "path": str(done.path), "run": str(done.run), **done.record,
                    "already_finished": done.already_finished})  # fmt: skip
        return
    training = done.record["training"]
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in training["metrics"].items())
    if done.already_finished:
        click.echo(
            f"{done.weights} is there already ({metrics}); --again trains the same once more, as a new version"
        )
    else:
        resumed = f", resumed at step {done.resumed_at}" if done.resumed_at else ""
        click.echo(
            f"kept {done.weights}: {training['steps']} steps in {done.seconds:.0f} s{resumed} ({metrics})"
        )
    click.echo(f"  digest  {done.record['tensors_digest']}")
    name, ending = done.weights.partition("@")[0], default_ending(done.record["output"]["modality"])
    out = (
        f"{name}-samples{ending}" if Path(name + ending).exists() else name + ending
    )  # which may be the data
    click.echo(f"  card    {program()} weights show {done.weights}")
    click.echo(f"  next    {program()} sample {done.weights}{given(done.record['model'])} --out {out}")


GIVEN: Final = {
    "image": "--image FILE",
    "mask": "--mask FILE",
    "sound": "--sound FILE",
    "prompt": "--prompt TEXT",
    "label": "--label NAME",
}
"""How a sampler is given what it needs."""


def given(model: str) -> str:
    """What the first sampler of a model must be given, or is best given, as words of a command."""
    spec = default().models.get(model)
    if spec is None or not spec.samplers:
        return ""
    needs = list(next(iter(spec.samplers.values())).needs)
    if spec.data.transcripts and "prompt" in spec.conditions:
        needs.append("prompt")
    return "".join(f" {GIVEN[need]}" for need in dict.fromkeys(needs))
