"""What is peculiar to the VAEs; what holds for every model is tested in the core's tests."""

from __future__ import annotations

import math

import pytest
import torch
from aigc_vae.config import ConvConfig, InterpolateOptions, MLPConfig, PriorOptions, VAETraining
from aigc_vae.conv import ConvVAE
from aigc_vae.mlp import MLPVAE
from aigc_vae.samplers import Interpolate, Prior, slerp
from aigc_vae.trainer import VAETrainer
from aigc_vae.vae import VAE
from torch import distributions

from aigc_core.interfaces import Batch, Block
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine

INFO = DataInfo("image", (1, 8, 8))


def vae(likelihood: str = "gaussian") -> MLPVAE:
    torch.manual_seed(0)
    return MLPVAE(MLPConfig(hidden=(32,), latent=4, likelihood=likelihood), INFO)  # type: ignore[arg-type]


def loss(model: VAE, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstruction and KL, as the trainer has them on one process."""
    logits, kl = model(x, noise)
    return model.reconstruction(logits, x, lambda value: value), kl


def pictures(count: int = 64) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_kl_is_that_of_the_two_normals() -> None:
    """The article dropped this term."""
    model, x = vae(), pictures()
    mean, log_variance = model.encode(x)
    q = distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = distributions.kl_divergence(q, distributions.Normal(0.0, 1.0)).sum(1).mean()
    _, kl = loss(model, x, torch.randn(len(x), 4))
    assert kl.item() == pytest.approx(expected.item(), rel=1e-5)
    assert kl > 0


def test_the_gaussian_likelihood_has_the_variance_that_is_best() -> None:
    model, x = vae(), pictures()
    logits = torch.randn(64, 1, 8, 8)
    ours = model.reconstruction(logits, x, lambda value: value)

    def nats(sigma: float) -> float:
        density = distributions.Normal(logits.sigmoid(), sigma).log_prob(x)
        return float(-density.sum() / len(x))

    best = math.sqrt(float((logits.sigmoid() - x).square().mean()))
    assert ours == pytest.approx(nats(best), rel=1e-4)
    assert nats(best) < min(nats(best * 0.9), nats(best * 1.1))


def test_the_variance_is_that_of_all_processes() -> None:
    """Two halves of a batch, each with the whole batch's mean handed in, make the whole batch's gradient."""
    model, x = vae(), pictures()
    logits = torch.randn(64, 1, 8, 8)
    whole = logits.clone().requires_grad_()
    model.reconstruction(whole, x, lambda value: value).backward()
    mse = (logits.sigmoid() - x).square().mean()
    for half in (slice(0, 32), slice(32, 64)):
        part = logits[half].clone().requires_grad_()
        model.reconstruction(part, x[half], lambda value: value + (mse - value).detach()).backward()
        assert part.grad is not None
        assert whole.grad is not None
        torch.testing.assert_close(part.grad / 2, whole.grad[half])


def test_the_loss_is_float32_in_bfloat16_too() -> None:
    model, x = vae(), pictures()
    with torch.autocast("cpu", torch.bfloat16):
        logits, kl = model(x, torch.randn(64, 4))
    assert logits.dtype == torch.bfloat16
    assert kl.dtype == model.reconstruction(logits, x, lambda value: value).dtype == torch.float32


def test_the_bernoulli_likelihood_is_the_cross_entropy_of_pixels() -> None:
    model, x = vae("bernoulli"), pictures()
    logits = torch.randn(64, 1, 8, 8)
    p = logits.sigmoid()
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).sum() / len(x)
    assert model.reconstruction(logits, x, lambda value: value) == pytest.approx(float(expected), rel=1e-4)


def test_the_latent_is_drawn_from_the_encoder() -> None:
    """The article sampled from a plain tensor: noise must reach the reconstruction, gradients the encoder."""
    model, x = vae(), pictures()
    one, _ = loss(model, x, torch.zeros(64, 4))
    two, kl = loss(model, x, torch.full((64, 4), 3.0))
    assert one != two
    (two + kl).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("kind", [MLPVAE, ConvVAE])
def test_the_held_out_bound_improves(likelihood: str, kind: type[VAE]) -> None:
    from aigc_core.data import Batches, open_data
    from aigc_core.registry import default

    torch.manual_seed(0)
    digits = open_data("digits", default())
    config = (
        MLPConfig(likelihood=likelihood) if kind is MLPVAE else ConvConfig(likelihood=likelihood, width=8)
    )  # type: ignore[arg-type]
    model = kind(config, digits.info)
    engine = AccelerateEngine(0, 64, 120, cpu=True)
    trainer = VAETrainer(model, VAETraining(), engine)
    batches = Batches(digits, 64, 0, model.output, engine.device)
    held_out = batches.batch(torch.arange(1500, 1797)).x
    noise = torch.randn(len(held_out), model.latent)

    def bound() -> tuple[float, float]:
        model.eval()
        with torch.no_grad():
            reconstruction, kl = loss(model, held_out, noise)
        model.train()
        return float(reconstruction + kl), float(kl)

    before, _ = bound()
    for step in range(120):
        engine.begin(step)
        trainer.step(batches.batch(torch.randint(0, 1500, (64,))))
    after, kl = bound()
    assert after < before - 10
    assert kl > 0.5, "the latent carries nothing"


def test_the_learning_rate_rises_then_falls() -> None:
    trainer = VAETrainer(vae(), VAETraining(), AccelerateEngine(0, 64, 1000, cpu=True))
    rates = [trainer.schedule(step / 1000) for step in range(1000)]
    assert 0 < rates[0] < rates[10] < rates[29] <= 1
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert rates[-1] < 1e-3
    batch = Batch(pictures(8), torch.arange(8))
    trainer.step(batch)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(2e-3 * rates[0])


def test_interpolation_begins_at_the_samples_of_the_prior() -> None:
    model = vae().eval()
    with torch.inference_mode():
        prior = Prior(PriorOptions()).sample(model, Block(3, 0, 16, torch.device("cpu")))
        walk = Interpolate(InterpolateOptions(steps=4)).sample(model, Block(3, 0, 16, torch.device("cpu")))
    assert torch.allclose(walk[::4], prior[:4], atol=1e-5)
    assert not torch.allclose(walk[1], prior[0], atol=1e-3)
    steps = (walk[1:5] - walk[:4]).flatten(1).norm(dim=1)
    assert (steps < (prior[1] - prior[0]).norm()).all()


def test_slerp_keeps_the_radius_and_meets_its_ends() -> None:
    a, b = torch.eye(2)[:1], torch.eye(2)[1:]
    half = slerp(a, b, torch.tensor([[0.5]]))
    assert torch.allclose(half.norm(dim=1), torch.ones(1), atol=1e-6)
    assert torch.allclose(slerp(a, b, torch.zeros(1, 1)), a, atol=1e-6)
    assert torch.isfinite(slerp(a, a, torch.tensor([[0.3]]))).all()
    assert torch.isfinite(slerp(a, -a, torch.tensor([[0.3]]))).all()
