"""The samplers of the GANs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from aigc_gan.conditional import ConditionalGAN
from aigc_gan.config import (
    ConditionalConfig,
    DCGANConfig,
    InterpolateOptions,
    PriorOptions,
    RestoreOptions,
    TopOptions,
    TruncatedOptions,
)
from aigc_gan.dcgan import DCGAN
from aigc_gan.networks import CriticLayers, LatentGenerator
from aigc_gan.restoration import Restore
from aigc_gan.samplers import Interpolate, Prior, TopByCritic, Truncated, truncate
from torch import Tensor

from aigc_core.interfaces import Block, Sampler
from aigc_core.specs import DataInfo

INFO = DataInfo("image", (1, 8, 8), ("a", "b", "c"))


@pytest.fixture(params=["dcgan", "conditional"])
def generator(request: pytest.FixtureRequest) -> LatentGenerator:
    torch.manual_seed(0)
    if request.param == "dcgan":
        return DCGAN(DCGANConfig(width=8, latent=8), INFO).eval()
    return ConditionalGAN(ConditionalConfig(width=8, latent=8), INFO).eval()


def block(start: int = 0, size: int = 4, **parts: Any) -> Block:
    return Block(seed=1, start=start, size=size, device=torch.device("cpu"), **parts)


def draw(sampler: Sampler[Any, Any], generator: LatentGenerator, of: Block) -> Tensor:
    with torch.inference_mode():
        return sampler.sample(generator, of)


def critic_of(generator: LatentGenerator) -> Mapping[str, Tensor]:
    torch.manual_seed(1)
    return generator.critic(CriticLayers()).state_dict()


def test_a_truncated_latent_stays_within_the_threshold_and_keeps_its_rank() -> None:
    z = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    cut = truncate(z, 0.7)
    assert cut.abs().max() <= 0.7
    assert torch.equal(cut.argsort(), z.argsort())
    assert cut.std() == pytest.approx(0.384, abs=0.02)  # of the normal distribution within 0.7
    torch.testing.assert_close(truncate(z, 10.0), z, rtol=1e-4, atol=1e-5)
    assert truncate(torch.tensor([-20.0, 20.0]), 0.7).tolist() == pytest.approx([-0.7, 0.7])


def test_truncated_pictures_differ_less_from_each_other(generator: LatentGenerator) -> None:
    labels = torch.zeros(64, dtype=torch.int64)
    near = draw(Truncated(TruncatedOptions(threshold=0.1)), generator, block(size=64, labels=labels))
    wide = draw(Prior(PriorOptions()), generator, block(size=64, labels=labels))
    assert near.std(0).mean() < 0.5 * wide.std(0).mean()


def test_a_walk_begins_at_each_sample_of_the_prior(generator: LatentGenerator) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    walk = draw(Interpolate(InterpolateOptions(steps=2)), generator, block(labels=labels))
    prior = draw(Prior(PriorOptions()), generator, block(labels=labels))
    torch.testing.assert_close(walk[[0, 2]], prior[[0, 1]], rtol=1e-3, atol=1e-5)
    following = draw(Interpolate(InterpolateOptions(steps=2)), generator, block(4, labels=labels))
    torch.testing.assert_close(following[[0, 2]], prior[[2, 3]], rtol=1e-3, atol=1e-5)


def test_the_critic_is_never_less_pleased_with_more_candidates(generator: LatentGenerator) -> None:
    fitted = critic_of(generator)
    critic = generator.critic(CriticLayers()).eval()
    critic.load_state_dict(fitted)
    labels = torch.arange(4) % 3 if generator.classes else None
    notes = tuple({} for _ in range(4))  # type: ignore[var-annotated]
    scores = []
    for candidates in (1, 2, 16):
        given = block(fitted=fitted, notes=notes)
        made = draw(TopByCritic(TopOptions(candidates=candidates)), generator, given)
        with torch.no_grad():
            scores.append(critic(made.clone(), labels))
    assert torch.equal(
        draw(TopByCritic(TopOptions(candidates=1)), generator, block(fitted=fitted)),
        draw(Prior(PriorOptions()), generator, block()),
    )
    assert (scores[1] >= scores[0] - 1e-6).all()
    assert (scores[2] > scores[0]).all()
    assert [note["score"] for note in notes] == pytest.approx(scores[2].tolist(), abs=1e-3)


QUICK = RestoreOptions(candidates=16, restarts=2, steps=40)


def test_restoring_keeps_known_pixels_and_fills_in_the_others(generator: LatentGenerator) -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    masks = torch.zeros(4, 1, 8, 8)
    masks[:, :, :, 4:] = 1
    made = draw(Restore(QUICK), generator, block(images=images, masks=masks))
    assert torch.equal(made[..., :4], images[..., :4])
    assert not torch.isclose(made[..., 4:], images[..., 4:]).any(-1).all()
    hidden = images.clone()
    hidden[..., 4:] = 0
    assert torch.equal(draw(Restore(QUICK), generator, block(images=hidden, masks=masks)), made), (
        "what is under the mask is not looked at"
    )


def test_a_picture_of_the_generator_is_found_again(generator: LatentGenerator) -> None:
    labels = torch.tensor([1, 2, 0, 1])
    images = draw(
        Prior(PriorOptions()), generator, Block(9, 0, 4, torch.device("cpu"), labels=labels)
    ).clone()
    options = RestoreOptions(candidates=64, restarts=6, steps=200, prior=0.0)
    notes = tuple({} for _ in range(4))  # type: ignore[var-annotated]
    made = draw(Restore(options), generator, block(images=images, labels=labels, notes=notes))
    assert made.shape == images.shape
    assert (made - images).square().mean() < 0.05 * images.var(0).mean()
    errors = (made - images).square().flatten(1).mean(1).tolist()
    assert [note["error"] for note in notes] == pytest.approx(errors, abs=1e-4)


def test_each_picture_is_restored_by_itself(generator: LatentGenerator) -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    whole = draw(Restore(QUICK), generator, block(images=images))
    alone = draw(Restore(QUICK), generator, block(images=images, wanted=range(2, 3)))
    assert torch.equal(alone[2], whole[2])
    others = images.clone()
    others[[0, 1, 3]] = 0
    assert torch.equal(draw(Restore(QUICK), generator, block(images=others))[2], whole[2])


def test_a_conditional_model_makes_each_class_in_turn() -> None:
    torch.manual_seed(0)
    generator = ConditionalGAN(ConditionalConfig(width=8, latent=8), INFO).eval()
    turns = draw(Prior(PriorOptions()), generator, block())
    asked = draw(Prior(PriorOptions()), generator, block(labels=torch.tensor([0, 1, 2, 0])))
    other = draw(Prior(PriorOptions()), generator, block(labels=torch.tensor([0, 1, 0, 0])))
    assert torch.equal(turns, asked)
    assert torch.equal(other[:2], asked[:2])
    assert not torch.equal(other[2], asked[2])
