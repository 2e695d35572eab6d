"""`own`: a small classifier that was trained on the data themselves, and the file that it is kept in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F
from torch import nn

from aigc_core.errors import AigcError, DamagedFileError, NotFoundError
from aigc_core.evaluation.extractors.base import Extractor
from aigc_core.home import home
from aigc_core.weights.header import read_header
from aigc_core.weights.layout import ENDING
from aigc_core.weights.reading import reading

if TYPE_CHECKING:
    from torch import Tensor

KIND: Final = "features"
"""What the record of such a file says that it is."""
VERSION: Final = 1
"""Of the network and of its training: features of another one do not compare."""
LARGEST: Final = 64
"""Pixels of a side that the network sees; larger pictures are made smaller."""
WIDTH: Final = 128


class Classifier(nn.Module):
    """Convolutions that halve a picture until no side is longer than 7, and two layers of all there is then."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        """shape: (channels, height, width) of the pictures as they are given."""
        super().__init__()
        channels, height, width = shape
        self.smaller: Final = max(1.0, max(height, width) / LARGEST)
        self.size: Final = (max(1, round(height / self.smaller)), max(1, round(width / self.smaller)))
        layers: list[nn.Module] = []
        side, (rows, columns), before, after = max(self.size), self.size, channels, 32
        while True:
            stride = 2 if side > 7 else 1
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            if stride == 1:
                break
            side, rows, columns = (math.ceil(n / 2) for n in (side, rows, columns))
            before, after = after, 64
        self.body: Final = nn.Sequential(*layers)
        self.narrow: Final = nn.Linear(after * rows * columns, WIDTH)
        self.head: Final = nn.Linear(WIDTH, classes)
        self.to(memory_format=torch.channels_last)

    def features(self, pixels: Tensor) -> Tensor:
        """[N, WIDTH], 0 or more, of pictures uint8 [N, C, H, W]."""
        x = pixels.float().div_(127.5).sub_(1)
        if self.smaller > 1:
            x = F.interpolate(x, self.size, mode="area")
        x = x.contiguous(memory_format=torch.channels_last)
        return F.relu(self.narrow(self.body(x).flatten(1)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [N, classes]."""
        found: Tensor = self.head(self.features(pixels))
        return found


class Own(Extractor):
    """The classifier of a file, whose features are those before its last layer."""

    name = "own"

    def __init__(self, path: Path) -> None:
        """Raises NotFoundError, StorageError, DamagedFileError for what is no such file or has been altered."""
        with reading(path) as reader:
            record = checked(reader.header.record, path)
            tensors = reader.tensors(None)
        self.path: Final = path
        self.record: Final = record
        self.digest = record["tensors_digest"]
        self.classes = tuple(record["classes"])
        self.width = WIDTH
        self.network: Final = Classifier(record["shape"], len(self.classes)).eval().requires_grad_(False)
        height, width = self.network.size
        self.resize = f"area to {height}x{width}" if self.network.smaller > 1 else "none"
        try:
            self.network.load_state_dict(tensors)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedFileError(
                f"{path}: its tensors are not those of its network: {reason}; {MEND}"
            ) from None

    def to(self, device: torch.device) -> Own:
        self.network.to(device)
        return self

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(pixels)
        return features, self.network.head(features).softmax(1)

    def about(self) -> Mapping[str, Any]:
        data = self.record["data"]
        trained = {"name": data["name"], "split": data["split"], "digest": data["digest"]}
        return {**super().about(), "accuracy": self.record["accuracy"], "trained_on": trained}


MEND: Final = "train it again: aigc eval --train-features --data D"


def checked(record: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The record of a file of features. Raises DamagedFileError unless it is one that this version reads."""
    if record.get("kind") != KIND:
        raise DamagedFileError(
            f"{path}: no extractor of features; make one: aigc eval --train-features --data D"
        )
    if record.get("version") != VERSION:
        raise DamagedFileError(f"{path}: made by another version of aigc; {MEND}")
    data, shape, classes = record.get("data"), record.get("shape"), record.get("classes")
    whole = (
        isinstance(data, dict)
        and all(isinstance(data.get(key), str) for key in ("name", "split", "digest"))
        and isinstance(data.get("judges"), list)
        and isinstance(shape, list)
        and len(shape) == 3
        and all(type(n) is int and 1 <= n <= 1 << 16 for n in shape)
        and isinstance(classes, list)
        and 2 <= len(classes) <= 1 << 20
        and all(isinstance(name, str) for name in classes)
        and isinstance(record.get("tensors_digest"), str)
        and isinstance(record.get("accuracy"), float | int)
    )
    if not whole:
        raise DamagedFileError(f"{path}: its record is incomplete; {MEND}")
    return record


def folder() -> Path:
    """Where classifiers are kept, beside the store."""
    return home() / "features"


def place(digest: str, seed: int) -> Path:
    """The file of the classifier that is trained on data of a digest, by a seed."""
    return folder() / f"{digest.removeprefix('sha256:')[:16]}-{seed}{ENDING}"


def trained_for(digest: str) -> Path | None:
    """The file whose classifier judges data of a digest: was trained on them, or held them out; None if there is none.

    Of several, that of the smallest seed. Raises DamagedFileError where one that may be it can't be read.
    """
    damaged: AigcError | None = None
    for path in sorted(folder().glob(f"*{ENDING}"), key=lambda p: (_seed(p), p.name)):
        try:
            record = checked(read_header(path).record, path)
        except NotFoundError:  # removed meanwhile
            continue
        except AigcError as error:
            damaged = damaged or error
            continue
        if digest in record["data"]["judges"]:
            return path
    if damaged is not None:
        raise damaged
    return None


def _seed(path: Path) -> int:
    text = path.stem.rpartition("-")[2]
    return int(text) if text.isdecimal() else 1 << 63
