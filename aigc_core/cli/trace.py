"""`aigc trace`."""

from __future__ import annotations

from typing import Any

import click

from aigc_core.cli.common import fields, json_option, note, plural, print_json
from aigc_core.cli.inspect import made_with, parts_of, which
from aigc_core.weights.card import data_line, pairs, training_line


@click.command()
@click.argument("file", type=click.Path())
@json_option
def trace(file: str, as_json: bool) -> None:
    """Lead a sample back to the weights, data and run that made it.

    By the record inside FILE; or, where that was stripped or does not fit, by what FILE decodes to, which the ledger of
    this AIGC_HOME knows of every sample. Imports no torch.
    """
    from aigc_core.provenance.trace import trace as find

    found = find(file)
    if found["intact"] is False:
        use = "the ledger knows its content" if found["found_by"] == "ledger" else "it was altered since"
        note(f"{file} is not what the record inside says; {use}")
    if found["others"]:
        note(f"{plural(found['others'], 'other sampling')} came to the same content; this is the latest")
    if as_json:
        print_json(found)
        return
    sample, weights, data, training = found["sample"], found["weights"], found["data"], found["training"]
    fields(
        {
            "file": found["path"],
            "content": found["content"],
            "found by": "the record inside"
            if found["found_by"] == "record"
            else "the ledger, by its content",
            "samples": which(sample),
            "sampler": f"{sample.get('sampler', 'unknown')} {pairs(sample.get('options', {}))}".rstrip(),
            "parts": parts_of(sample),
            "made with": made_with(sample),
            "weights": _weights(weights),
            "tensors": weights.get("tensors_digest"),
            "model": _model(found["model"]),
            "data": data_line(data) if data else None,
            "training": training_line({**training, "options": {}}) if training else None,
            "run": _run(found["run"]),
        }
    )


def _weights(weights: dict[str, Any]) -> str:
    name, stored = weights.get("name"), weights["stored"]
    if not weights.get("tensors_digest"):
        return "none that were kept: a training drew it on the way"
    if stored is None:
        return f"{name or 'a file without a name'}, not in this store: aigc weights restore, pull or import brings them back"
    return stored if name in (None, stored) else f"{stored}, which was {name}"


def _model(model: dict[str, Any]) -> str:
    backend, installed = model["backend"], model["installed"]
    if not backend:
        return str(model["id"])
    made = f"{model['id']} of {backend.get('distribution')} {backend.get('version')}"
    if installed is None:
        return f"{made}, which is not installed"
    if model["same_code"] is False:
        return f"{made}; installed is {installed['version']}, with other code"
    return made


def _run(run: dict[str, Any] | None) -> str | None:
    if run is None:
        return None
    return f"{run['id']}, {run['folder']}" if run["id"] else f"{run['key']}, whose folder is not here"
