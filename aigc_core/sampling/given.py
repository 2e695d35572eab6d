"""What a request is given beside a seed: pictures, sounds, labels, and the weights of other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from aigc_core.errors import DataError, NotFoundError, UsageError, did_you_mean
from aigc_core.provenance.content import sound as sound_content
from aigc_core.weights.file import Weights, load
from aigc_core.weights.store import Store
from aigc_core.weights.version import Found

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.options import Options
    from aigc_core.registry import Registry
    from aigc_core.specs import Output, SamplerSpec

LONGEST: Final = 1 << 26
"""Samples of a sound that can be given: 25 minutes at 44.1 kHz."""
NAMED: Final = 10
"""Classes that an error names."""


class Heard(NamedTuple):
    """The sounds of a request."""

    values: Tensor
    """[K, C, T] float32 in the output's range, at its sample rate, NaN after the end of one that is shorter."""
    given: tuple[tuple[str, str], ...]
    """Of each, its name and its content digest."""


def read_images(paths: Sequence[str | Path], output: Output) -> Tensor:
    """Pictures as [K, C, H, W] in the output's range. Raises NotFoundError or DataError."""
    from aigc_core.data.folder import decode

    channels, height, width = output.shape
    pictures = []
    for path in map(Path, paths):
        if not path.is_file():
            raise NotFoundError(f"no picture {path}")
        pixels = decode(path, None, grey=channels == 1).pixels
        if pixels is None:
            raise DataError(f"{path}: not a picture that can be read")
        if pixels.shape[1:] != (height, width):
            raise DataError(
                f"{path}: {pixels.shape[1]}x{pixels.shape[2]}, but the weights make {height}x{width}; resize it"
            )
        if len(pixels) != channels:
            raise DataError(f"{path}: has {len(pixels)} channels, but the weights make {channels}")
        pictures.append(pixels)
    scale = (output.high - output.low) / 255.0
    return torch.from_numpy(np.stack(pictures)).float().mul_(scale).add_(output.low)


def read_masks(paths: Sequence[str | Path], output: Output) -> Tensor:
    """Masks as [K, 1, H, W]: 1 where they are white, what is to be filled in, 0 where they are black.

    Raises NotFoundError or DataError, also for one of another size, or that would fill in nothing.
    """
    masks = read_images(paths, replace(output, shape=(1, *output.shape[1:]), low=0.0, high=1.0)).round()
    for path, mask in zip(paths, masks, strict=True):
        if not mask.any():
            raise DataError(f"{path}: a mask without white, so there is nothing to fill in; paint that white")
    return masks


def read_sounds(paths: Sequence[str | Path], output: Output) -> Heard:
    """Sounds, mixed down to one channel, which is given as each of the output's.

    Where the output is of one length, they are padded to it. Raises NotFoundError, DataError for what is no sound,
    is longer, or can't be resampled.
    """
    channels, length = output.shape
    rate = int(output.details["sample_rate"])
    clips, given = [], []
    for path in map(Path, paths):
        there, pcm = decoded(path)
        clip = resampled(path, pcm.astype(np.float32) / np.float32(32768), there, rate)
        if 0 < length < len(clip):
            raise DataError(
                f"{path}: {len(clip)} samples at {rate} Hz, but the weights make {length}; cut it to "
                f"{length / rate:.3g} s"
            )
        clips.append(clip)
        given.append((path.name, digest_of(there, pcm)))
    values = np.full((len(clips), channels, max(length, *map(len, clips))), np.nan, np.float32)
    for row, clip in zip(values, clips, strict=True):
        row[:, : len(clip)] = clip
    middle, half = (output.low + output.high) / 2, (output.high - output.low) / 2
    return Heard(torch.from_numpy(values).mul_(half).add_(middle), tuple(given))


def sound_digest(path: str | Path) -> str:
    """The content digest by which a record names a sound that was given. Raises NotFoundError, DataError."""
    return digest_of(*decoded(Path(path)))


def digest_of(rate: int, pcm: npt.NDArray[np.int16]) -> str:
    return sound_content(pcm.astype("<i2").tobytes(), rate, 1).digest


def decoded(path: Path) -> tuple[int, npt.NDArray[np.int16]]:
    """A sound file: its rate, and [T] of it mixed down to one channel. Raises NotFoundError, DataError."""
    from aigc_core.data.sounds import decode

    if not path.is_file():
        raise NotFoundError(f"no sound file {path}; give a .wav, .flac or .ogg")
    clip = decode(path, LONGEST)
    if clip.sound is None:
        raise DataError(f"{path}: not a sound that can be read: {clip.problem}")
    if len(clip.sound) >= LONGEST:
        raise DataError(f"{path}: has {LONGEST} samples or more; cut it into shorter ones")
    return clip.rate, clip.sound


def resampled(path: Path, sound: npt.NDArray[np.float32], rate: int, wanted: int) -> npt.NDArray[np.float32]:
    """A sound [T] at another rate. Raises DataError where that can't be."""
    from aigc_core.data import decoding

    if rate == wanted:
        return sound
    if len(sound) * wanted > LONGEST * rate:
        raise DataError(f"{path}: {len(sound)} samples at {rate} Hz are too many at {wanted} Hz; cut it")
    try:
        return decoding.resampled(sound, rate, wanted)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def labels_of(labels: Sequence[str | int], weights: Weights) -> tuple[int, ...]:
    """The numbers of classes that are named, or numbered where no class is called by a number.

    Raises UsageError for others, and where the weights know none.
    """
    classes, who = list(weights.generator.data.classes), weights.name or str(weights.path)
    if not classes:
        raise UsageError(f"--label: {who} were fitted on data without classes; leave it out")
    numbered = not any(name.isdecimal() for name in classes)
    found = []
    for label in labels:
        if isinstance(label, str) and label in classes:
            found.append(classes.index(label))
        elif (not isinstance(label, str) or (numbered and label.isdecimal())) and 0 <= int(label) < len(
            classes
        ):
            found.append(int(label))
        else:
            names = ", ".join(classes[:NAMED]) + (", ..." if len(classes) > NAMED else "")
            hint = did_you_mean(str(label), classes) or f"; they know {len(classes)}: {names}"
            raise UsageError(f"--label {label}: no class of {who}{hint}")
    return tuple(found)


def load_parts(
    options: Options, spec: SamplerSpec, what: str, meant: Mapping[str, Found], registry: Registry,
    device: torch.device, verify: bool,
) -> dict[str, Weights]:  # fmt: skip
    """The weights that options of a sampler name, by option. `meant`: what names mean, where that is known already.

    Raises NotFoundError, UsageError for weights of another model, DamagedFileError, BackendError.
    """
    parts: dict[str, Weights] = {}
    for option, model in spec.parts.items():
        name: Any = getattr(options, option, "")
        if not name:
            continue
        part = load(meant.get(option) or Store().resolve(str(name)), registry, device, verify=verify)
        if part.model.spec.id != model:
            raise UsageError(
                f"{what}: its {option} must be weights of {model}, and {name} are of {part.model.spec.id}"
            )
        parts[option] = part
    return parts
