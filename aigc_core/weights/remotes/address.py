"""From what a user writes as URL to a remote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aigc_core.errors import AigcError, UsageError
from aigc_core.files import user_path
from aigc_core.weights.remotes.folder import Folder
from aigc_core.weights.remotes.remote import Remote
from aigc_core.weights.remotes.trouble import attempt, explained, missing_library, without_password

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.ASCII | re.DOTALL)
_MISSPELT: Final = re.compile(r"[a-z][a-z0-9+.-]+:", re.ASCII)


def open_remote(url: str | Path, *, writing: bool = False) -> Remote:
    """The remote that lies at a folder's path or at a URL that fsspec knows.

    Raises UsageError for what is no such thing or can't be written to, NotFoundError if it is not there,
    StorageError if it can't be reached. fsspec is imported for what is no folder.
    """
    text = str(url)
    if not text.strip() or "\0" in text:
        raise UsageError("the remote is empty; give a folder, s3://, hf:// or https://")
    match = _SCHEME.fullmatch(text)
    if match is None:
        if _MISSPELT.match(text) and not user_path(text).exists():
            raise UsageError(
                f"{text}: a URL has '://', as in s3://bucket/folder; a folder of that name: ./{text}"
            )
        remote: Remote = _folder(text, user_path(text).absolute())
    elif match[1] in ("file", "local"):
        path = Path(match[2])
        if not path.is_absolute():
            raise UsageError(f"{text}: a file:// URL holds a whole path, as in file:///data/store")
        remote = _folder(text, path)
    else:
        remote = _elsewhere(text, match[1])
    attempt(remote.url, lambda: remote.check(writing=writing))
    return remote


def _folder(url: str, root: Path) -> Folder:
    """A folder, or the store in it where it is an `AIGC_HOME`."""
    if not (root / "versions").is_dir() and (root / "store" / "versions").is_dir():
        return Folder(f"{url.rstrip('/')}/store", root / "store")
    return Folder(url, root)


def _elsewhere(url: str, scheme: str) -> Remote:
    shown = without_password(url)
    from fsspec.core import url_to_fs
    from fsspec.registry import get_filesystem_class

    from aigc_core.weights.remotes.bucket import Bucket
    from aigc_core.weights.remotes.hub import Hub
    from aigc_core.weights.remotes.objects import Objects
    from aigc_core.weights.remotes.web import Web

    if scheme in ("http", "https") and urlsplit(url).query:
        raise UsageError(
            f"{shown}: a URL with a '?' has nothing below it; give the folder that holds the store"
        )
    try:
        get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise missing_library(scheme, error, shown) from None
    try:
        fs, root = url_to_fs(url)
    except AigcError:
        raise
    except Exception as error:
        raise explained(error, shown) from error
    kinds = {"http": Web, "https": Web, "s3": Bucket, "s3a": Bucket, "hf": Hub}
    return kinds.get(scheme, Objects)(shown, fs, root)
