"""Weights as a folder for others, and back: plain files, a model card, their checksums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from aigc_core.errors import DamagedFileError, NotFoundError
from aigc_core.weights import blobs, manifest
from aigc_core.weights.card import card, portrait
from aigc_core.weights.header import read_header
from aigc_core.weights.layout import DIGEST, WEIGHTS_FILE
from aigc_core.weights.placing import placed
from aigc_core.weights.store import Store
from aigc_core.weights.version import Version

MANIFEST: Final = "manifest.json"
CARD: Final = "README.md"
SUMS: Final = "SHA256SUMS"


def export(version: Version, folder: Path) -> None:
    """Writes a version to a new or empty folder: its files, its manifest, a card in the form of the hub, SHA256SUMS.

    The same version under the same name gives the same bytes. The folder appears when all of it is there.
    Raises UsageError if there is something, DamagedFileError if a blob is not whole, StorageError.
    """
    with placed(folder) as temporary:
        whole = version.manifest
        content = manifest.encode(whole.record, whole.files, whole.golden)
        sums = {}
        with version.store.using():
            for name, file in whole.files.items():
                source = version.store.layout.blob(file.digest)
                if not blobs.is_whole(source, file.digest):
                    raise DamagedFileError(
                        f"{source}: {name} of {version} is missing or damaged; not exported"
                    )
                shutil.copyfile(source, temporary / name)
                sums[name] = file.digest
        for name, text in ((MANIFEST, content), (CARD, model_card(version).encode())):
            (temporary / name).write_bytes(text)
            sums[name] = manifest.digest_of(text)
        lines = "".join(f"{digest[7:]}  {name}\n" for name, digest in sorted(sums.items()))
        (temporary / SUMS).write_text(lines, encoding="ascii")


def import_folder(folder: Path, name: str, store: Store, alias: str | None = None) -> Version:
    """Takes what `export` wrote into the store, as the next version of a name.

    Raises NotFoundError for what is no such folder, DamagedFileError where its files are not those that it lists,
    StorageError.
    """
    for what in (MANIFEST, SUMS):
        if not (folder / what).is_file():
            raise NotFoundError(
                f"{folder} has no {what}: not a folder that `aigc weights export` wrote; a single file is taken too"
            )
    sums = _sums(folder / SUMS)
    content = manifest.read_small(folder / MANIFEST, manifest.MAX_MANIFEST)
    if MANIFEST not in sums:
        raise DamagedFileError(f"{folder / SUMS}: damaged: it does not list {MANIFEST}")
    whole = manifest.parse(content, sums[MANIFEST], folder / MANIFEST)
    for what, digest in sums.items():
        promised = whole.files[what].digest if what in whole.files else digest
        if digest != promised:
            raise DamagedFileError(f"{folder / SUMS}: says otherwise of {what} than {MANIFEST}")
        if not blobs.is_whole(folder / what, digest):
            raise DamagedFileError(f"{folder / what}: missing or altered: not what {SUMS} says")
    if unlisted := sorted(set(whole.files) - set(sums)):
        raise DamagedFileError(f"{folder / SUMS}: does not list {unlisted[0]}")
    with store.using(write=True):
        for what, file in whole.files.items():
            store.add_blob(folder / what, file.digest)
        if read_header(store.layout.blob(whole.weights.digest)).record != whole.record:
            raise DamagedFileError(f"{folder}: {WEIGHTS_FILE} is not what {MANIFEST} says of it")
        version = store.commit(name, store.add_manifest(content))
        if alias is not None:
            store.tag(str(version), alias)
    return version


def model_card(version: Version) -> str:
    """Markdown with the head that model hubs read."""
    whole = version.manifest
    about = card(whole)
    picture = portrait(whole)
    record = whole.record
    tags = ["aigc", str(record["model"]).partition("/")[0], str(record["output"]["modality"])]
    head: dict[str, str | list[str]] = {
        "library_name": "aigc",
        "license": str(record["license"]).lower(),
        "tags": tags,
        "datasets": [str(record["data"]["name"])],
    }
    lines = ["---", *_yaml(head), "---", "", f"# {version.name}", ""]
    lines += [f"Weights of `{record['model']}`, trained by aigc.", ""]
    if picture and picture.endswith(".png"):
        lines += [f"![samples]({picture})", ""]
    lines += [
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {_cell(value)} |" for name, value in about.items() if value),
    ]
    lines += [
        "", "## Use", "",
        f"    aigc weights import DIR --name {version.name}",
        f"    aigc sample {version.name} --out samples/",
        "", f"`{WEIGHTS_FILE}` explains itself: `aigc sample {WEIGHTS_FILE} --out samples/` needs no other file. "
        f"`sha256sum -c {SUMS}` checks all of them.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _yaml(head: dict[str, str | list[str]]) -> list[str]:
    """JSON's texts are YAML's, too."""
    lines = []
    for name, value in head.items():
        lines.append(
            f"{name}:" if isinstance(value, list) else f"{name}: {json.dumps(value, ensure_ascii=False)}"
        )
        if isinstance(value, list):
            lines += [f"- {json.dumps(item, ensure_ascii=False)}" for item in value]
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _sums(path: Path) -> dict[str, str]:
    found = {}
    for line in manifest.read_small(path).decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in ("", ".", "..") or "/" in name or not DIGEST.fullmatch(f"sha256:{digest}"):
            raise DamagedFileError(f"{path}: damaged: no list of sha256 sums of files beside it")
        found[name] = f"sha256:{digest}"
    return found
