"""Extractors by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from aigc_core.errors import DataError, NotFoundError, UsageError, did_you_mean
from aigc_core.evaluation.extractors import efficientnet, own
from aigc_core.files import user_path
from aigc_core.weights.layout import is_path

if TYPE_CHECKING:
    from aigc_core.data.dataset import Dataset
    from aigc_core.evaluation.extractors.base import Extractor

NAMES: Final = ("own", "efficientnet-lite0", "inception")
"""What `--features` takes, beside the path of a file that `--train-features` made."""


def check(features: str | None) -> None:
    """Raises UsageError for a name that no extractor has; whether it can be used shows when it is made ready."""
    if features is not None and features not in NAMES and not is_path(features):
        hint = did_you_mean(features, list(NAMES)) or f"; there are: {', '.join(NAMES)}, or a path"
        raise UsageError(f"no features {features!r}{hint}")


def extractor(features: str | None, data: Dataset, asked: str | Path) -> Extractor:
    """The extractor of a name or path; for None the classifier that was trained on the data, or else
    efficientnet-lite0 where it is installed. asked: how the user named the data.

    Raises UsageError for an unknown name, NotFoundError where it is not there (with the next step), DamagedFileError,
    and DataError where it is made for pictures of another shape.
    """
    check(features)
    if features == "inception":
        from aigc_core.evaluation.extractors.inception import Inception

        return Inception()
    if features == "efficientnet-lite0" or (features is None and _by_default(data)):
        return efficientnet.EfficientNetLite0()
    if features is not None and features not in NAMES:
        found = own.Own(user_path(features))
    else:
        path = own.trained_for(data.digest)
        if path is None:
            raise NotFoundError(_missing(features, data, asked))
        found = own.Own(path)
    if tuple(found.record["shape"]) != data.info.shape:
        there, wanted = ("x".join(map(str, shape)) for shape in (found.record["shape"], data.info.shape))
        raise DataError(
            f"{found.path}: sees pictures of {there}, these are of {wanted}; train one on such data"
        )
    return found


def _by_default(data: Dataset) -> bool:
    return own.trained_for(data.digest) is None and efficientnet.installed()


def _missing(features: str | None, data: Dataset, asked: str | Path) -> str:
    train = f"train them: aigc eval --train-features --data {asked}"
    other = f"install others: pip install 'aigc-core[{efficientnet.EXTRA}]'"
    what = f"no features were trained for these data ({data.name}, {data.split})"
    if not data.info.classes:
        return f"{what}, and they have no labels to train them by; {other}"
    return f"{what}; {train}" if features == "own" else f"{what}; {train}, or {other}"
