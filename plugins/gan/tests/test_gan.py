"""What is peculiar to the GANs; what holds for every model is tested in the core's tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aigc_gan.conditional import ConditionalGAN
from aigc_gan.config import (
    ConditionalConfig,
    DCGANConfig,
    DCGANTraining,
    GANTraining,
    MLPConfig,
    MLPTraining,
    ResNetConfig,
    ResNetTraining,
)
from aigc_gan.dcgan import DCGAN
from aigc_gan.mlp import MLPGenerator
from aigc_gan.networks import CriticLayers, FirstConv, LatentGenerator, levels
from aigc_gan.resnet import ResNetGAN
from aigc_gan.trainer import GANTrainer, plain_state

from aigc_core.interfaces import Batch
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.settings import Settings

INFO = DataInfo("image", (1, 8, 8), ("a", "b", "c"))
MODELS: dict[str, tuple[type[LatentGenerator], Any, type[GANTraining]]] = {
    "mlp": (MLPGenerator, MLPConfig(hidden=(8, 16)), MLPTraining),
    "dcgan": (DCGAN, DCGANConfig(width=8), DCGANTraining),
    "resnet": (ResNetGAN, ResNetConfig(width=8), ResNetTraining),
    "conditional": (ConditionalGAN, ConditionalConfig(width=8), DCGANTraining),
}


def trainer_of(model: str = "dcgan", info: DataInfo = INFO, **options: object) -> GANTrainer:
    torch.manual_seed(0)
    generator, config, training = MODELS[model]
    precision = str(options.pop("precision", "fp32"))
    engine = AccelerateEngine(0, 16, 100, cpu=True, settings=Settings(precision=precision))
    return GANTrainer(generator(config, info).train(), training(**options), engine)  # type: ignore[arg-type]


def batch(*shape: int) -> Batch:
    shape = shape or (1, 8, 8)
    x = torch.rand(16, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(x, torch.arange(16), torch.arange(16) % 3)


def steps(trainer: GANTrainer, count: int, *shape: int) -> dict[str, float]:
    for step in range(count):
        trainer.engine.begin(step)  # type: ignore[attr-defined]
        metrics = trainer.step(batch(*shape))
    return {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("model", MODELS)
def test_the_generator_learns_from_the_critic(model: str) -> None:
    """The article's generator detached its own output: no gradient ever reached it."""
    trainer = trainer_of(model)
    before = {n: p.detach().clone() for n, p in trainer.generator.named_parameters()}
    trainer.step(batch())
    for name, parameter in trainer.generator.named_parameters():
        assert parameter.grad is not None, name
        if "norm" not in name and not name.endswith("conv1.weight"):
            assert parameter.grad.abs().sum() > 0, name
            assert not torch.equal(parameter, before[name]), name


def test_the_critic_does_not_move_with_the_generators_step() -> None:
    trainer = trainer_of(critic_lr=1e-12)
    before = [p.detach().clone() for p in trainer.critic.parameters()]
    for _ in range(3):
        trainer.step(batch())
    for a, b in zip(before, trainer.critic.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_the_generators_gradient_is_that_of_its_loss() -> None:
    """It is passed on through the fakes, so that the critic's own gradient is never computed."""
    trainer = trainer_of()
    optimizer = trainer.generator_optimizer
    step, optimizer.step = optimizer.step, lambda: None  # type: ignore[method-assign]
    trainer.engine.begin(0)  # type: ignore[attr-defined]
    trainer.step(batch())
    taken = {n: p.grad.clone() for n, p in trainer.generator.named_parameters() if p.grad is not None}
    trainer.generator.zero_grad()
    optimizer.step = step  # type: ignore[method-assign]
    trainer.engine.begin(0)  # type: ignore[attr-defined]
    fakes = trainer.generator(trainer.engine.randn(16, trainer.generator.latent))
    trainer.objective.generator(trainer.critic(fakes)).backward()
    for name, parameter in trainer.generator.named_parameters():
        torch.testing.assert_close(taken[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_the_last_fakes_are_kept_for_who_looks_after_collapse() -> None:
    trainer = trainer_of()
    assert trainer.samples() is None
    trainer.step(batch())
    fakes = trainer.samples()
    assert fakes is not None
    assert fakes.shape == (16, 1, 8, 8)
    assert not fakes.requires_grad
    assert fakes.abs().max() <= 1


def test_a_checkpoint_holds_every_network_once() -> None:
    assert set(trainer_of().state_dict()) == {
        "average", "critic", "critic_optimizer", "generator", "generator_optimizer",
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "options",
    [
        {"objective": "hinge", "spectral_norm": True, "r1": 0.0},
        {"objective": "wgan", "r1": 0.0, "lazy": 2},
        {"objective": "lsgan", "gradient_penalty": 1.0, "augment": ("colour", "translation", "cutout")},
    ],
)
def test_every_model_trains_with_every_objective(model: str, options: dict[str, object]) -> None:
    metrics = steps(trainer_of(model, **options), 3)
    assert all(abs(value) < 1e3 for value in metrics.values()), metrics


def test_half_precision_leaves_the_penalty_in_full() -> None:
    trainer = trainer_of(precision="bf16", r1=1.0, gradient_penalty=1.0)
    penalty = trainer.penalty(batch().x, -batch().x, None)
    assert penalty is not None
    assert penalty.dtype == torch.float32
    full = trainer_of(r1=1.0, gradient_penalty=1.0).penalty(batch().x, -batch().x, None)
    torch.testing.assert_close(penalty, full)
    steps(trainer, 2)


def test_a_lazy_penalty_comes_every_few_steps_and_weighs_as_much_more() -> None:
    often, seldom = trainer_of(r1=2.0, lazy=1), trainer_of(r1=2.0, lazy=4)
    x = batch().x
    for step in range(6):
        often.engine.begin(step), seldom.engine.begin(step)  # type: ignore[attr-defined]
        each, some = often.penalty(x, x, None), seldom.penalty(x, x, None)
        assert each is not None
        assert (some is None) == (step % 4 > 0)
        if some is not None:
            torch.testing.assert_close(some, 4 * each)


def test_no_penalty_is_computed_for_a_weight_of_zero() -> None:
    assert trainer_of(r1=0.0).penalty(batch().x, batch().x, None) is None
    assert trainer_of(r1=0.0, objective="wgan").penalty(batch().x, batch().x, None) is not None


def test_the_penalty_reaches_the_critics_parameters() -> None:
    plain, held = trainer_of(r1=0.0, critic_lr=1e-12), trainer_of(r1=1e3, lazy=1, critic_lr=1e-12)
    steps(plain, 1), steps(held, 1)
    a, b = next(plain.critic.parameters()).grad, next(held.critic.parameters()).grad
    assert a is not None
    assert b is not None
    assert not torch.allclose(a, b, rtol=0.01)


def test_learning_rates_fall_to_nothing_in_the_last_share_of_the_steps() -> None:
    trainer = trainer_of(lr=1e-3, critic_lr=4e-3, decay=0.5)
    rates = []
    for step in (0, 50, 75, 99):
        trainer.engine.begin(step)  # type: ignore[attr-defined]
        trainer.set_learning_rates()
        rates.append(
            [o.param_groups[0]["lr"] for o in (trainer.generator_optimizer, trainer.critic_optimizer)]
        )
    expected = [(1e-3, 4e-3), (1e-3, 4e-3), (5e-4, 2e-3), (2e-5, 8e-5)]
    assert rates == [pytest.approx(pair) for pair in expected]


def test_every_layer_of_the_critic_has_spectral_norm_one() -> None:
    trainer = trainer_of(spectral_norm=True, objective="hinge", r1=0.0)
    steps(trainer, 30)
    layers = [m for m in trainer.critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert norm == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spectral", [False, True])
def test_the_kept_critic_scores_as_the_one_that_was_trained(model: str, spectral: bool) -> None:
    trainer = trainer_of(model, spectral_norm=spectral)
    steps(trainer, 2)
    plain = trainer.generator.critic(CriticLayers())
    plain.load_state_dict(plain_state(trainer.critic, plain))
    labels = torch.arange(16) % 3 if trainer.generator.classes else None
    trainer.critic.eval(), plain.eval()
    torch.testing.assert_close(plain(batch().x, labels), trainer.critic(batch().x, labels))


def test_the_average_is_kept_and_trails_the_generator() -> None:
    trainer = trainer_of()
    steps(trainer, 20)
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
    critic = GANTrainer(generator, MLPTraining(dropout=0.3), engine).critic
    assert [m.p for m in critic.modules() if isinstance(m, type(engine.dropout(0.5)))] == [0.3] * 3
    assert {m.negative_slope for m in critic.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("size", "expected"), [(8, 1), (14, 1), (28, 2), (32, 2), (64, 3), (256, 5)])
def test_the_coarsest_grid_is_a_few_cells_wide(size: int, expected: int) -> None:
    assert levels(size, size) == expected
    assert 4 <= size / 2**expected <= 10
    assert levels(size, size, grid=4) == expected + (size > 8)
    assert levels(64, 8, grid=2) == 3, "it would be less than a cell high"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(3, 11, 9), (1, 46, 56), (4, 8, 40)])
def test_pictures_may_have_any_shape(model: str, shape: tuple[int, int, int]) -> None:
    trainer = trainer_of(model, DataInfo("image", shape, ("a", "b", "c")))
    steps(trainer, 1, *shape)
    made = trainer.samples()
    assert made is not None
    assert made.shape == (16, *shape)


def test_a_plain_network_is_that_of_the_paper() -> None:
    """As the well-known examples have it at 32x32: strided layers alone, on a grid of 4x4."""
    torch.manual_seed(0)
    generator = DCGAN(DCGANConfig(width=32, grid=4, plain=True, latent=100), DataInfo("image", (1, 32, 32)))
    shapes = [tuple(p.shape) for p in generator.parameters() if p.ndim > 1]
    assert shapes == [(2048, 100), (128, 64, 4, 4), (64, 32, 4, 4), (32, 1, 4, 4)]
    critic = generator.critic(CriticLayers())
    layers = [m for m in critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    expected = [(32, 1, 4, 4), (64, 32, 4, 4), (128, 64, 4, 4), (1, 2048)]
    assert [tuple(m.weight.shape) for m in layers] == expected
    assert generator(torch.randn(2, 100)).shape == (2, 1, 32, 32)


def test_a_matrix_product_of_patches_is_the_convolution() -> None:
    layer, x = FirstConv(3, 8), torch.randn(2, 3, 9, 6)
    expected = torch.nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_the_projection_critic_adds_what_a_class_says_of_the_features() -> None:
    critic = trainer_of("conditional").critic.eval()
    x, zero, one = batch().x, torch.zeros(16).long(), torch.ones(16).long()
    embedding = critic.of_class
    assert isinstance(embedding, torch.nn.Embedding)
    features = critic.layers(x).permute(0, 2, 3, 1).flatten(1)  # type: ignore[operator]
    expected = features @ (embedding.weight[1] - embedding.weight[0])
    torch.testing.assert_close(critic(x, one) - critic(x, zero), expected, rtol=1e-3, atol=1e-5)


def test_another_class_is_another_picture_of_a_latent() -> None:
    generator = trainer_of("conditional").generator.eval()
    z = torch.randn(1, generator.latent).expand(3, -1)
    made = generator(z, torch.arange(3))
    assert not torch.allclose(made[0], made[1])
    assert torch.allclose(made[1], generator(z, torch.tensor([0, 1, 1]))[2])
