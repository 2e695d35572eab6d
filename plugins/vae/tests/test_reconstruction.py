"""How much of pictures comes back from a latent, where that can be told beforehand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from aigc_vae.config import VAEConfig, VQConfig
from aigc_vae.reconstruction import Reconstruction
from aigc_vae.vae import VAE
from aigc_vae.vq import VQVAE
from torch import Tensor

from aigc_core.data.dataset import ArrayImages
from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo

PICTURES = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), np.uint8)


class Mean(VAE):
    """Keeps of a picture nothing but its mean, and of the labels that of the first picture."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__(VAEConfig(latent=1), DataInfo("image", (1, 8, 8)), "gaussian", classes)
        self.told: Tensor | None = None

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.told = labels if self.told is None else self.told
        mean = x.flatten(1).mean(1, keepdim=True)
        return mean, torch.zeros_like(mean)  # in doubt, which is of no matter

    def decode_logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.logit(z)[:, :, None, None].expand(-1, 1, 8, 8)


def measured(generator: Generator[Any], labels: np.ndarray[Any, Any] | None = None) -> dict[str, float]:
    def silent(items: Any, count: int, label: str) -> Any:
        return items

    names = ("even", "odd") if labels is not None else ()
    data = ArrayImages(PICTURES, labels, names, name="made")
    with torch.inference_mode():
        return dict(Reconstruction().measure(generator, data, seed=0, track=silent))


def test_of_a_model_that_keeps_the_mean_it_is_the_variance() -> None:
    variance = (PICTURES / 255).var(axis=(1, 2, 3)).mean()
    found = measured(Mean())
    assert found["mse"] == pytest.approx(variance, rel=1e-5)
    assert found["psnr"] == pytest.approx(-10 * math.log10(variance), rel=1e-5)
    assert found["pictures"] == 300


def test_a_model_that_is_told_classes_is_told_those_of_the_pictures() -> None:
    model, labels = Mean(classes=2), np.arange(300) % 2
    measured(model, labels)
    assert model.told is not None
    assert model.told.tolist() == labels[: len(model.told)].tolist()


def test_of_codes_it_is_what_the_decoder_makes_of_the_nearest() -> None:
    torch.manual_seed(0)
    model = VQVAE(VQConfig(width=8, codes=8), DataInfo("image", (1, 8, 8))).eval()
    with torch.inference_mode():
        x = torch.from_numpy(PICTURES).float() / 255
        expected = (model.decode(model.encode(x)) - x).square().mean().item()
    assert measured(model)["mse"] == pytest.approx(expected, rel=1e-4)
