"""Data sets known by name: where they are looked for, how they are read, how they are fetched.

Registration is data only; reading imports numpy and torch, fetching imports torchvision.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aigc_core.specs import DatasetSpec

if TYPE_CHECKING:
    from aigc_core.backends import Registrar
    from aigc_core.data.dataset import Dataset

DIGITS = tuple("0123456789")
CLOTHES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def register(registrar: Registrar) -> None:
    """The core's own data sets."""
    home = "aigc_core.data.known"
    registrar.add(
        DatasetSpec(
            name="digits",
            summary="8x8 handwritten digits, shipped inside scikit-learn",
            modality="image",
            license="CC-BY-4.0",
            source=f"{home}:digits",
            shape=(1, 8, 8),
            count=1797,
        )
    )
    registrar.add(
        DatasetSpec(
            name="mnist",
            summary="28x28 handwritten digits (LeCun et al. 1998)",
            modality="image",
            license="CC-BY-SA-3.0",
            source=f"{home}:mnist",
            shape=(1, 28, 28),
            count=60000,
            splits=("train", "test"),
        )
    )
    registrar.add(
        DatasetSpec(
            name="fashion-mnist",
            summary="28x28 pictures of clothes (Xiao et al. 2017)",
            modality="image",
            license="MIT",
            source=f"{home}:fashion_mnist",
            shape=(1, 28, 28),
            count=60000,
            splits=("train", "test"),
        )
    )
    registrar.add(
        DatasetSpec(
            name="cifar10",
            summary="32x32 colour photographs of ten things (Krizhevsky 2009)",
            modality="image",
            license="unstated",
            source=f"{home}:cifar10",
            shape=(3, 32, 32),
            count=50000,
            splits=("train", "test"),
        )
    )
    registrar.add(
        DatasetSpec(
            name="fsdd",
            summary="spoken digits of six speakers, 8 kHz (Free Spoken Digit Dataset)",
            modality="audio",
            license="CC-BY-SA-4.0",
            source="aigc_core.data.spoken:fsdd",
            shape=(1, 18262),
            count=2700,
            splits=("train", "test"),
        )
    )


def search_path() -> list[Path]:
    """Where known data sets are looked for, in this order; the first is where they are fetched to."""
    from aigc_core.home import cache_home

    own = os.environ.get("AIGC_DATA")
    places = [Path(p) for p in own.split(os.pathsep) if p] if own else []
    cache = cache_home()
    places += [cache / "aigc" / "data", cache, cache / "torchvision"]
    return [*places, Path("/usr/share/datasets"), Path("/usr/local/share/datasets")]


def digits(split: str) -> Dataset:
    """The digits of scikit-learn, 1797 x 1 x 8 x 8, values 0..16 scaled to 0..255; read without its code."""
    import importlib.util

    import numpy as np

    from aigc_core.data.dataset import ArrayImages
    from aigc_core.errors import NotFoundError

    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise NotFoundError("data set 'digits' is part of scikit-learn; install it: pip install scikit-learn")
    table = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    pixels = np.round(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ArrayImages(pixels, table[:, 64].astype(np.int64), DIGITS, name="digits", split=split)


def mnist(split: str) -> Dataset:
    return _idx_set("mnist", "MNIST", DIGITS, split)


def fashion_mnist(split: str) -> Dataset:
    return _idx_set("fashion-mnist", "FashionMNIST", CLOTHES, split)


def cifar10(split: str) -> Dataset:
    """CIFAR-10 from its binary files or an `.npz`. The Python version is pickled, and so is never read."""
    from aigc_core.data.arrays import from_npz

    for place in search_path():
        for folder in (place / "cifar-10-batches-bin", place / "cifar10" / "cifar-10-batches-bin"):
            if folder.is_dir():
                return _cifar_binary(folder, split)
        for archive in sorted((place / "cifar10").glob(f"*{split}*.npz")):
            return from_npz(archive, "cifar10", split, THINGS)
    _fetch_cifar(search_path()[0])
    return _cifar_binary(search_path()[0] / "cifar-10-batches-bin", split)


def _idx_set(name: str, torchvision_name: str, classes: tuple[str, ...], split: str) -> Dataset:
    from aigc_core.data.arrays import from_idx

    stem = f"{'train' if split == 'train' else 't10k'}-images-idx3-ubyte"
    for place in search_path():
        for folder in (
            place / name,
            place / torchvision_name / "raw",
            place / name / torchvision_name / "raw",
        ):
            for file in (folder / stem, folder / f"{stem}.gz"):
                if file.is_file():
                    return from_idx(file, name, split, classes)
    target = search_path()[0]
    fetch(name, lambda datasets: getattr(datasets, torchvision_name)(target, download=True), target)
    return from_idx(target / torchvision_name / "raw" / stem, name, split, classes)


def _cifar_binary(folder: Path, split: str) -> Dataset:
    """Rows of one label byte and 3 x 32 x 32 pixels."""
    import numpy as np

    from aigc_core.data.dataset import ArrayImages
    from aigc_core.errors import DamagedFileError

    files = sorted(folder.glob("data_batch_*.bin")) if split == "train" else [folder / "test_batch.bin"]
    rows = []
    for file in files:
        raw = np.fromfile(file, np.uint8)
        if not len(raw) or len(raw) % 3073:
            raise DamagedFileError(f"{file}: not a CIFAR-10 binary file (rows of 3073 bytes)")
        rows.append(raw.reshape(-1, 3073))
    if not rows:
        raise DamagedFileError(f"{folder}: holds no data_batch_*.bin")
    table = np.concatenate(rows)
    pixels, labels = table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0].astype(np.int64)
    return ArrayImages(pixels, labels, THINGS, name="cifar10", split=split)


def _fetch_cifar(target: Path) -> None:
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    fetch(
        "cifar10",
        lambda datasets: datasets.utils.download_and_extract_archive(url, str(target), md5=md5),
        target,
    )


def fetch(name: str, download: object, target: Path) -> None:
    """Downloads by torchvision. Raises NotFoundError that names the places where the set would be found."""
    import contextlib
    import sys

    from aigc_core.errors import NotFoundError

    sys.stderr.write(f"aigc: fetching {name} to {target}\n")
    try:
        from torchvision import datasets

        target.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):
            download(datasets)  # type: ignore[operator]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise NotFoundError(
            f"data set {name!r} is not on this machine and cannot be fetched ({reason}); put it into "
            f"$AIGC_DATA/{name} or one of: {', '.join(str(p) for p in search_path())}"
        ) from None
