"""Whether versions are what they were: every byte of them, and what they draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aigc_core.errors import AigcError, DamagedFileError
from aigc_core.weights import blobs
from aigc_core.weights.header import check_tensors, read_header
from aigc_core.weights.version import Version

if TYPE_CHECKING:
    from aigc_core.progress import Progress
    from aigc_core.registry import Registry


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one version."""

    version: Version
    bytes: str
    """`ok`, or what is wrong."""
    golden: str
    """`ok`; `differs`, and why that may be; `not drawn`, and why."""

    @property
    def whole(self) -> bool:
        return self.bytes == "ok"

    @property
    def same(self) -> bool:
        return not self.golden.startswith("differs")


def verify(version: Version, registry: Registry | None, progress: Progress) -> Verdict:
    """Reads every byte of a version, and draws its golden sample again, unless `registry` is None.

    Raises nothing for what is wrong with it.
    """
    try:
        check_bytes(version, progress)
    except (AigcError, OSError) as error:
        return Verdict(version, str(error), "not drawn: its bytes are not whole")
    return Verdict(version, "ok", _golden(version, registry) if registry else "not drawn: not asked for")


def check_bytes(version: Version, progress: Progress) -> None:
    """Raises NotFoundError, DamagedFileError or OSError unless every file of a version is what its manifest says."""
    manifest = version.manifest
    total = sum(file.size for file in manifest.files.values())
    with progress.bar(total, f"reading {version}", "B") as bar:
        for name, file in manifest.files.items():
            path = version.store.layout.blob(file.digest)
            if not path.is_file():
                raise DamagedFileError(f"{path}: {name} of {version} is missing")
            if blobs.digest_of(path) != file.digest:
                raise DamagedFileError(
                    f"{path}: {name} of {version} is damaged: its bytes are not what its name says"
                )
            bar.update(file.size)
    header = read_header(version.path)
    if header.record != manifest.record:
        raise DamagedFileError(f"{version.path}: its record is not the one of its manifest")
    check_tensors(header)


def _golden(version: Version, registry: Registry) -> str:
    golden = version.manifest.golden
    if golden is None:
        return "not drawn: none was kept"
    from aigc_core.sampling.golden import drawn_again
    from aigc_core.weights.file import load
    from aigc_core.weights.version import Found

    try:
        same, changed = drawn_again(load(Found(version.path, version), registry), golden, registry)
    except (AigcError, KeyError, TypeError, AttributeError) as error:
        return f"not drawn: {error}"
    if same:
        return "ok"
    why = (
        ", ".join(changed) or "in the same environment: the backend's code has changed, or the machine fails"
    )
    return f"differs from what it drew when it was published ({why})"
