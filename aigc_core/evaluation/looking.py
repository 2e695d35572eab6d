"""From pictures to their features: piece by piece into a file, so that memory does not grow with their number."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import torch

from aigc_core.errors import DamagedFileError
from aigc_core.files import make_folder, storage_errors, write_atomically
from aigc_core.home import home
from aigc_core.interfaces.metric import Features
from aigc_core.provenance.environment import machine
from aigc_core.sampling.draw import draw
from aigc_core.weights.header import canonical

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.data.dataset import Dataset
    from aigc_core.evaluation.extractors.base import Extractor
    from aigc_core.progress import Progress
    from aigc_core.sampling.request import Request

MOST_REAL: Final = 50_000
"""Items that samples are compared with; of a larger set so many are chosen, always the same."""


def of_data(data: Dataset, extractor: Extractor, device: torch.device, progress: Progress) -> Features:
    """The features of real items. They are kept in a cache, since every model of the same data is compared with them.

    Raises DataError for an unreadable item, StorageError.
    """
    chosen = torch.arange(len(data))
    if len(data) > MOST_REAL:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
        chosen = order[:MOST_REAL].sort().values
    labels = data.labels()
    width, known = extractor.width, len(extractor.classes)
    path = _cache(data, extractor, device)
    found = _cached(path, len(chosen), width + known)
    if found is None:
        pieces = (data.fetch(part)[0] for part in torch.split(chosen, extractor.batch))
        with write_atomically(path) as file:
            head = {"descr": "<f4", "fortran_order": False, "shape": (len(chosen), width + known)}
            np.lib.format.write_array_header_1_0(file, head)
            _look(extractor, pieces, file, device, len(chosen), f"data, {extractor.name}", progress)
        found = _cached(path, len(chosen), width + known)
        if found is None:
            raise DamagedFileError(f"{path}: altered while it was written; run the same command again")
    return _features(found, width, None if labels is None else labels[chosen].numpy())


def of_samples(request: Request, extractor: Extractor, progress: Progress) -> Features:
    """The features of the samples of a request, which are drawn block by block and never kept.

    Where they were asked for by class, `labels` are the extractor's numbers of those, if it knows them all.
    Raises BackendError where the sampler fails, StorageError.
    """
    folder, device = _folder(), request.weights.device
    columns = extractor.width + len(extractor.classes)
    pieces = _batches(_drawn(request), extractor.batch)
    with storage_errors(folder):
        make_folder(folder)
        with tempfile.TemporaryFile(
            dir=folder
        ) as file:  # has no name: nothing is left of it, even after a kill
            _look(extractor, pieces, file, device, request.count, request.label, progress)
            file.flush()
            found = np.memmap(file, np.float32, "r", shape=(request.count, columns))
    return _features(found, extractor.width, _asked(request, extractor.classes))


def _drawn(request: Request) -> Iterator[Tensor]:
    """Pictures uint8 [n, C, H, W], a block's worth at a time."""
    for _, pictures in draw(request):
        yield torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _batches(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """The same pictures, so many at a time, but for the last."""
    waiting: list[Tensor] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        while count >= size:
            together = torch.cat(waiting)
            yield together[:size]
            waiting, count = [together[size:]], count - size
    if count:
        yield torch.cat(waiting)


def _look(
    extractor: Extractor,
    pieces: Iterable[Tensor],
    file: IO[bytes],
    device: torch.device,
    count: int,
    label: str,
    progress: Progress,
) -> None:
    """Writes features, and beside them probabilities, row by row. Raises DamagedFileError for what is no number."""
    extractor.to(device)
    with progress.bar(count, label, "picture") as bar, torch.inference_mode():
        for pixels in pieces:
            features, probabilities = extractor.look(pixels.to(device))
            rows = features if probabilities is None else torch.cat([features, probabilities], 1)
            if not bool(rows.isfinite().all()):
                raise DamagedFileError(f"features {extractor.name!r} give what is no number; make them anew")
            file.write(rows.float().cpu().numpy().astype("<f4", copy=False).tobytes())
            bar.update(len(pixels))


def _features(rows: npt.NDArray[np.float32], width: int, labels: npt.NDArray[np.int64] | None) -> Features:
    return Features(rows[:, :width], rows[:, width:] if rows.shape[1] > width else None, labels)


def _asked(request: Request, classes: tuple[str, ...]) -> npt.NDArray[np.int64] | None:
    names = request.weights.generator.data.classes
    if request.labels is None or not set(names) <= set(classes):
        return None
    numbers: npt.NDArray[np.int64] = np.array([classes.index(name) for name in names])[
        np.array(request.labels)
    ]
    return numbers[np.arange(request.start, request.start + request.count) % len(numbers)]


def _folder() -> Path:
    return home() / "cache" / "features"


def _cache(data: Dataset, extractor: Extractor, device: torch.device) -> Path:
    """Where the features of data are kept: named after all that they depend on, to the last bit."""
    depends = {
        "data": data.digest, "most": MOST_REAL, "extractor": extractor.digest, "resize": extractor.resize,
        "batch": extractor.batch, "machine": machine(device), "threads": torch.get_num_threads(),
    }  # fmt: skip
    return _folder() / f"{hashlib.sha256(canonical(depends).encode()).hexdigest()[:32]}.npy"


def _cached(path: Path, rows: int, columns: int) -> npt.NDArray[np.float32] | None:
    """What a file of the cache holds; None if there is none, or it is damaged."""
    with suppress(OSError, ValueError):
        found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.shape == (rows, columns) and found.dtype == np.float32:
            mapped: npt.NDArray[np.float32] = found
            return mapped
    return None
