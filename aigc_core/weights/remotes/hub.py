"""Repositories of the Hugging Face hub: every write is a commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aigc_core.errors import NotFoundError
from aigc_core.progress import Bar
from aigc_core.weights.remotes.objects import Objects


class Hub(Objects):
    """A version record is committed upon the very state in which there was none of its number: of two hosts
    that try at once, one is refused and looks again."""

    def check(self, *, writing: bool) -> None:
        try:
            self._repository("")
        except FileNotFoundError:
            advice = "create it first, or log in: hf auth login"
            raise NotFoundError(
                f"{self.url}: there is no such repository, or you may not see it; {advice}"
            ) from None

    def _send(self, path: str, source: Path, size: int, bar: Bar) -> None:
        with _without_bars():
            super()._send(path, source, size, bar)

    def _create(self, path: str, content: bytes) -> bool:
        place = self._repository(path)
        if place is None:  # a bucket of the hub's, or another file system under this scheme
            return super()._create(path, content)
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HfHubHTTPError

        api = self.fs._api
        at = {"repo_id": place.repo_id, "repo_type": place.repo_type}
        head = api.repo_info(**at, revision=place.revision).sha
        if api.get_paths_info(paths=[place.path_in_repo], revision=head, **at):
            return False
        try:
            api.create_commit(
                **at,
                revision=place.revision,
                operations=[CommitOperationAdd(place.path_in_repo, content)],
                commit_message=f"aigc: {path}",
                parent_commit=head,
            )
        except HfHubHTTPError as error:
            if error.response.status_code in (409, 412):
                return False
            raise
        finally:
            self._forget()
        return True

    def _repository(self, path: str) -> Any:
        """What huggingface_hub makes of a path, if it lies in a repository."""
        try:
            from huggingface_hub import HfFileSystem
        except ImportError:
            return None
        if not isinstance(self.fs, HfFileSystem):
            return None
        place = self.fs.resolve_path(self.path(path).rstrip("/"))
        return place if hasattr(place, "repo_id") else None


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Ours is shown."""
    try:
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )
    except ImportError:
        yield
        return
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
