"""Buckets of S3, and of what speaks its protocol."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import NotFoundError, UsageError
from aigc_core.progress import Bar
from aigc_core.weights.remotes.objects import Objects
from aigc_core.weights.remotes.remote import CHUNK

PART: Final = 8 * 2**20
"""Bytes of a part; the protocol wants at least 5 MiB and at most 10,000 parts."""
_MOST_PARTS: Final = 9000
_TAKEN: Final = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_UNUSABLE: Final = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest"}
"""What an unfinished upload is that another program, or other settings, began."""


class Bucket(Objects):
    """Large files go in parts, each with its MD5 for the server to check; an upload that was cut off is taken
    up again. Version records are created by a conditional write."""

    kept = "parts that were sent are kept there"

    def check(self, *, writing: bool) -> None:
        bucket = self._place("")["Bucket"]
        if not bucket:
            raise UsageError(f"{self.url} names no bucket; give s3://BUCKET or s3://BUCKET/FOLDER")
        try:
            self.fs.call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            raise NotFoundError(f"{self.url}: there is no bucket {bucket!r}; create it first") from None
        except PermissionError:  # who may use its files need not be allowed to ask for the bucket
            pass

    def stream(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        """One request brings the rest of the file."""
        from fsspec.asyn import sync

        self._check_size(path, size)
        if start >= size:  # of nothing there is no range
            return
        body = self.fs.call_s3("get_object", **self._place(path), Range=f"bytes={start}-{size - 1}")["Body"]
        try:
            while piece := sync(self.fs.loop, body.read, CHUNK):
                yield start, piece
                start += len(piece)
        finally:
            self.fs.loop.call_soon_threadsafe(body.close)

    def _place(self, path: str) -> dict[str, str]:
        bucket, key, _ = self.fs.split_path(self.path(path))
        return {"Bucket": bucket, "Key": key}

    def _size(self, path: str) -> int | None:
        try:
            return int(self.fs.call_s3("head_object", **self._place(path))["ContentLength"])
        except FileNotFoundError:
            return None

    def _make_folder(self, path: str) -> None:
        """There are none; and s3fs would create the bucket."""

    def _create(self, path: str, content: bytes) -> bool:
        try:
            self.fs.call_s3("put_object", **self._place(path), **_checked(content), IfNoneMatch="*")
        except FileExistsError:
            return False
        except OSError as error:
            if _code(error) in _TAKEN:
                return False
            raise
        return True

    def _upload(self, path: str, source: Path, digest: str, size: int, bar: Bar) -> None:
        self.check_source(source, digest)
        for fresh in (False, True):
            etag = ""
            try:
                if size <= PART:
                    etag = self._put(path, source, size, bar)
                else:
                    etag = self._put_parts(path, source, bar, fresh)
            except FileNotFoundError:  # another push of the same file has finished the upload
                pass
            except OSError as error:
                if fresh or _code(error) not in _UNUSABLE:
                    raise
            if self._arrived(path, etag, digest, size):
                return
        self._discard(path)
        raise self.unlike(path)

    def _arrived(self, path: str, etag: str, digest: str, size: int) -> bool:
        """By the MD5 of the parts that the server has; if its ETag is none (some encrypted buckets), all of it
        is read again."""
        try:
            head = self.fs.call_s3("head_object", **self._place(path))
        except FileNotFoundError:
            return False
        if head["ContentLength"] != size:
            return False
        return str(head.get("ETag", "")).strip('"') == etag or self.digest(path, size) == digest

    def _put(self, path: str, source: Path, size: int, bar: Bar) -> str:
        content = source.read_bytes()
        self.fs.call_s3("put_object", **self._place(path), **_checked(content))
        bar.update(size)
        return _md5(content).hex()

    def _put_parts(self, path: str, source: Path, bar: Bar, fresh: bool) -> str:
        place = self._place(path)
        upload, there = (None, {}) if fresh else self._unfinished(place)
        if upload is None:
            upload = self.fs.call_s3("create_multipart_upload", **place)["UploadId"]
        count, sums = 0, b""
        for content in _pieces(source):
            count, sum = count + 1, _md5(content)
            if there.get(count) != (sum.hex(), len(content)):
                body = _checked(content)
                self.fs.call_s3("upload_part", **place, **body, UploadId=upload, PartNumber=count)
            bar.update(len(content))
            sums += sum
        there = self._listed(place, upload)
        parts = [{"PartNumber": n, "ETag": f'"{there[n][0]}"'} for n in range(1, count + 1) if n in there]
        self.fs.call_s3(
            "complete_multipart_upload", **place, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        return f"{_md5(sums).hex()}-{count}"

    def _unfinished(self, place: Mapping[str, str]) -> tuple[str | None, dict[int, tuple[str, int]]]:
        """An upload of the same file that was cut off, and the parts that it has; looked for in vain where that
        is not allowed or not known."""
        try:
            found = self.fs.call_s3("list_multipart_uploads", Bucket=place["Bucket"], Prefix=place["Key"])
            for upload in found.get("Uploads", ()):
                if upload["Key"] == place["Key"]:
                    return upload["UploadId"], self._listed(place, upload["UploadId"])
        except (FileNotFoundError, PermissionError, NotImplementedError):
            pass
        except OSError as error:
            if _code(error) not in ("NotImplemented", "501", "MethodNotAllowed", "405"):
                raise
        return None, {}

    def _listed(self, place: Mapping[str, str], upload: str) -> dict[int, tuple[str, int]]:
        """MD5 and size of the parts that have arrived."""
        parts: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            page = self.fs.call_s3("list_parts", **place, UploadId=upload, PartNumberMarker=marker)
            for part in page.get("Parts", ()):
                parts[part["PartNumber"]] = (part["ETag"].strip('"'), part["Size"])
            if not page.get("IsTruncated"):
                return parts
            marker = page["NextPartNumberMarker"]


def _pieces(source: Path) -> Iterator[bytes]:
    """The same cuts every time, whatever was sent before."""
    with open(source, "rb") as file:
        length = max(PART, -(-os.fstat(file.fileno()).st_size // _MOST_PARTS))
        while content := file.read(length):
            yield content


def _checked(content: bytes) -> dict[str, Any]:
    return {"Body": content, "ContentMD5": base64.b64encode(_md5(content)).decode()}


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _code(error: BaseException) -> str:
    """The code of an S3 error; s3fs keeps it only in what caused its own."""
    response = getattr(error.__cause__, "response", None)
    return (
        str(response["Error"].get("Code", "")) if isinstance(response, dict) and "Error" in response else ""
    )
