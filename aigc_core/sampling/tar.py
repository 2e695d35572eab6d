"""Tar archives of samples, one or several."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aigc_core.errors import UsageError
from aigc_core.sampling.forms import Form, made_by

if TYPE_CHECKING:
    import numpy.typing as npt

    from aigc_core.specs import Output


class Tar(Form):
    """The files of a folder, and of each sample's record, in archives that any tar reads and WebDataset streams.

    `000007.png` and `000007.json` are sample 7. With `shard`, so many samples go into each of `x-000000.tar`,
    `x-000001.tar`, ..., and each is what the same request makes of its samples alone.
    """

    def __init__(
        self, out: Path, output: Output, record: Mapping[str, Any], shard: int | None = None
    ) -> None:
        super().__init__(out, output, record)
        self.shard: Final = shard
        self._step: Final = shard or self.end - self.start
        self._archives: Final = range(-(-(self.end - self.start) // self._step))
        self._finished: Final[dict[int, bool]] = {}

    def begin(self) -> bool:
        if self.shard is not None:
            self._check_shards()
        if all(map(self._is_finished, self._archives)):
            self.place.clear()
            return True
        self.place.claim({**self.record, "shard": self.shard})
        for piece in self.place.pieces():  # a process that was killed may not have told
            self._tell(self.place.piece(*piece))
        return False

    def has(self, first: int, count: int) -> bool:
        return all(
            self.place.piece(begin, end - begin).exists() or self._is_finished(number)
            for number, begin, end in self._cut(first, count)
        )

    def put(self, first: int, samples: npt.NDArray[Any]) -> None:
        for _, begin, end in self._cut(first, len(samples)):
            with self.place.writing(self.place.piece(begin, end - begin)) as file:
                for index in range(begin, end):
                    encoded = self.encoded(index, samples[index - first : index - first + 1])
                    record = {**self.record_of(index), "content": encoded.content}
                    file.write(_member(f"{index:06d}{self.ending()}", encoded.files[""]))
                    for more, content in encoded.files.items():
                        if more not in ("", ".json"):  # a record has a member of its own
                            file.write(_member(f"{index:06d}{self.ending()}{more}", content))
                    file.write(_member(f"{index:06d}.json", json.dumps(record, ensure_ascii=False).encode()))

    def kept(self) -> int:
        whole = [range(*self._bounds(number)) for number in self._archives if self._is_finished(number)]
        return sum(map(len, whole)) + sum(count for _, count in self.place.pieces())

    def finish(self) -> None:
        pieces = self.place.pieces()
        for number in self._archives:
            begin, end = self._bounds(number)
            own = [self.place.piece(*piece) for piece in pieces if begin <= piece[0] < end]
            if not self._is_finished(number):
                with self.place.writing(self.path(number), durable=True) as file:
                    # As in the archives of git: a comment that readers skip.
                    comment = json.dumps(self._record(begin, end), sort_keys=True)
                    file.write(tarfile.TarInfo.create_pax_global_header({"comment": comment}))
                    for path in own:
                        with open(path, "rb") as piece:
                            shutil.copyfileobj(piece, file, 1 << 20)
                    file.write(bytes(2 * tarfile.BLOCKSIZE))
                    file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
            for (
                path
            ) in own:  # a shard's pieces go as it comes, so that the disk needs no room for all of it twice
                path.unlink()

    def path(self, number: int) -> Path:
        return self.out if self.shard is None else self.out.with_stem(f"{self.out.stem}-{number:06d}")

    def _bounds(self, number: int) -> tuple[int, int]:
        """The first sample of an archive, and the one after its last."""
        begin = self.start + number * self._step
        return begin, min(begin + self._step, self.end)

    def _cut(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Samples at the bounds of archives: the archive's number, the first sample, the one after the last."""
        begin = first
        while begin < first + count:
            number = (begin - self.start) // self._step
            end = min(first + count, self._bounds(number)[1])
            yield number, begin, end
            begin = end

    def _tell(self, piece: Path) -> None:
        """Enters the samples of a piece."""
        with tarfile.open(piece, "r:") as archive:
            for info in archive:
                if info.name.endswith(".json") and (member := archive.extractfile(info)) is not None:
                    record = json.load(member)
                    self.enter(record["content"], record["start"], 1)

    def _record(self, begin: int, end: int) -> dict[str, Any]:
        return {**self.record, "start": begin, "count": end - begin}

    def _is_finished(self, number: int) -> bool:
        if number not in self._finished:
            self._finished[number] = made_by(self.path(number), self._record(*self._bounds(number)))
        return self._finished[number]

    def _check_shards(self) -> None:
        """Raises UsageError if there are shards of that name that are not of this request."""
        stem = self.out.stem
        for path in self.out.parent.glob(f"{stem}-*.tar") if self.out.parent.is_dir() else []:
            number = path.stem.removeprefix(f"{stem}-")
            if not (number.isdecimal() and len(number) >= 6):
                continue
            if int(number) not in self._archives or not self._is_finished(int(number)):
                raise UsageError(f"{path} is of another sampling; remove it, or choose another --out")


def _member(name: str, content: bytes) -> bytes:
    """One file in a tar: nothing in its header but the name and the size depends on anything."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
