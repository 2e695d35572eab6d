"""Tiny real data of each modality, and how far samples are from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aigc_core.data.clips import Held, Known, Sounds
from aigc_core.data.dataset import ArrayItems, Dataset
from aigc_core.data.sources import open_data
from aigc_core.modality import modality as modality_of
from aigc_core.specs import DataInfo, DataNeeds

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.registry import Registry
    from aigc_core.specs import Output

SETS = {
    "image": "digits",
    "text": str(Path(__file__).parent / "data" / "shakespeare.txt"),
    "audio": str(Path(__file__).parent / "data" / "spoken-digits.npz"),
}
"""What a model of each modality is trained on: 8x8 digits, Shakespeare, spoken digits."""

BOUNDS = {
    "image": ((1, 8, 8), (3, 64, 64)),
    "text": ((8,), (256,)),
    "audio": ((1, 1024), (1, 16000)),
}
"""The smallest and the largest item, where a model declares no bounds."""

TRANSCRIPTS = ("ja", "你好", "no, never", "one two")
"""What is said in sounds that are noise."""

MOST_VALUES = 1 << 26
"""How many values the items of an adapted set may have in all."""


def real_data(needs: DataNeeds, registry: Registry, folder: Path) -> tuple[str, tuple[int, int] | None]:
    """The tiny real set of a modality, as a model takes it: what to give as `data` and as `size`.

    Where its items are smaller or larger than the model's data may be, they are resized, into `folder`.
    """
    name = SETS[needs.modality]
    data = open_data(name, registry)
    shape = data.info.shape
    wanted = shape
    if needs.smallest:
        wanted = tuple(map(max, wanted, needs.smallest))
    if needs.largest:
        wanted = tuple(map(min, wanted, needs.largest))
    if wanted == shape:
        return name, None
    if needs.modality == "text":
        return name, (wanted[0], wanted[0])
    file = folder / f"{needs.modality}-{'x'.join(map(str, wanted))}.npz"
    if not file.is_file():
        count = min(len(data), max(64, MOST_VALUES // math.prod(wanted)))
        items, labels = data.fetch(torch.arange(count))
        items = items[:, torch.arange(wanted[0]) % shape[0]]
        if needs.modality == "image":
            items = torch.nn.functional.interpolate(items.float(), wanted[1:], mode="bilinear").byte()
            arrays: dict[str, Any] = {"images": items.permute(0, 2, 3, 1).numpy()}
        else:
            arrays = _sounds(data, items[..., torch.arange(wanted[1]) % shape[1]], shape[1])
        if labels is not None:
            arrays["labels"] = labels.numpy()
        np.savez(file, **arrays)
    return str(file), None


def shapes(needs: DataNeeds) -> list[tuple[int, ...]]:
    """Shapes within declared bounds: both ends, and odd ones between."""
    low, high = BOUNDS[needs.modality]
    low, high = needs.smallest or low, needs.largest or high
    first = range(low[0], high[0] + 1)
    found = [low, high]
    for parts, extra in ((3, 1), (5, 2), (8, 0)):
        middle = tuple(
            a + min((b - a) // parts + extra, b - a) for a, b in zip(low[1:], high[1:], strict=True)
        )
        channels = (
            low[0] + (high[0] - low[0]) // parts if len(low) == 1 else first[min(extra, len(first) - 1)]
        )
        found.append((channels, *middle))
    if needs.modality == "image":
        found.append((first[-1], low[1] + (high[1] - low[1]) // 9, high[2] - (high[2] - low[2]) // 2 - 1))
    return list(dict.fromkeys(found))


def _sounds(data: Dataset, sounds: Tensor, length: int) -> dict[str, Any]:
    """The arrays of an archive of sounds: some of a data set, cut to another length, or repeated to it."""
    assert isinstance(data, Sounds)
    count, wanted, known = len(sounds), sounds.shape[2], data.known
    lengths = data.lengths[:count].clamp(max=wanted) if wanted < length else torch.full((count,), wanted)
    arrays: dict[str, Any] = {"audio": sounds.numpy(), "lengths": lengths.numpy()}
    arrays |= {"sample_rate": data.info.details["sample_rate"], "class_names": list(known.classes)}
    if known.texts is not None:
        arrays["texts"] = list(known.texts[:count])
    if known.speakers is not None:
        arrays |= {"speakers": known.speakers[:count], "speaker_names": list(known.speaker_names)}
    return arrays


def info_of(
    modality: str, shape: tuple[int, ...], classes: Sequence[str] = (), *, transcripts: bool = False
) -> DataInfo:
    """What a generator is told of data of a shape; with `transcripts`, of what two speakers say."""
    known: dict[str, dict[str, Any]] = {"text": {"encoding": "utf-8"}, "audio": {"sample_rate": 8000}}
    details = known.get(modality, {})
    if not transcripts:
        return DataInfo(modality, shape, tuple(classes), details)
    characters = "".join(sorted(set().union(*TRANSCRIPTS)))
    details |= {"speakers": ["a", "b"], "examples": list(TRANSCRIPTS)}
    return DataInfo(modality, shape, tuple(classes), details, {"characters": characters.encode()})


def random_items(info: DataInfo, count: int = 24) -> Dataset:
    """Items of noise, of any modality and shape."""
    rng = np.random.default_rng(1)
    sound = info.modality == "audio"
    low, high, kind = (-20000, 20000, np.int16) if sound else (0, 256, np.uint8)
    items = rng.integers(low, high, (count, *info.shape)).astype(kind)
    labels = np.arange(count) % len(info.classes) if info.classes else None
    if sound:
        spoken = "characters" in info.assets
        lengths = np.where(np.arange(count) % 2, info.shape[1], max(1, info.shape[1] * 3 // 4)) * spoken
        clips = Held.of([item[:, : length or None] for item, length in zip(items, lengths, strict=True)])
        names = tuple(info.details.get("speakers", ()))
        texts = [TRANSCRIPTS[i % len(TRANSCRIPTS)] for i in range(count)]
        known = Known(
            labels, info.classes, np.arange(count) % len(names) if names else None, names,
            tuple(texts) if spoken else None,
        )  # fmt: skip
        return Sounds(clips, info.details["sample_rate"], known, name="random", length=info.shape[1])
    return ArrayItems(items, labels, info.classes, kind=info.modality, name="random", details=info.details)


def as_samples(data: Dataset, index: Tensor, output: Output) -> npt.NDArray[Any]:
    """Items of a data set in the form that samples have."""
    kind = modality_of(data.info.modality)
    return kind.samples(kind.batch(data.fetch(index)[0], output), output)


def distance(modality: str, samples: npt.NDArray[Any], real: npt.NDArray[Any]) -> float:
    """How far samples are from real items: 0 for the same distribution, larger for others."""
    if modality == "text":
        return _text_distance([str(s) for s in samples], [str(r) for r in real])
    if modality == "audio":
        return _frechet(_loudness(samples), _loudness(real))
    return _frechet(_coarse(samples), _coarse(real))


def spread(modality: str, samples: npt.NDArray[Any]) -> float:
    """How unlike each other items are."""
    if modality == "text":
        return float(len(set(samples.tolist())) / len(samples))
    rows = _loudness(samples) if modality == "audio" else _coarse(samples)
    return float(rows.std(axis=0).mean())


def _frechet(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Fréchet distance between Gaussians fitted to rows (Heusel et al. 2017, eq. 6)."""
    x, y = (torch.from_numpy(np.ascontiguousarray(v)).double() for v in (a, b))
    c, d = torch.cov(x.T), torch.cov(y.T)
    root = torch.linalg.eigvals(c @ d).real.clamp_min(0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + c.trace() + d.trace() - 2 * root)


def _coarse(pictures: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """[N, D] rows of pictures [N, H, W, C], each averaged down to 8x8 pixels if it has more."""
    values = torch.from_numpy(np.ascontiguousarray(pictures)).double().div(255).permute(0, 3, 1, 2)
    size = (min(values.shape[2], 8), min(values.shape[3], 8))
    rows = torch.nn.functional.adaptive_avg_pool2d(values, size).flatten(1)
    return np.asarray(rows.numpy(), dtype=np.float64)


def _loudness(clips: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """[N, 16] mean log power of clips [N, 1, T] in 16 bands of equal width; silence follows the end of short ones."""
    window = torch.hann_window(256, dtype=torch.float64)
    flat = torch.from_numpy(np.ascontiguousarray(clips)).double().nan_to_num().reshape(len(clips), -1)
    flat = torch.nn.functional.pad(flat, (0, max(0, 256 - flat.shape[1])))
    spectrum = torch.stft(flat, 256, 128, window=window, return_complex=True).abs().square()[:, 1:]
    bands = spectrum.reshape(len(flat), 16, 8, -1).mean(2)
    return np.asarray((bands + 1e-6).log10().mean(2).numpy(), dtype=np.float64)


def _text_distance(samples: Sequence[str], real: Sequence[str]) -> float:
    """Total variation distance between the frequencies of pairs of neighbouring bytes."""
    a, b = (_pairs(texts) for texts in (samples, real))
    return float(np.abs(a - b).sum() / 2)


def _pairs(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    counts = np.zeros((256, 256))
    for text in texts:
        raw = np.frombuffer(text.encode(), np.uint8)
        np.add.at(counts, (raw[:-1], raw[1:]), 1)
    return np.asarray(counts / max(counts.sum(), 1))
