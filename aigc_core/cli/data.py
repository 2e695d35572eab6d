"""`aigc data`."""

from __future__ import annotations

import click

from aigc_core.cli.common import (
    DataName,
    SizeType,
    fields,
    json_option,
    note,
    open_registry,
    plural,
    print_json,
    reading_option,
    show_skipped,
    table,
)
from aigc_core.cli.groups import LazyGroup
from aigc_core.modality import modality


@click.group(cls=LazyGroup, default="list")
def data() -> None:
    """List the known data sets, or show any."""


@data.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the data sets known by name."""
    specs = list(open_registry().datasets.values())
    if as_json:
        print_json(
            [
                {
                    "name": s.name,
                    "summary": s.summary,
                    "modality": s.modality,
                    "license": s.license,
                    "shape": list(s.shape),
                    "count": s.count,
                    "splits": list(s.splits),
                }
                for s in specs
            ]
        )
        return
    table(
        [
            [s.name, s.modality, "x".join(map(str, s.shape)), str(s.count), ", ".join(s.splits), s.summary]
            for s in specs
        ],
        ["DATA", "MODALITY", "SHAPE", "COUNT", "SPLITS", "SUMMARY"],
    )
    note(
        "a path serves as well: a folder of pictures, of sounds or of .txt files, a text, an IDX file, an .npz"
    )


@data.command("show")
@click.argument("name", type=DataName())
@click.option("--split", help="Which part of the data; by default the one to train on.")
@click.option(
    "--size",
    type=SizeType(),
    help="The size of an item: height x width of a folder's pictures, bytes of a text, samples of a sound.",
)
@reading_option
@click.option("--strict", is_flag=True, help="Fail on the first unreadable file.")
@json_option
def show(
    name: str,
    split: str | None,
    size: tuple[int, int] | None,
    reading: tuple[tuple[str, str], ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Read a data set (a name or a path) and tell what it holds."""
    registry = open_registry()
    from aigc_core.data.sources import open_data
    from aigc_core.progress import Progress

    found = open_data(
        name, registry, split=split, size=size, strict=strict, reading=dict(reading), track=Progress().track
    )
    parts = {part: sizes._asdict() for part, sizes in found.parts().items()}
    counts: dict[str, int] = {}
    if found.info.classes:
        import torch

        labels = found.labels()
        if labels is not None:
            histogram = torch.bincount(labels, minlength=len(found.info.classes)).tolist()
            counts = dict(zip(found.info.classes, histogram, strict=True))
    legend = modality(found.info.modality).legend(found.info.details)
    if as_json:
        print_json(
            {
                "name": found.name,
                "split": found.split,
                "modality": found.info.modality,
                "shape": list(found.info.shape),
                "details": dict(found.info.details),
                "count": len(found),
                **({"parts": parts} if parts else {}),
                "classes": counts,
                "digest": found.digest,
                "skipped": found.skipped,
            }
        )
        return
    fields(
        {
            "data": found.name,
            "split": found.split,
            "modality": found.info.modality,
            "shape": f"{'x'.join(map(str, found.info.shape))} ({legend})",
            "count": str(len(found)),
            **{
                part: f"{plural(n['documents'], 'document')}, {n['characters']:,} characters, {n['bytes']:,} bytes"
                for part, n in parts.items()
            },
            "classes": ", ".join(f"{name} ({n})" for name, n in counts.items()),
            "digest": found.digest,
            "speakers": ", ".join(found.info.details.get("speakers", ())),
            "captions" if found.info.modality == "image" else "transcripts": "; ".join(
                found.info.details.get("examples", ())
            ),
            "skipped": str(len(found.skipped)) if found.skipped else "",
        }
    )
    show_skipped(found.skipped)
