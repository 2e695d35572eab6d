"""The denoiser and its networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from aigc_diffusion.config import DiTConfig, UNetConfig
from aigc_diffusion.denoiser import Condition, Denoiser
from aigc_diffusion.dit import DiT
from aigc_diffusion.text import TextEncoder, encode
from aigc_diffusion.unet import UNet

from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Block
from aigc_core.specs import DataInfo

NOTHING = Condition(None, None)
KINDS = ("unet", "dit")
DIGITS = DataInfo("image", (1, 28, 28), ("0", "1", "2"), {"mean": [-0.74], "deviation": 0.62})


def small(kind: str, data: DataInfo) -> Denoiser[Any]:
    torch.manual_seed(0)
    return UNet(UNetConfig(width=8), data) if kind == "unet" else DiT(DiTConfig(width=16, layers=2), data)


def awake(kind: str, data: DataInfo) -> Denoiser[Any]:
    """One whose last layers are not zero, as they are at first."""
    model = small(kind, data).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 31), (4, 64, 5), (1, 28, 28)])
def test_it_takes_pictures_of_any_shape(kind: str, shape: tuple[int, int, int]) -> None:
    model = awake(kind, DataInfo("image", shape))
    x = torch.randn(2, *shape)
    assert model.denoise(x, torch.tensor([0.1, 10.0]), NOTHING).shape == x.shape


@pytest.mark.parametrize("parametrisation", ["edm", "flow"])
def test_what_it_should_say_makes_it_right(parametrisation: str) -> None:
    model = UNet(UNetConfig(width=8, parametrisation=parametrisation), DIGITS)  # type: ignore[arg-type]
    clean, noise = torch.randn(2, 16, 1, 28, 28).double()
    sigma = torch.logspace(-2.5, 2.2, 16).double()
    x = clean + sigma.view(-1, 1, 1, 1) * noise
    model.network = lambda x, noise, condition: model.target(clean, given, sigma)  # type: ignore[method-assign]
    given = x
    assert torch.allclose(model.denoise(x, sigma, model.nothing(len(x), x.device)), clean)
    target = model.target(clean, x, sigma)
    if parametrisation == "flow":
        assert torch.allclose(target, noise - clean)
    else:
        assert target.var().item() == pytest.approx(1, abs=0.05)
        total = (1 + sigma.view(-1, 1, 1, 1).square()).sqrt()
        assert torch.allclose(target, (sigma.view(-1, 1, 1, 1) * clean - noise) / total)


@pytest.mark.parametrize("kind", KINDS)
def test_at_first_it_says_what_is_best_without_looking(kind: str) -> None:
    """D = x / (1 + sigma^2): the best linear guess for data of mean 0 and deviation 1."""
    model = small(kind, DIGITS).eval()
    x, sigma = torch.randn(4, 1, 28, 28), torch.tensor([0.01, 0.5, 1.0, 100.0])
    assert torch.allclose(
        model.denoise(x, sigma, model.nothing(len(x), x.device)),
        x / (1 + sigma.view(-1, 1, 1, 1).square()),
        atol=1e-6,
    )


def test_units_of_the_data_and_back() -> None:
    model = UNet(UNetConfig(width=8), DIGITS)
    pictures = torch.linspace(-1, 1, 2 * 784).view(2, 1, 28, 28)
    assert torch.allclose(model.decode(model.encode(pictures)), pictures, atol=1e-6)
    assert model.encode(torch.tensor(-0.74)).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_level_label_and_text_reach_every_pixel(kind: str) -> None:
    model = awake(kind, DIGITS)
    x = torch.randn(1, 1, 28, 28)

    def said(sigma: float, label: int, text: str = "") -> torch.Tensor:
        told = Condition(torch.tensor([label]), encode([text]))
        return model(x, torch.tensor([sigma]), told)  # type: ignore[no-any-return]

    with torch.inference_mode():
        for other in (said(1.5, 0), said(1.0, 1), said(1.0, 3), said(1.0, 0, "two")):
            assert (said(1.0, 0) - other).abs().min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_sees_every_other(kind: str) -> None:
    model = awake(kind, DIGITS)
    x = torch.zeros(1, 1, 28, 28, requires_grad=True)
    model.network(x, torch.zeros(1), model.nothing(1, x.device))[0, 0, 0, 0].backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_labels_are_asked_of_data_that_have_them_alone() -> None:
    plain = DataInfo("image", (1, 8, 8))
    assert UNet(UNetConfig(width=8), plain).classes == 0
    assert UNet(UNetConfig(width=8), DIGITS).classes == 3
    assert UNet(UNetConfig(width=8, condition="none"), DIGITS).classes == 0
    with pytest.raises(DataError, match="condition=label needs data with classes"):
        UNet(UNetConfig(width=8, condition="label"), plain)


def test_texts_are_asked_of_data_that_have_them_alone() -> None:
    plain = DataInfo("image", (1, 8, 8))
    captioned = DataInfo("image", (1, 8, 8), assets={"words": b"a\nseven"})
    assert UNet(UNetConfig(width=8), captioned).texts
    assert UNet(UNetConfig(width=8), DIGITS).texts, "classes have names"
    assert not UNet(UNetConfig(width=8, condition="label"), DIGITS).texts
    assert not UNet(UNetConfig(width=8), plain).texts
    with pytest.raises(DataError, match="condition=text needs pictures with captions"):
        UNet(UNetConfig(width=8, condition="text"), plain)


def test_a_text_is_heard_whatever_stands_beside_it() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(8)
    alone, beside = encoder(encode(["数字三"])), encoder(encode(["数字三", "a much longer text", ""]))
    assert torch.allclose(alone[0], beside[0], atol=1e-6)
    assert torch.equal(beside[2], torch.zeros(8)), "an empty one says nothing"
    assert (beside[0] - beside[1]).abs().max() > 0.01
    assert encode(["é" * 1000]).shape == (1, 256)


def asked(model: UNet, **given: Any) -> tuple[Condition, tuple[dict[str, Any], ...]]:
    """What four samples are told, and what is noted of each."""
    notes: tuple[dict[str, Any], ...] = tuple({} for _ in range(4))
    block = Block(seed=0, start=2, size=4, device=torch.device("cpu"), notes=notes, **given)
    return model.asked(block), notes


def test_what_is_asked_for() -> None:
    model = UNet(UNetConfig(width=8), DIGITS)
    (labels, tokens), _ = asked(model)
    assert labels is not None
    assert tokens is not None
    assert labels.tolist() == [2, 0, 1, 2], "each class in turn"
    assert not tokens.any()
    (labels, _), _ = asked(model, images=torch.zeros(4, 1, 28, 28))
    assert labels is not None
    assert labels.tolist() == [3] * 4, "of a given picture nothing"
    prompts = ("1", "a 1", "2", "zwei, 2")
    (labels, tokens), notes = asked(model, prompts=prompts)
    assert labels is not None
    assert tokens is not None
    assert labels.tolist() == [3] * 4
    assert torch.equal(tokens, encode(prompts))
    assert notes == ({}, {"unknown_words": ["a"]}, {}, {"unknown_words": ["zwei"]})
    bare = UNet(UNetConfig(width=8, condition="none"), DIGITS)
    for flag, given in (("--prompt", {"prompts": ("1",) * 4}), ("--label", {"labels": torch.zeros(4)})):
        with pytest.raises(UsageError, match=f"leave out {flag}"):
            asked(bare, **given)


def test_noise_levels_are_told_apart() -> None:
    from aigc_diffusion.denoiser import fourier

    features = fourier(torch.linspace(math.log(0.004), math.log(160), 100), 96)
    distances = torch.cdist(features, features) + 10 * torch.eye(100)
    assert distances.min() > 0.5
