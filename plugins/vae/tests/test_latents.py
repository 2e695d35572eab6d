"""What is drawn with what was fitted to latents: the mixture, the second stage, the means of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aigc_vae.latents import MOST, Latents, class_means, latents_of
from aigc_vae.mixture import FULL, draw_mixture, fit_mixture
from aigc_vae.two_stage import draw_second_stage, fit_second_stage
from torch import Tensor

from aigc_core.data import open_data
from aigc_core.registry import default


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def silent(items: Any, count: int, label: str) -> Any:
    return items


def two_clouds(count: int = 2000) -> tuple[Tensor, Tensor]:
    """A narrow one at (-4, 0), and three times as many in a leaning one at (4, 0)."""
    labels = (torch.arange(count) % 4 > 0).long()
    factor = torch.tensor([[[0.5, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.8, 0.3]]])
    z = (factor[labels] * normal(count, 1, 2)).sum(2)
    return z + torch.tensor([[-4.0, 0.0], [4.0, 0.0]])[labels], labels


def drawn(fitted: dict[str, Tensor], labels: Tensor | None = None, count: int = 20000) -> Tensor:
    size = fitted["means"].shape[2]
    return draw_mixture(fitted, labels, normal(count, seed=1), normal(count, size, seed=2))


def test_a_mixture_has_the_shares_the_places_and_the_shapes_of_the_clouds() -> None:
    z, labels = two_clouds()
    made = drawn(fit_mixture(z, None, 0, 2, seed=0))
    right = made[:, 0] > 0
    assert float(right.float().mean()) == pytest.approx(0.75, abs=0.02)
    for cloud, truth in ((made[~right], z[labels == 0]), (made[right], z[labels == 1])):
        torch.testing.assert_close(cloud.mean(0), truth.mean(0), atol=0.05, rtol=0)
        torch.testing.assert_close(torch.cov(cloud.T), torch.cov(truth.T), atol=0.05, rtol=0)


def test_by_a_temperature_of_nothing_the_places_alone_are_drawn() -> None:
    from aigc_vae.config import ConvConfig, MixtureOptions
    from aigc_vae.conv import ConvVAE
    from aigc_vae.samplers import Mixture

    from aigc_core.interfaces import Block
    from aigc_core.specs import DataInfo

    torch.manual_seed(0)
    model = ConvVAE(ConvConfig(latent=3, width=4), DataInfo("image", (1, 8, 8))).eval()
    fitted = fit_mixture(torch.randn(400, 3), None, 0, 2, seed=0)
    block = Block(seed=0, start=0, size=64, device=torch.device("cpu"), fitted=fitted)

    def spread(temperature: float) -> float:
        block.__dict__.pop("_streams", None)  # the same noise again
        made = Mixture(MixtureOptions(temperature=temperature)).sample(model, block)
        return float(min(made.sub(made[row]).flatten(1).norm(dim=1).sort().values[8] for row in range(8)))

    with torch.inference_mode():
        assert spread(0) < 1e-6, "one of two pictures, many times"
        assert 0 < spread(0.5) < spread(1)


def test_each_class_has_a_mixture_of_its_own() -> None:
    z, labels = two_clouds()
    fitted = fit_mixture(z, labels, 3, 6, seed=0)
    assert fitted["weights"].shape == (3, 2)
    asked = torch.arange(20000) % 3
    made = drawn(fitted, asked)
    for label, place in (
        (0, -4.0),
        (1, 4.0),
        (2, 0.0),
    ):  # of the last one nothing was seen: the standard normal
        assert float(made[asked == label][:, 0].mean()) == pytest.approx(place, abs=0.1)


def test_a_mixture_is_the_same_each_time_and_rows_do_not_know_of_each_other() -> None:
    z, _ = two_clouds()
    one, two = (fit_mixture(z, None, 0, 8, seed=5) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    choice, noise = normal(64, seed=1), normal(64, 2, seed=2)
    whole = draw_mixture(one, None, choice, noise)
    other = torch.cat([noise[:32], normal(32, 2, seed=9)])
    assert torch.equal(draw_mixture(one, None, choice, other)[:32], whole[:32])


@pytest.mark.parametrize("count", [1, 2, 3, 30])
@pytest.mark.parametrize("alike", [True, False])
def test_few_latents_or_equal_ones_make_a_mixture_too(count: int, alike: bool) -> None:
    z = torch.ones(count, 4) if alike else normal(count, 4)
    made = drawn(fit_mixture(z, None, 0, 100, seed=0), count=500)
    assert torch.isfinite(made).all()
    torch.testing.assert_close(made.mean(0), z.mean(0), atol=0.3, rtol=0)


def test_the_covariances_of_a_very_large_latent_are_diagonal() -> None:
    z = normal(300, FULL + 1) * 3
    fitted = fit_mixture(z, None, 0, 2, seed=0)
    assert fitted["factors"].shape == (1, 2, FULL + 1)
    assert float(drawn(fitted, count=500).std()) == pytest.approx(3, rel=0.05)


def ring(count: int) -> Tensor:
    """[N, 2] about a circle of radius 5: nothing like a normal distribution."""
    angle = normal(count, seed=3) * 10
    return 5 * torch.stack([angle.sin(), angle.cos()], dim=1) + 0.1 * normal(count, 2, seed=4)


def test_the_second_stage_learns_what_no_normal_distribution_has() -> None:
    z = ring(4000)
    fitted = fit_second_stage(z, None, 0, 600, 0, silent)
    made = draw_second_stage(fitted, None, normal(4000, 2, seed=5), normal(4000, 2, seed=6))
    inside = (made.norm(dim=1) < 3).float().mean()
    plain = (normal(4000, 2, seed=7) * z.std(0) + z.mean(0)).norm(dim=1) < 3
    assert inside < 0.65 * plain.float().mean()


def test_the_second_stage_is_told_classes() -> None:
    z, labels = two_clouds()
    fitted = fit_second_stage(z, labels, 2, 200, 0, silent)
    asked = torch.arange(1000) % 2
    made = draw_second_stage(fitted, asked, normal(1000, 2), normal(1000, 2, seed=1))
    assert (made[asked == 0][:, 0].mean() + 4).abs() < 0.7
    assert (made[asked == 1][:, 0].mean() - 4).abs() < 0.7


@pytest.mark.parametrize("make", [lambda: normal(1, 3), lambda: torch.zeros(5, 3)])
def test_a_second_stage_of_one_latent_or_of_equal_ones_is_finite(make: Callable[[], Tensor]) -> None:
    fitted = fit_second_stage(make(), None, 0, 20, 0, silent)
    assert torch.isfinite(draw_second_stage(fitted, None, normal(50, 3), normal(50, 3))).all()


def test_the_fit_of_the_second_stage_leaves_random_numbers_as_they_were() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two = (fit_second_stage(normal(50, 2), None, 0, 5, 7, silent) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_means_of_classes_are_of_the_latents_of_each() -> None:
    means = torch.tensor([[1.0], [3.0], [10.0]])
    found = class_means(Latents(means, means, torch.tensor([0, 0, 2])), 3)
    assert found["means"].tolist() == [[2.0], [0.0], [10.0]]
    assert found["counts"].tolist() == [2, 0, 1]
    assert class_means(Latents(means, means, None), 0)["means"].shape == (0, 1)


def test_latents_are_of_the_pictures_and_of_their_labels() -> None:
    from aigc_vae.config import MLPConfig
    from aigc_vae.mlp import MLPVAE

    data = open_data("digits", default())
    assert len(data) < MOST
    torch.manual_seed(0)
    model = MLPVAE(MLPConfig(hidden=(8,), latent=3), data.info).eval()
    with torch.inference_mode():
        found = latents_of(model, data, seed=0, track=silent)
        x, labels = data.fetch(torch.arange(len(data)))
        mean, log_variance = model.encode(x.float() / 255)
    torch.testing.assert_close(found.means, mean)
    assert found.labels is not None
    assert labels is not None
    assert torch.equal(found.labels, labels)
    spread = ((found.draws - mean) / (0.5 * log_variance).exp()).std()
    assert float(spread) == pytest.approx(1, abs=0.05)
