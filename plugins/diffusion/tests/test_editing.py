"""What is made of given pictures, by a denoiser that knows its data: stripes, bright or dark, in two colours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aigc_diffusion.config import (
    DDIMOptions,
    DenoiserConfig,
    HeunOptions,
    ImageToImageOptions,
    InterpolateOptions,
    MultistepOptions,
    RefineOptions,
    RestoreOptions,
)
from aigc_diffusion.denoiser import Condition, Denoiser
from aigc_diffusion.editing import ImageToImage, Interpolate, Refine, Restore
from aigc_diffusion.samplers import DDIM, Heun, Multistep, guided
from torch import Tensor

from aigc_core.errors import UsageError
from aigc_core.interfaces import Block
from aigc_core.specs import DataInfo

SIZE = 8


def pictures(channels: int) -> Tensor:
    """[8, C, SIZE, SIZE] in -1 .. 1: stripes of each width, either way, from dark to bright or from bright to dark."""
    found = []
    for width in (1, 2, 4):
        stripes = (torch.arange(SIZE) // width % 2 * 2 - 1).float()
        for across in (stripes[:, None].expand(SIZE, SIZE), stripes[None].expand(SIZE, SIZE)):
            found += [across, -across]
    flat = torch.stack(found)[:, None].repeat(1, channels, 1, 1) * 0.8
    if channels == 3:
        flat[::2, 0] += 0.2
        flat[1::2, 2] += 0.2
    return flat


class Known(Denoiser[DenoiserConfig]):
    """D of so many pictures, each as likely as the others: the mean of those that x may come from. Told a label it is of the
    one picture with that number."""

    def __init__(self, channels: int = 1, classes: int = 0) -> None:
        data = pictures(channels)
        details = {"mean": data.mean((0, 2, 3)).tolist(), "deviation": float(data.std())}
        names = tuple(str(i) for i in range(classes))
        config = DenoiserConfig(condition="label" if classes else "none")
        super().__init__(config, DataInfo("image", (channels, SIZE, SIZE), names, details))
        self.points = self.encode(data)

    def network(self, x: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        raise NotImplementedError

    def denoise(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        squares = (x.flatten(1)[:, None] - self.points.flatten(1)).square().sum(2)
        scores = -squares / (2 * sigma[:, None].square())
        if condition.labels is not None:
            others = torch.arange(len(self.points)) != condition.labels[:, None]
            scores = scores.masked_fill(others & (condition.labels < self.classes)[:, None], -torch.inf)
        return (scores.softmax(1) @ self.points.flatten(1)).view(x.shape)


def block(given: Tensor | None = None, size: int = 8, start: int = 0, **more: Any) -> Block:
    images = None if given is None else given[[i % len(given) for i in range(start, start + size)]]
    return Block(seed=1, start=start, size=size, device=torch.device("cpu"), images=images, **more)


def nearest(made: Tensor, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Which of the known pictures each is nearest to, and how far off it is at most."""
    known = pictures(channels)
    distances = (made[:, None] - known).abs().flatten(2).amax(2)
    return distances.argmin(1), distances.amin(1)


def test_what_comes_out_of_noise_are_the_pictures() -> None:
    for sampler in (Multistep(MultistepOptions()), Heun(HeunOptions()), DDIM(DDIMOptions())):
        which, off = nearest(sampler.sample(Known(), block(size=64)))
        assert off.max() < 0.05
        assert len(which.unique()) >= 10, "and they are diverse"


def test_the_same_noise_gives_the_same_pictures_by_all_ways() -> None:
    model = Known()
    heun = Heun(HeunOptions(steps=40)).sample(model, block(size=64))
    for sampler in (Multistep(MultistepOptions(steps=40)), DDIM(DDIMOptions(steps=200))):
        made = sampler.sample(model, block(size=64))
        assert (nearest(made)[0] == nearest(heun)[0]).double().mean() > 0.9


def test_a_label_decides_and_guidance_goes_on_from_there() -> None:
    model = Known(classes=12)
    labels = torch.arange(8)
    made = Multistep(MultistepOptions()).sample(model, block(labels=labels))
    assert nearest(made)[0].tolist() == labels.tolist()
    unasked = Multistep(MultistepOptions()).sample(model, block(size=24))
    assert nearest(unasked)[0].tolist() == [i % 12 for i in range(24)], "each in turn"

    x, level = torch.randn(8, 1, SIZE, SIZE), torch.full((8,), 2.0)
    condition = Condition(labels, None)
    told, untold = (model.denoise(x, level, c) for c in (condition, model.nothing(8, x.device)))
    assert torch.allclose(guided(model, condition, 3.0)(x, 2.0), untold + 3 * (told - untold), atol=1e-5)
    assert torch.equal(guided(model, condition, 1.0)(x, 2.0), told)


def test_what_it_was_never_told_it_cannot_be_told() -> None:
    with pytest.raises(UsageError, match="guidance weighs a condition, and these weights"):
        Multistep(MultistepOptions(guidance=2)).sample(Known(), block())
    with pytest.raises(UsageError, match="trained without labels"):
        Multistep(MultistepOptions()).sample(Known(), block(labels=torch.zeros(8, dtype=torch.int64)))


def test_by_no_strength_it_is_the_picture_and_by_all_of_it_a_new_one() -> None:
    given = pictures(1)[:8]
    noisy = (given + 0.1 * torch.randn(8, 1, SIZE, SIZE)).clamp(-1, 1)

    def made(strength: float) -> Tensor:
        return ImageToImage(ImageToImageOptions(strength=strength)).sample(Known(), block(noisy))

    assert torch.equal(made(0), noisy)
    assert nearest(made(0.3))[0].tolist() == list(range(8)), "the same one"
    assert nearest(made(0.3))[1].max() < 0.05, "without what was noise"
    assert nearest(made(1.0))[0].tolist() != list(range(8))


def test_known_pixels_stay_and_the_others_come_to_fit_them() -> None:
    given = pictures(1)[[2, 3, 6, 7]].repeat(32, 1, 1, 1)
    masks = torch.zeros(128, 1, SIZE, SIZE)
    masks[:, :, 3:, :] = 1
    damaged = torch.where(masks > 0, torch.rand(128, 1, SIZE, SIZE) * 2 - 1, given)

    def fit(rounds: int) -> float:
        made = Restore(RestoreOptions(rounds=rounds, steps=50)).sample(
            Known(), block(damaged, size=128, masks=masks)
        )
        assert torch.equal(torch.where(masks > 0, 0.0, made), torch.where(masks > 0, 0.0, damaged))
        return float(((made - given).abs().flatten(1).amax(1) < 0.05).double().mean())

    assert fit(1) < 0.7
    assert fit(8) > 0.9


def test_without_a_mask_noise_is_taken_out() -> None:
    given = pictures(1)[:8]
    noisy = (given + 0.2 * torch.randn(8, 1, SIZE, SIZE)).clamp(-1, 1)
    made = Restore(RestoreOptions()).sample(Known(), block(noisy))
    assert (made - given).abs().max() < 0.05
    assert torch.equal(Restore(RestoreOptions(noise=0)).sample(Known(), block(noisy)), noisy)


def test_what_is_refined_has_the_means_that_were_given() -> None:
    given = pictures(1)[8:12]  # whose stripes are 4 wide: means of 2x2 squares tell them all
    coarse = torch.nn.functional.avg_pool2d(given, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    made = Refine(RefineOptions()).sample(Known(), block(coarse, size=4))
    assert (made - given).abs().max() < 0.05
    # Squares at the edge may be cut: 8 are two of 3 and one of 2.
    made = Refine(RefineOptions(factor=3)).sample(Known(), block(given, size=4))
    for part in (slice(0, 3), slice(3, 6), slice(6, 8)):
        assert torch.allclose(
            made[:, :, part, part].mean((2, 3)), given[:, :, part, part].mean((2, 3)), atol=0.02
        )


def test_colours_come_to_what_is_grey() -> None:
    given = pictures(3)[:8]
    grey = given.mean(1, keepdim=True).expand_as(given)
    made = Refine(RefineOptions(factor=1, grey=True)).sample(Known(3), block(grey))
    assert (made.mean(1) - grey[:, 0]).abs().max() < 1e-3
    assert (made - given).abs().max() < 0.05, (
        "stripes that begin bright are of another colour than those that begin dark"
    )


def test_a_walk_begins_and_ends_at_its_ends() -> None:
    model, options = Known(), InterpolateOptions(stops=4)
    walk = Interpolate(options).sample(model, block(size=8))
    alone = Heun(HeunOptions()).sample(model, block(size=8))
    assert torch.allclose(walk[0], alone[0], atol=1e-4)
    assert torch.allclose(walk[4], alone[1], atol=1e-4)
    given = pictures(1)[[0, 5]]
    walk = Interpolate(InterpolateOptions(stops=4, steps=60)).sample(model, block(given, size=8))
    assert nearest(walk)[0][[0, 4]].tolist() == [0, 5]
    with pytest.raises(UsageError, match="give --image twice"):
        Interpolate(options).sample(model, block(pictures(1)[:3], size=8))
