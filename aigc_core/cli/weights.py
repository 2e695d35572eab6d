"""`aigc weights`: the group; its commands live in `store`, `exchange` and `remotes`."""

from __future__ import annotations

import click

from aigc_core.cli.groups import LazyGroup

COMMANDS = {
    "list": ("aigc_core.cli.store:list_", "List the versions in the store."),
    "show": ("aigc_core.cli.store:show", "Show one version: its card."),
    "tag": ("aigc_core.cli.store:tag", "Give a version a second name: NAME@ALIAS."),
    "rm": ("aigc_core.cli.store:rm", "Remove versions; restore brings them back."),
    "restore": ("aigc_core.cli.store:restore", "Bring back versions that were removed."),
    "verify": ("aigc_core.cli.store:verify", "Check every byte, and what the weights draw."),
    "gc": ("aigc_core.cli.store:gc", "Delete what was removed for good."),
    "diff": ("aigc_core.cli.exchange:diff", "Compare two versions: data, config, code, tensors."),
    "export": ("aigc_core.cli.exchange:export", "Write a version as a folder for others."),
    "import": ("aigc_core.cli.exchange:import_", "Take a folder or a weights file into the store."),
    "push": ("aigc_core.cli.remotes:push", "Bring a version to a remote: a folder, a bucket, the hub."),
    "pull": ("aigc_core.cli.remotes:pull", "Bring a version from a remote into the store."),
    "convert": ("aigc_core.cli.convert:convert", "Keep a version in another precision."),
    "retrain": ("aigc_core.cli.exchange:retrain", "Train a version again and compare."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, default="list")
def weights() -> None:
    """Keep, check, share and compare trained weights.

    WEIGHTS are named NAME (its newest version), NAME@3, NAME@ALIAS, or by a path.
    """
