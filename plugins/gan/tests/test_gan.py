"""What is peculiar to the GANs; what holds for every model is tested in the core's tests."""

from __future__ import annotations

import pytest
import torch
from aigc_gan.config import DCGANConfig, DCGANTraining, MLPConfig, MLPTraining
from aigc_gan.dcgan import DCGAN, DCGANTrainer, FirstConv, levels
from aigc_gan.mlp import MLPGenerator, MLPTrainer

from aigc_core.interfaces import Batch
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine

INFO = DataInfo("image", (1, 8, 8))


def dcgan(**options: object) -> DCGANTrainer:
    torch.manual_seed(0)
    engine = AccelerateEngine(0, 16, 100, cpu=True)
    return DCGANTrainer(DCGAN(DCGANConfig(width=8), INFO).train(), DCGANTraining(**options), engine)  # type: ignore[arg-type]


def batch() -> Batch:
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(x, torch.arange(16))


def test_the_generator_learns_from_the_critic() -> None:
    """The article's generator detached its own output: no gradient ever reached it."""
    trainer = dcgan()
    before = {n: p.detach().clone() for n, p in trainer.generator.named_parameters()}
    trainer.step(batch())
    for name, parameter in trainer.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        assert not torch.equal(parameter, before[name]), name


def test_the_critic_does_not_move_with_the_generators_step() -> None:
    trainer = dcgan(critic_lr=1e-12)
    before = [p.detach().clone() for p in trainer.critic.parameters()]
    for _ in range(3):
        trainer.step(batch())
    for a, b in zip(before, trainer.critic.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_the_generators_gradient_is_that_of_its_loss() -> None:
    """It is passed on through the fakes, so that the critic's own gradient is never computed."""
    trainer = dcgan()
    optimizer = trainer.generator_optimizer
    step, optimizer.step = optimizer.step, lambda: None  # type: ignore[method-assign]
    trainer.engine.begin(0)  # type: ignore[attr-defined]
    trainer.step(batch())
    taken = {n: p.grad.clone() for n, p in trainer.generator.named_parameters() if p.grad is not None}
    trainer.generator.zero_grad()
    optimizer.step = step  # type: ignore[method-assign]
    # The same latents, and the critic as the generator met it: its power iteration no longer moves.
    trainer.engine.begin(0)  # type: ignore[attr-defined]
    for module in trainer.critic.modules():
        module.eval()
    fakes = trainer.generator(trainer.engine.randn(16, trainer.generator.latent))
    trainer.generator_loss(trainer.critic(fakes)).backward()
    for name, parameter in trainer.generator.named_parameters():
        torch.testing.assert_close(taken[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_the_last_fakes_are_kept_for_who_looks_after_collapse() -> None:
    trainer = dcgan()
    assert trainer.samples() is None
    trainer.step(batch())
    fakes = trainer.samples()
    assert fakes is not None
    assert fakes.shape == (16, 1, 8, 8)
    assert not fakes.requires_grad
    assert fakes.abs().max() <= 1


def test_a_checkpoint_holds_every_network_once() -> None:
    assert set(dcgan().state_dict()) == {
        "average", "critic", "critic_optimizer", "generator", "generator_optimizer",
    }  # fmt: skip


@pytest.mark.parametrize("objective", ["hinge", "nonsaturating"])
def test_the_losses_reward_the_right_side(objective: str) -> None:
    trainer = dcgan(objective=objective)
    high, low = torch.full((4,), 3.0), torch.full((4,), -3.0)
    assert trainer.critic_loss(real=high, fake=low) < trainer.critic_loss(real=low, fake=high)
    assert trainer.generator_loss(high) < trainer.generator_loss(low)


def test_hinge_loss_is_that_of_the_paper() -> None:
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.5])
    assert dcgan().critic_loss(real, fake) == pytest.approx((0.5 + 0) / 2 + (0 + 1.5) / 2)


def test_every_layer_of_the_critic_has_spectral_norm_one() -> None:
    trainer = dcgan()
    for _ in range(30):
        trainer.step(batch())
    layers = [m for m in trainer.critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert norm == pytest.approx(1.0, abs=0.15)


def test_the_average_is_kept_and_trails_the_generator() -> None:
    trainer = dcgan()
    for _ in range(20):
        trainer.step(batch())
    kept, now = trainer.result(), trainer.generator
    assert kept is not now
    assert not kept.training
    gap = sum((a - b).abs().sum() for a, b in zip(kept.parameters(), now.parameters(), strict=True))
    assert gap > 0


def test_the_fully_connected_networks_are_those_of_the_article() -> None:
    generator = MLPGenerator(MLPConfig(), DataInfo("image", (1, 28, 28)))
    shapes = [tuple(p.shape) for p in generator.parameters() if p.ndim == 2]
    assert shapes == [(256, 100), (512, 256), (1024, 512), (784, 1024)]
    engine = AccelerateEngine(0, 16, 10, cpu=True)
    critic = MLPTrainer(generator, MLPTraining(), engine).critic
    assert [m.p for m in critic.modules() if isinstance(m, type(engine.dropout(0.5)))] == [0.3] * 3
    assert {m.negative_slope for m in critic.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.2}


def test_mlp_trains_with_any_hidden_widths() -> None:
    engine = AccelerateEngine(0, 16, 10, cpu=True)
    trainer = MLPTrainer(MLPGenerator(MLPConfig(hidden=(5,)), INFO).train(), MLPTraining(), engine)
    assert set(trainer.step(batch())) == {"critic_loss", "generator_loss"}


@pytest.mark.parametrize(("size", "expected"), [(8, 1), (14, 1), (28, 2), (32, 2), (64, 3)])
def test_the_coarsest_grid_is_a_few_cells_wide(size: int, expected: int) -> None:
    assert levels(size, size) == expected
    assert 4 <= size / 2**expected <= 10
    assert levels(size, size, grid=4) == expected + (size > 8)
    assert levels(64, 8, grid=2) == 3, "it would be less than a cell high"


def test_a_plain_network_is_that_of_the_paper() -> None:
    """As the well-known examples have it at 32x32: strided layers alone, on a grid of 4x4."""
    torch.manual_seed(0)
    generator = DCGAN(DCGANConfig(width=32, grid=4, plain=True, latent=100), DataInfo("image", (1, 32, 32)))
    shapes = [tuple(p.shape) for p in generator.parameters() if p.ndim > 1]
    assert shapes == [(2048, 100), (128, 64, 4, 4), (64, 32, 4, 4), (32, 1, 4, 4)]
    trainer = DCGANTrainer(generator.train(), DCGANTraining(), AccelerateEngine(0, 16, 10, cpu=True))
    layers = [m for m in trainer.critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    expected = [(32, 1, 4, 4), (64, 32, 4, 4), (128, 64, 4, 4), (1, 2048)]
    assert [tuple(m.weight.shape) for m in layers] == expected
    trainer.step(Batch(torch.rand(16, 1, 32, 32) * 2 - 1, torch.arange(16)))
    assert trainer.generator(torch.randn(2, 100)).shape == (2, 1, 32, 32)


def test_a_matrix_product_of_patches_is_the_convolution() -> None:
    layer, x = FirstConv(3, 8), torch.randn(2, 3, 9, 6)
    expected = torch.nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
