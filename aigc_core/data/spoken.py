"""The Free Spoken Digit Dataset, read from its archive as it is, or from an unpacked folder."""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aigc_core.data.folder import files_below
from aigc_core.data.recordings import Recording
from aigc_core.data.sounds import open_recordings
from aigc_core.data.transcripts import Said
from aigc_core.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aigc_core.data.clips import Sounds

WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TAKE: Final = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")
TEST: Final = 5
"""Takes below this are the test split, as the authors say."""
LARGEST: Final = 1 << 24
"""Bytes of one recording; the longest there is has 37 KB."""
URL: Final = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz"


def fsdd(split: str) -> Sounds:
    """3000 spoken digits of six speakers, 8 kHz; takes 0 to 4 of each are the test split.

    Raises NotFoundError if it is nowhere and can't be fetched, DamagedFileError.
    """
    from aigc_core.data.known import search_path

    for place in search_path():
        for folder in (
            place / "fsdd" / "recordings",
            place / "fsdd" / "free-spoken-digit-dataset" / "recordings",
            place / "free-spoken-digit-dataset" / "recordings",
        ):
            if folder.is_dir():
                return _opened(folder, split)
        preferred = place / "fsdd" / "fsdd-recordings.tar.gz"
        archives = [preferred] if preferred.is_file() else sorted((place / "fsdd").glob("*.tar.gz"))
        if len(archives) == 1:
            return _opened(archives[0], split)
    return _opened(_fetched(), split)


def _opened(source: Path, split: str) -> Sounds:
    takes = {}
    for name, content in _folder(source) if source.is_dir() else _archive(source):
        if match := TAKE.fullmatch(name):
            digit, speaker, take = match.groups()
            if (int(take) < TEST) == (split == "test"):
                word = WORDS[int(digit)]
                takes[name] = Recording(name, content, Said(word, speaker, word))
    if not takes:
        raise DamagedFileError(f"{source}: holds no recordings named as 7_jackson_32.wav")
    try:
        recordings = [takes[name] for name in sorted(takes)]
        found = open_recordings(recordings, source, name="fsdd", split=split, classes=WORDS)
    except DataError as error:
        raise DamagedFileError(str(error)) from None
    return found


def _folder(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((path.name, path) for path in files_below(folder, (".wav",)))


def _archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """The recordings in an archive, one after the other."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".wav") and member.size <= LARGEST:
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name.rpartition("/")[2], content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, PermissionError):
            raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
        raise DamagedFileError(
            f"{path}: truncated or damaged archive ({' '.join(str(error).split())}); delete it, and it is fetched anew"
        ) from None


def _fetched() -> Path:
    """The archive, downloaded under another name first: what has its name is whole."""
    from aigc_core.data.known import fetch, search_path

    target = search_path()[0] / "fsdd"
    archive = target / "fsdd.tar.gz"
    part = f".{archive.name}.{os.getpid()}"

    def download(datasets: object) -> None:
        try:
            datasets.utils.download_url(URL, str(target), part)  # type: ignore[attr-defined]
            try:
                for _ in _archive(target / part):  # a download that was cut short ends without an error
                    pass
            except DamagedFileError:
                raise ValueError("what came is not the whole archive") from None
            os.replace(target / part, archive)
        finally:
            (target / part).unlink(missing_ok=True)

    fetch("fsdd", download, target)
    return archive
