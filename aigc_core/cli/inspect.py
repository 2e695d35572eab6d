"""`aigc inspect`."""

from __future__ import annotations

from typing import Any, Final

import click

from aigc_core.cli.common import WeightsName, fields, json_option, print_json
from aigc_core.provenance.credentials import INSTALL, TRUST, Credentials
from aigc_core.provenance.private import is_hidden
from aigc_core.weights.card import data_line, pairs, shape_of, training_line

NOTED: Final = 4
"""Samples whose notes are shown."""


@click.command("inspect")
@click.argument("target", type=WeightsName())
@click.option("--verify", is_flag=True, help="Read the tensors too and check their digest.")
@json_option
def inspect(target: str, verify: bool, as_json: bool) -> None:
    """Show what a weights file, stored weights, or a file of samples (.png, .txt, .wav, .npz, .tar) says of itself.

    Reads only the header of a weights file, unless --verify is given. Of samples it says, too, whether they still are
    what the record says. Imports no torch.
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
            "output": shape_of(found["output"]),
            "parameters": f"{found['parameters']:,}",
            "data": data_line(data),
            "config": pairs(found["config"]),
            "training": training_line(training),
            "metrics": pairs({k: round(v, 4) for k, v in training.get("metrics", {}).items()}),
            "license": found["license"],
            "digest": found["tensors_digest"] + checked,
        }
    )


def _sample(found: dict[str, Any]) -> None:
    weights, intact = found.get("weights", {}), found["intact"]
    state = {True: "", False: " (ALTERED since: the file decodes to something else)", None: " (not checked)"}
    unchecked = "" if found.get("verified", True) else " (their bytes were not checked)"
    content = found.get("content")
    fields(
        {
            "file": found["path"],
            "samples": which(found) if "seed" in found else None,
            "model": weights.get("model", found.get("model")),
            "weights": f"{weights.get('name') or 'a file'}{unchecked}" if weights else None,
            "manifest": weights.get("manifest"),
            "tensors": weights.get("tensors_digest"),
            "sampler": f"{found['sampler']} {pairs(found.get('options', {}))}".rstrip()
            if "sampler" in found
            else None,
            "parts": parts_of(found),
            "labels": _names(found.get("labels", [])),
            "pictures": ", ".join(_given(picture) for picture in found.get("images", [])),
            "masks": ", ".join(_given(mask) for mask in found.get("masks", [])),
            "sounds": ", ".join(_given(sound) for sound in found.get("sounds", [])),
            "prompts": _joined(found.get("prompts")),
            "notes": _noted(found.get("notes")),
            "filters": ", ".join(map(str, found.get("filters", []))),
            "made with": made_with(found),
            "code": pairs({name: _short(digest) for name, digest in found.get("code", {}).items()}),
            "license": weights.get("license"),
            "content": f"{content}{state[intact]}" if content else None,
            "signed": _signed(found["credentials"]),
        }
    )


def which(record: dict[str, Any]) -> str:
    """Which samples a record is of."""
    start, count = int(record.get("start", 0)), int(record.get("count", 1))
    block = f", in blocks of {record['block']}" if "block" in record else ""
    return f"{f'{start} .. {start + count - 1}' if count > 1 else start} of seed {record.get('seed')}{block}"


def made_with(record: dict[str, Any]) -> str | None:
    """The versions and the machine of a record, as far as it names them."""
    backend = record.get("backend", {})
    parts = [
        ("aigc-core", record.get("core")), (backend.get("distribution"), backend.get("version")),
        ("torch", record.get("torch")), ("numpy", record.get("numpy")), ("python", record.get("python")),
        (record.get("device"), record.get("hardware", "")), ("threads", record.get("threads")),
    ]  # fmt: skip
    return ", ".join(f"{name} {value}".strip() for name, value in parts if name and value is not None) or None


def _noted(notes: Any) -> str:
    """What the sampler said of the first few samples, as far as it can be said in a word."""
    told = []
    for number, facts in enumerate(notes if isinstance(notes, list) else []):
        brief = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
        if brief and number < NOTED:
            told.append(pairs(brief))
    more = f"; and of {len(notes) - NOTED} more" if told and len(notes) > NOTED else ""
    return "; ".join(told) + more


def parts_of(record: dict[str, Any]) -> str:
    """The weights of other models that the sampler computed with, too."""
    return ", ".join(
        f"{option} {part.get('name') or 'a file'} of {part.get('model')} ({_short(part.get('tensors_digest'))})"
        for option, part in record.get("parts", {}).items()
        if isinstance(part, dict)
    )


def _signed(found: Credentials | None) -> str | None:
    if found is None:
        return None
    if found["state"] is None:
        return f"with content credentials; to check them, {INSTALL}"
    what = {
        "trusted": "valid, and trusted",
        "valid": f"valid; {TRUST} names no authority that vouches for the certificate",
    }
    told = what.get(found["state"], f"INVALID ({', '.join(found['problems']) or 'no reason given'})")
    return f"by {found['by'] or 'nobody who is named'}: {told}"


def _given(picture: Any) -> str:
    """A picture or sound that the sampler worked on; of a record of format 1, its name alone."""
    if not isinstance(picture, dict):
        return str(picture)
    name = str(picture.get("name"))
    shown = "a private one" if is_hidden(name) else name
    return f"{shown} ({_short(picture.get('content'))})"


def _names(labels: list[Any]) -> str:
    return ", ".join(map(str, labels[:5])) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _joined(prompts: Any) -> str | None:
    """The prompts of a record, short."""
    if not prompts:
        return None
    shown = [
        "a private one" if is_hidden(p) else repr(p if len(p) <= 60 else f"{p[:57]}...")
        for p in map(str, prompts)
    ]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _short(digest: Any) -> str:
    return str(digest)[: len("sha256:") + 12] if digest else "unknown"
