"""The classifier that is trained on the data themselves: its training, and its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F
from safetensors.torch import save

from aigc_core._version import __version__
from aigc_core.errors import DamagedFileError, DataError, NotFoundError, UsageError
from aigc_core.evaluation.extractors import own
from aigc_core.evaluation.held_out import open_held_out_parts, open_split
from aigc_core.files import write_atomically
from aigc_core.progress import Progress
from aigc_core.registry import Registry, default
from aigc_core.seeds import MAX_SEED, derive
from aigc_core.weights.header import KEY, canonical, digest_of_parts
from aigc_core.weights.reading import DTYPES

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.data.dataset import Dataset
    from aigc_core.data.folder import Size

STEPS: Final = 1500
EPOCHS: Final = 40
"""Passes over small data, of which STEPS would be far more; but at least SHORTEST steps."""
SHORTEST: Final = 100
BATCH: Final = 128
RATE: Final = 4e-3
SHIFT: Final = 1 / 14
"""Of a side, by which pictures are moved at random in training: 2 of 28 pixels."""
DROPOUT: Final = 0.3
FEWEST: Final = 20
"""Items that a classifier can be trained on."""


@dataclass(frozen=True, slots=True)
class TrainedFeatures:
    """The classifier of some data."""

    name: str
    """What to give as `features`: `own`, which finds it by the data."""
    path: Path
    digest: str
    """Of its tensors; cards say it."""
    accuracy: float
    """On items that it was not trained on."""
    new: bool
    """Whether it has been trained just now; else it was there."""


def train_features(
    data: str | Path,
    *,
    seed: int = 0,
    size: Size | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> TrainedFeatures:
    """Trains a small classifier on the items that models are trained on, and keeps it for `own` features.

    It judges that split, and those that were held out; where none was, a tenth is held out of the training to measure
    its accuracy. The same data and seed give the same classifier; one that is there already is not trained again.
    size: (height, width) that a folder of pictures is resized to.
    Raises NotFoundError for unknown data, DataError for what has no labels, too few items or is no picture,
    StorageError.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed must lie in 0 .. {MAX_SEED}, not {seed}")
    registry, progress = registry or default(), progress or Progress(False)
    train = open_split(data, None, {}, registry, progress.track, size)
    labels = _labels(train)
    path = own.place(train.digest, seed)
    if found := _there(path):
        return found
    others = open_held_out_parts(data, registry, progress.track, size)
    others = [o for o in others if o.info == train.info]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive(seed, "held out")))
    aside = 0 if others else max(1, len(train) // 10)
    with torch.random.fork_rng(devices=[]), _one_thread():
        network = _fit(train, labels, order[aside:], seed, progress)
        judged, items = (others[0], torch.arange(len(others[0]))) if others else (train, order[:aside])
        accuracy = _accuracy(network, judged, items)
    record = {
        "format": 1, "kind": own.KIND, "version": own.VERSION, "core": __version__, "seed": seed,
        "shape": list(train.info.shape), "classes": list(train.info.classes), "accuracy": round(accuracy, 6),
        "data": {
            "name": train.name, "split": train.split, "digest": train.digest, "count": len(train),
            "held_out": others[0].split if others else None, "judges": [d.digest for d in (train, *others)],
        },
    }  # fmt: skip
    return _keep(network, record, path)


def _labels(data: Dataset) -> Tensor:
    """[N] int64. Raises DataError where there is nothing to tell apart."""
    if data.info.modality != "image":
        raise DataError(f"{data.name!r} is {data.info.modality}; features are trained on pictures")
    labels = data.labels()
    if labels is None:
        raise DataError(
            f"{data.name!r} has no labels, so no classifier can be trained on it; take features that were trained on "
            "other pictures: --features efficientnet-lite0"
        )
    kinds = len(set(labels.tolist()))
    if len(data) < FEWEST or kinds < 2:
        there = f"{len(data)} items of {kinds} class{'es' * (kinds != 1)}"
        raise DataError(f"{data.name!r}: {there}; a classifier takes {FEWEST} items of 2 classes or more")
    return labels


def _fit(data: Dataset, labels: Tensor, index: Tensor, seed: int, progress: Progress) -> own.Classifier:
    """A classifier, trained on the items of an index [N] by AdamW and one cycle of its rate (Smith 2018)."""
    torch.manual_seed(derive(seed, "features"))
    network = own.Classifier(data.info.shape, len(data.info.classes)).train()
    size = min(BATCH, len(index))
    steps = min(STEPS, max(SHORTEST, EPOCHS * len(index) // size))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    waiting = index[:0]
    with progress.bar(steps, "features", "step") as bar:
        for _ in range(steps):
            if len(waiting) < size:
                waiting = torch.cat([waiting, index[torch.randperm(len(index))]])
            chosen, waiting = waiting[:size], waiting[size:]
            pixels = _moved(data.fetch(chosen)[0])
            dropped = F.dropout(network.features(pixels), DROPOUT)
            loss = F.cross_entropy(network.head(dropped), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            bar.update(1, {"loss": loss.item()})
    return network.eval().requires_grad_(False)


def _moved(pixels: Tensor) -> Tensor:
    """A batch [N, C, H, W], all of it moved by some pixels; what leaves one edge comes in at the other."""
    by = [int(side * SHIFT) for side in pixels.shape[2:]]
    return pixels.roll([int(torch.randint(-n, n + 1, ())) for n in by], (2, 3))


def _accuracy(network: own.Classifier, data: Dataset, index: Tensor) -> float:
    right = 0
    with torch.inference_mode():
        for part in torch.split(index, BATCH):
            pixels, labels = data.fetch(part)
            assert labels is not None
            right += int((network(pixels).argmax(1) == labels).sum())
    return right / len(index)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within the block torch computes with one thread: sums over several differ in their last bits, and the classifier
    must not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep(network: own.Classifier, record: Mapping[str, Any], path: Path) -> TrainedFeatures:
    """Writes the file, whole or not at all. Raises StorageError."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    digest = digest_of_parts(
        (name, DTYPES[t.dtype], tuple(t.shape), t.reshape(-1).view(torch.uint8).numpy().data)
        for name, t in sorted(tensors.items())
    )
    content = save(tensors, metadata={KEY: canonical({**record, "tensors_digest": digest})})
    with write_atomically(path) as file:
        file.write(content)
    return TrainedFeatures("own", path, digest, record["accuracy"], new=True)


def _there(path: Path) -> TrainedFeatures | None:
    """What a file holds, or None where it is not there, or is damaged and so to be made again."""
    try:
        found = own.Own(path)
    except (NotFoundError, DamagedFileError):
        return None
    return TrainedFeatures("own", path, found.digest, found.record["accuracy"], new=False)
