"""What is peculiar to the regularised autoencoder and to the VAE that is told classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aigc_vae.conditional import ConditionalVAE
from aigc_vae.config import ConvConfig, RAEConfig, RAETraining
from aigc_vae.conv import ConvVAE
from aigc_vae.rae import RAE
from aigc_vae.rae_trainer import RAETrainer
from torch import Tensor

from aigc_core.errors import DataError
from aigc_core.interfaces import Batch
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine

INFO = DataInfo("image", (1, 8, 8))


def rae() -> RAE:
    torch.manual_seed(0)
    return RAE(RAEConfig(width=8, latent=4), INFO)


def pictures(count: int = 64) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def trainer(steps: int = 100, **options: Any) -> RAETrainer:
    return RAETrainer(rae(), RAETraining(**options), AccelerateEngine(0, 64, steps, cpu=True))


def test_there_is_no_doubt_of_a_latent() -> None:
    mean, log_variance = rae().eval().encode(pictures())
    assert (log_variance.exp() == 0).all()
    assert mean.shape == (64, 4)


def test_the_gradient_penalty_estimates_the_jacobian_of_the_decoder() -> None:
    model, x = rae().eval(), pictures(2)
    z, _ = model.encode(x)
    jacobian = torch.autograd.functional.jacobian(model.decode, z)
    exact = sum(float(jacobian[i, ..., i, :].square().sum()) for i in range(2)) / 2
    stream = torch.Generator().manual_seed(2)
    estimates = [float(model(x, torch.randn(x.shape, generator=stream))[2].detach()) for _ in range(1000)]
    assert sum(estimates) / len(estimates) == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(("name", "weight"), [("l2", 1.0), ("gradient", 30.0)])
def test_a_regulariser_makes_the_decoder_flatter(name: str, weight: float) -> None:
    slopes = []
    for regulariser in ("none", name):
        one = trainer(60, **{name: weight}, regulariser=regulariser)
        for step in range(60):
            one.engine.begin(step)  # type: ignore[attr-defined]
            told = one.step(Batch(pictures(), torch.arange(64)))
            assert all(torch.isfinite(value) for value in told.values())
        model = one.generator.eval()
        probes = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(3))
        slopes.append(float(model(pictures(), probes)[2].detach()))
    assert slopes[1] < 0.7 * slopes[0]


def test_the_prior_has_the_mean_and_the_variance_of_the_latents() -> None:
    one = trainer(norm=0.0)
    for step in range(40):
        one.engine.begin(step)  # type: ignore[attr-defined]
        for group in one.optimizer.param_groups:
            group["lr"] = 0.0
        one.options = one.options.model_copy(update={"lr": 1e-9})
        one.step(Batch(pictures(), torch.arange(64)))
    model = one.generator  # in training mode, as the counts were taken
    with torch.no_grad():
        z, _ = model.encode(pictures())
        made = model.prior(torch.randn(20000, 4, generator=torch.Generator().manual_seed(4)))
    torch.testing.assert_close(made.mean(0), z.mean(0), atol=0.05, rtol=0.05)
    torch.testing.assert_close(made.std(0), z.std(0, correction=0), atol=0.05, rtol=0.05)


def test_a_conditional_vae_without_classes_is_refused() -> None:
    with pytest.raises(DataError, match="needs data with classes, and these have none; take vae/conv"):
        ConditionalVAE(ConvConfig(width=8), INFO)


def test_encoder_and_decoder_are_told_the_class() -> None:
    torch.manual_seed(0)
    model = ConditionalVAE(ConvConfig(width=8), DataInfo("image", (1, 8, 8), ("a", "b", "c"))).eval()
    x, zeros, ones = pictures(4), torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    with torch.inference_mode():
        (mean, _), (other, _) = model.encode(x, zeros), model.encode(x, ones)
        assert not torch.allclose(mean, other)
        assert not torch.allclose(model.decode(mean, zeros), model.decode(mean, ones))
        assert torch.equal(model.encode(x, zeros)[0], mean)


def test_the_likeliest_class_is_the_one_that_copies_best() -> None:
    torch.manual_seed(0)
    model = ConditionalVAE(
        ConvConfig(width=8, latent=2), DataInfo("image", (1, 8, 8), ("a", "b", "c"))
    ).eval()
    asked = torch.arange(30) % 3
    with torch.inference_mode():
        x = model.decode(torch.zeros(30, 2), asked)
        model.variance.fill_(1e-6)
        bounds = []
        for label in range(3):
            labels = torch.full((30,), label)
            mean, log_variance = model.encode(x, labels)
            kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
            squares = (model.decode(mean, labels) - x).square().flatten(1).sum(1)
            bounds.append(0.5 * squares / model.variance + kl)
        found = model.likeliest(x)
    assert torch.equal(found, torch.stack(bounds).argmin(0))
    assert (found == asked).float().mean() > 0.6


@pytest.mark.parametrize("shape", [(1, 112, 92), (3, 256, 256), (4, 200, 17)])
def test_large_pictures_have_narrow_fine_levels(shape: tuple[int, int, int]) -> None:
    model = ConvVAE(ConvConfig(), DataInfo("image", shape)).eval()
    assert max(p.numel() for p in model.parameters()) < 2**22
    with torch.inference_mode():
        mean, _ = model.encode(torch.zeros(1, *shape))
        assert model.decode(mean).shape == (1, *shape)
