"""`aigc weights`."""

from __future__ import annotations

import click

from aigc_core.cli.common import json_option, note, print_json, table
from aigc_core.cli.groups import LazyGroup


@click.group(cls=LazyGroup, default="list")
def weights() -> None:
    """List the weights that were kept."""


@weights.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all versions in the store; damaged ones are named and the rest is shown."""
    from aigc_core.errors import AigcError
    from aigc_core.weights.header import read_header
    from aigc_core.weights.store import Store

    rows = []
    for version in Store():
        try:
            header = read_header(version.path)
        except AigcError as error:
            note(f"{version}: {error}")
            continue
        record = header.record
        rows.append(
            {
                "weights": str(version),
                "model": record.get("model"),
                "data": record.get("data", {}).get("name"),
                "steps": record.get("training", {}).get("steps"),
                "parameters": record.get("parameters"),
                "bytes": header.size,
                "tensors_digest": record.get("tensors_digest"),
                "path": str(version.path),
            }
        )
    if as_json:
        print_json(rows)
        return
    if not rows:
        note("no weights are kept yet; train some: aigc train MODEL --data digits")
        return
    table(
        [
            [
                str(row["weights"]), str(row["model"]), str(row["data"]), str(row["steps"]),
                f"{row['parameters'] or 0:,}", str(row["tensors_digest"])[7:19],
            ]
            for row in rows
        ],
        ["WEIGHTS", "MODEL", "DATA", "STEPS", "PARAMETERS", "DIGEST"],
    )  # fmt: skip
