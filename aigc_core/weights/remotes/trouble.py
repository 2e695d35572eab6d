"""What goes wrong between here and a remote: which of it passes by itself, and how it is told."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from aigc_core.errors import AigcError, NotFoundError, StorageError, UsageError

_T = TypeVar("_T")

PAUSES: Final = (0.3, 1.0, 3.0)
"""Seconds to wait before trying again what failed without progress, each in turn."""
EXTRAS: Final = {"s3": "s3", "s3a": "s3", "hf": "hf", "http": "http", "https": "http"}
"""Schemes whose library is an extra of aigc-core."""

_PASSING: Final = {
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EBUSY,
    errno.EAGAIN,
}
_LASTING: Final = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_LIBRARIES: Final = ("aiohttp", "httpx", "requests", "urllib3")
"""Their errors pass by themselves, but for answers of 4xx. (What botocore raises it has tried again itself.)"""
_CREDENTIALS: Final = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "LocalTokenNotFoundError",
    "ProfileNotFound",
)


def attempt(where: str, work: Callable[[], _T]) -> _T:
    """The result of `work`, tried again a few times where that can help. Raises AigcError alone."""
    for pause in (*PAUSES, None):
        try:
            return work()
        except AigcError:
            raise
        except Exception as error:
            if pause is None or not passes(error):
                raise explained(error, where) from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def passes(error: Exception) -> bool:
    """Whether it may go well the next time."""
    if isinstance(error, (AigcError, *_LASTING)):
        return False
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (408, 429)
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    return type(error).__module__.partition(".")[0] in _LIBRARIES and not isinstance(error, ValueError)


def explained(error: Exception, where: str) -> AigcError:
    """The same as an error that a user can understand."""
    if isinstance(error, AigcError):
        return error
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{where}: not there ({reason(error)}); check the address")
    if isinstance(error, PermissionError) or _status(error) in (401, 403) or _named(error, _CREDENTIALS):
        return StorageError(f"{where}: access was refused ({reason(error)}); check your credentials for it")
    if isinstance(error, ImportError):
        return UsageError(f"{where}: {reason(error)}")
    if isinstance(error, NotImplementedError):
        return UsageError(f"{where}: cannot be done there; choose a remote that can be written to")
    return StorageError(f"{where}: {reason(error)}; the same command tries again")


def missing_library(scheme: str, error: Exception, where: str) -> UsageError:
    """The library of a scheme is not installed, or there is none."""
    if isinstance(error, ImportError):
        extra = EXTRAS.get(scheme)
        advice = f"pip install 'aigc-core[{extra}]'" if extra else reason(error)
        return UsageError(f"{where}: the library for {scheme}:// is not installed: {advice}")
    return UsageError(f"{where}: nothing is known of {scheme}://; give a folder, s3://, hf:// or https://")


def reason(error: BaseException) -> str:
    """An error's own words, cut to a line that no terminal takes for commands."""
    if isinstance(error, OSError) and error.strerror and not hasattr(error, "host"):
        text = str(error.strerror)
    else:
        text = str(error) or type(error).__name__
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return without_password(text)[:200]


def without_password(text: str) -> str:
    """A URL, or words that hold some, that can be shown. (A hub's `hf://user/name@branch` has no password.)"""
    return re.sub(r"(://)[^/@\s]*@", r"\1***@", text)


def _status(error: BaseException) -> int | None:
    """The status of an HTTP answer."""
    for value in (
        getattr(error, "status", None),
        getattr(getattr(error, "response", None), "status_code", None),
    ):
        if isinstance(value, int):
            return value
    return None


def _named(error: BaseException, names: tuple[str, ...]) -> bool:
    """Whether it is one of these, without importing the library that has them."""
    chain: Any = error
    while chain is not None:
        if type(chain).__name__ in names:
            return True
        chain = chain.__cause__
    return False
