"""`aigc inspect`."""

from __future__ import annotations

from typing import Any

import click

from aigc_core.cli.common import WeightsName, fields, json_option, print_json
from aigc_core.weights.card import pairs


@click.command("inspect")
@click.argument("target", type=WeightsName())
@click.option("--verify", is_flag=True, help="Read the tensors too and check their digest.")
@json_option
def inspect(target: str, verify: bool, as_json: bool) -> None:
    """Show what a weights file, stored weights, or a file of samples (.png, .txt, .wav, .npz, .tar) says of itself.

    Reads only the header of a weights file, unless --verify is given; imports no torch.
    """
    from aigc_core.api import inspect as read

    found = read(target, verify=verify)
    if as_json:
        print_json(found)
    elif found["kind"] == "sample":
        _sample(found)
    else:
        _weights(found, verify)


def _weights(found: dict[str, Any], verified: bool) -> None:
    if "model" not in found:
        fields({"file": found["path"], "tensors": str(len(found["tensors"])), "written by": "not aigc"})
        return
    data, training, backend = found["data"], found["training"], found["backend"]
    checked = " (verified)" if verified else ""
    fields(
        {
            "file": found["path"],
            "model": found["model"],
            "backend": f"{backend['distribution']} {backend['version']}, aigc-core {found['core']}",
            "output": f"{found['output']['modality']} {'x'.join(map(str, found['output']['shape']))}",
            "parameters": f"{found['parameters']:,}",
            "data": f"{data['name']} ({data['split']}, {data['count']} items, {data['digest']})",
            "config": pairs(found["config"]),
            "training": f"{training['steps']} steps, seed {training['seed']}, {pairs(training['options'])}",
            "metrics": pairs({k: round(v, 4) for k, v in training.get("metrics", {}).items()}),
            "license": found["license"],
            "digest": found["tensors_digest"] + checked,
        }
    )


def _sample(found: dict[str, Any]) -> None:
    weights = found["weights"]
    last = found["start"] + found["count"] - 1
    which = f"{found['start']} .. {last}" if found["count"] > 1 else str(found["start"])
    fields(
        {
            "file": found["path"],
            "samples": f"{which} of seed {found['seed']}, in blocks of {found['block']}",
            "model": weights["model"],
            "weights": weights["tensors_digest"],
            "sampler": f"{found['sampler']} {pairs(found['options'])}".rstrip(),
            "pictures": ", ".join(found["images"]),
            "made with": f"aigc-core {found['core']}, {found['backend']['distribution']} "
            f"{found['backend']['version']}, torch {found['torch']}, {found['device']}",
            "license": weights["license"],
        }
    )
