"""From what a user writes after `--data` to a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.data import sounds, texts
from aigc_core.data.arrays import from_idx, from_npz
from aigc_core.data.captions import BESIDE, Captioned, read_captions
from aigc_core.data.clips import Sounds
from aigc_core.data.dataset import Dataset
from aigc_core.data.folder import ENDINGS as PICTURES
from aigc_core.data.folder import Track, files_below, open_folder
from aigc_core.data.idx import is_idx
from aigc_core.data.reading import IGNORED, readings
from aigc_core.data.transcripts import SPLITS
from aigc_core.errors import BackendError, DataError, NotFoundError, UsageError, did_you_mean
from aigc_core.files import user_path

if TYPE_CHECKING:
    from aigc_core.data.folder import Size
    from aigc_core.data.reading import Reading
    from aigc_core.registry import Registry

LARGEST = 1 << 16
"""Pixels of a side of a picture, at most."""


def open_data(
    data: str | Path,
    registry: Registry,
    *,
    split: str | None = None,
    size: Size | None = None,
    strict: bool = False,
    reading: Mapping[str, Any] | None = None,
    track: Track | None = None,
) -> Dataset:
    """A data set by its name, or by the path of a folder of pictures, sounds or text files, a `.txt`, a `.jsonl`, an
    IDX file or an `.npz` archive. A folder that holds several kinds is one of pictures, else of sounds.

    A folder with `train` and `test` sub-folders has those splits; so have IDX files named as MNIST's are; other texts
    have `train` and `validation`. `split` is by default the one to train on. `size` (height, width) concerns folders of
    pictures, see `open_folder`; of a text or sound it is the length of an item, in bytes or samples, twice.
    `strict` makes unreadable files of a folder an error. `reading`: how texts, sounds or pictures are read, see
    `TextReading`, `SoundReading` and `PictureReading` in `aigc_core.data.reading`.
    Raises NotFoundError, DataError, DamagedFileError, or UsageError for options that do not apply.
    """
    text, read = str(data), readings(reading)
    if text in registry.datasets:
        return _open_known(text, registry, split or registry.datasets[text].splits[0], size, read)
    split = split or "train"
    path = user_path(data)
    if not text or not path.exists():
        hint = did_you_mean(text, list(registry.datasets)) or "; known sets: aigc data list"
        raise NotFoundError(f"no data set and no path {text!r}{hint}")
    if path.is_dir():
        return _open_directory(path, split, size, strict, read, track)
    if path.suffix.lower() in texts.ENDINGS:
        read.refuse(f"{path} is a text", texts=False)
        return texts.open_texts(
            [path], path, name=path.stem, split=split, length=_length(size), reading=read.texts, track=track
        )
    _only_train(path, split)
    read.refuse(f"{path} is no text and no folder of sounds", pictures=False)
    if path.suffix.lower() in sounds.ENDINGS:
        raise DataError(f"{path}: one sound is no data set; give a folder of them")
    _no_size(size, f"{path} is one file of items of one size")
    if path.suffix == ".npz":
        return captioned(from_npz(path, path.stem), read)
    if is_idx(path):
        return captioned(from_idx(path, path.name.partition("-")[0]), read)
    raise DataError(
        f"{path}: not a folder (of pictures, sounds or text files), a .txt, a .jsonl, an IDX file (*-ubyte, *.gz) or an .npz"
    )


def _open_known(name: str, registry: Registry, split: str, size: Size | None, read: Reading) -> Dataset:
    from aigc_core.registry import blame, resolve

    spec = registry.datasets[name]
    if split not in spec.splits:
        raise DataError(f"data set {name!r} has no split {split!r}; it has: {', '.join(spec.splits)}")
    backend = registry.dataset_backends[name]
    source = resolve(spec.source, backend)
    with blame(backend, f"to read data set {name!r}"):
        found: object = source(split)
    if not isinstance(found, Dataset):
        raise BackendError(f"data set {name!r}: {spec.source} did not return an aigc_core.data.Dataset")
    if not isinstance(found, Sounds) or found.reread is None:
        read.refuse(f"{name!r} is a data set by name", pictures=found.info.modality != "image")
    if not isinstance(found, Sounds):
        _no_size(size, f"data set {name!r} has a size of its own")
        return captioned(found, read)
    read.refuse(f"{name!r} holds sounds", sounds=False)
    if wrong := {*read.sounds.said()} & {"names", "metadata", "columns"}:
        raise UsageError(f"-d {min(wrong)} does not apply: it is known what each sound of {name!r} is")
    if read.sounds.said() and found.reread is not None:
        found = found.reread(read.sounds)
    length = _length(size)
    return found if length is None else found.sized(length)


def _open_directory(
    path: Path, split: str, size: Size | None, strict: bool, read: Reading, track: Track | None
) -> Dataset:
    stem = f"{'train' if split == 'train' else 't10k'}-images-idx3-ubyte"
    for file in (path / stem, path / f"{stem}.gz"):
        if file.is_file():
            _no_size(size, f"{file} is one file of pictures of one size")
            read.refuse(f"{file} is no text and no folder of sounds", pictures=False)
            return captioned(from_idx(file, path.name, split), read, path)
    archives = sorted(path.glob("*.npz"))
    if len(archives) == 1 and not any(p.parent == path for p in files_below(path, PICTURES)):
        _no_size(size, f"{archives[0]} is one file of items of one size")
        read.refuse(f"{archives[0]} is no text and no folder of sounds", pictures=False)
        _only_train(archives[0], split)
        return captioned(from_npz(archives[0], path.name), read, path)
    splits = (path / "train").is_dir() and (path / "test").is_dir()
    root = path / split if splits else path
    if split == "validation" and not root.is_dir():
        root = path / "train"
    name = path.resolve().name
    others = files_below(root, PICTURES) or files_below(root, sounds.ENDINGS)
    if not others and (found := files_below(root, texts.ENDINGS)):
        part = "validation" if split == "validation" and root.name == "train" else "train"
        read.refuse(f"{root} holds texts", texts=False)
        text_read = read.texts
        if splits and (root.name != "train" or text_read.validation is None):
            text_read = text_read.model_copy(
                update={"validation": 0.0}
            )  # it has a part of its own to be tested on
        return texts.open_texts(
            found, root, name=name, split=split, part=part if splits else split, length=_length(size),
            reading=text_read, track=track,
        )  # fmt: skip
    if split != "train" and root in (path, path / "train"):
        raise DataError(f"{path}: has no split {split!r} (a folder of that name beside 'train')")
    if others and others[0].suffix.lower() in sounds.ENDINGS:
        read.refuse(f"{root} holds sounds", sounds=False)
        return sounds.open_sounds(
            others,
            root,
            name=name,
            split=split,
            length=_length(size),
            strict=strict,
            reading=read.sounds,
            track=track,
        )
    read.refuse(
        f"{root} holds pictures" if others else f"{root} holds no texts and no sounds", pictures=False
    )
    if size is not None and max(size) > LARGEST:
        raise UsageError(f"--size {size[0]}x{size[1]}: pictures have at most {LARGEST} pixels a side")
    return captioned(
        open_folder(root, name=name, split=split, size=size, strict=strict, track=track), read, root
    )


def captioned(dataset: Dataset, read: Reading, root: Path | None = None) -> Dataset:
    """Pictures with their captions, where there are any: those of the file that is named, or that lies in the folder `root`
    or, where that is one of several splits, beside it. Raises NotFoundError, DataError, UsageError."""
    asked = read.pictures.captions
    if asked == IGNORED:
        return dataset
    folders = [] if root is None else [root, root.parent] if root.name in SPLITS else [root]
    places = [folder / (asked or BESIDE) for folder in folders]
    if asked:
        if dataset.info.modality != "image":
            read.refuse(f"{dataset.name!r} holds no pictures")
        places.insert(0, user_path(asked))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        if asked:
            raise NotFoundError(f"no file {asked!r} of captions (-d captions=FILE)")
        return dataset
    said = read_captions(path).of(dataset.files, dataset.labels(), dataset.info.classes)
    return Captioned(dataset, said, {"captions": asked} if asked else {})


def _only_train(path: Path, split: str) -> None:
    if split != "train":
        raise DataError(f"{path}: a file has no split {split!r}")


def _length(size: Size | None) -> int | None:
    """The length of items that have but one axis, from what `--size N` gives."""
    if size is not None and size[0] != size[1]:
        raise UsageError(f"--size {size[0]}x{size[1]}: texts and sounds have a length: --size {size[1]}")
    return size[0] if size else None


def _no_size(size: Size | None, reason: str) -> None:
    if size is not None:
        raise UsageError(f"--size does not apply: {reason}")
