"""`inception`: the network of the published Fréchet Inception distances, through torch-fidelity.

Its weights are not in any package. torch-fidelity would fetch them and read them as a pickle; here they must lie in a
place, are known by their digest, and are read without running anything (see `torch_file`). The network is
torch-fidelity's, put together as it does, and so is all that happens to a picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from aigc_core.errors import DamagedFileError, NotFoundError
from aigc_core.evaluation.extractors import own, torch_file
from aigc_core.evaluation.extractors.base import Extractor
from aigc_core.evaluation.extractors.efficientnet import EXTRA, colours
from aigc_core.weights.reading import Uninitialised

if TYPE_CHECKING:
    from torch import Tensor

FILE: Final = "weights-inception-2015-12-05-6726825d.pth"
DIGEST: Final = "6726825d"
"""With which the sha256 of the file begins, as its publisher names it."""
WHERE: Final = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
LAYER: Final = "2048"


class Inception(Extractor):
    """The 2048 features of Inception v3 (Szegedy et al. 2015, arXiv:1512.00567), as it was published for TensorFlow."""

    name = "inception"
    resize = "bilinear, as TensorFlow 1, to 299x299"
    width = 2048
    batch = 32

    def __init__(self) -> None:
        """Raises NotFoundError where torch-fidelity or the weights are not there, with the next step; DamagedFileError."""
        path = next((path for path in places() if path.is_file()), None)
        if path is None:
            raise NotFoundError(
                f"features 'inception' need {FILE} (from {WHERE}); put it at {places()[0]}, or choose --features "
                "own or efficientnet-lite0"
            )
        tensors, digest = torch_file.read(path, DIGEST)
        self.digest = f"sha256:{digest}"
        self.network: Final = network(tensors)

    def to(self, device: torch.device) -> Inception:
        self.network.to(device)
        return self

    def look(self, pixels: Tensor) -> tuple[Tensor, None]:
        (features,) = self.network(colours(pixels))
        return features, None


def places() -> list[Path]:
    """Where the weights may lie; the second is where torch-fidelity itself keeps what it has fetched."""
    return [own.folder() / FILE, Path(torch.hub.get_dir()) / "checkpoints" / FILE]


def network(tensors: dict[str, Tensor]) -> Any:
    """torch-fidelity's network with these tensors. Its constructor reads a pickle, so its parts are put together here.

    Raises NotFoundError where it is not installed, DamagedFileError where the tensors are not its.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as modules
        from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    except ImportError:
        raise NotFoundError(
            f"features 'inception' need torch-fidelity; install it: pip install 'aigc-core[{EXTRA}]'"
        ) from None
    parts: Any = modules
    base: Any = FeatureExtractorBase
    conv, inner = parts.BasicConv2d, parts.InceptionC
    made = parts.FeatureExtractorInceptionV3.__new__(parts.FeatureExtractorInceptionV3)
    base.__init__(made, "inception", [LAYER])
    made.feature_extractor_internal_dtype = torch.float32
    with Uninitialised():
        for name, part in {
            "Conv2d_1a_3x3": conv(3, 32, kernel_size=3, stride=2),
            "Conv2d_2a_3x3": conv(32, 32, kernel_size=3),
            "Conv2d_2b_3x3": conv(32, 64, kernel_size=3, padding=1),
            "MaxPool_1": nn.MaxPool2d(3, 2),
            "Conv2d_3b_1x1": conv(64, 80, kernel_size=1),
            "Conv2d_4a_3x3": conv(80, 192, kernel_size=3),
            "MaxPool_2": nn.MaxPool2d(3, 2),
            "Mixed_5b": parts.InceptionA(192, pool_features=32),
            "Mixed_5c": parts.InceptionA(256, pool_features=64),
            "Mixed_5d": parts.InceptionA(288, pool_features=64),
            "Mixed_6a": parts.InceptionB(288),
            **{f"Mixed_6{k}": inner(768, channels_7x7=n) for k, n in zip("bcde", (128, 160, 160, 192), strict=True)},
            "Mixed_7a": parts.InceptionD(768),
            "Mixed_7b": parts.InceptionE_1(1280),
            "Mixed_7c": parts.InceptionE_2(2048),
            "AvgPool": nn.AdaptiveAvgPool2d((1, 1)),
            "fc": nn.Linear(2048, 1008),
        }.items():  # fmt: skip
            made.add_module(name, part)
    try:
        made.load_state_dict(tensors)
    except RuntimeError as error:
        raise DamagedFileError(
            f"{FILE}: its tensors are not those of Inception v3: {' '.join(str(error).split())[:200]}"
        ) from None
    return made.eval().requires_grad_(False)
