"""The VQ-VAE: its codebook, its prior over the codes, and what its samplers make of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from aigc_vae.config import (
    VQConfig,
    VQPriorOptions,
    VQReconstructOptions,
    VQRestoreOptions,
    VQTraining,
)
from aigc_vae.vq import VQVAE
from aigc_vae.vq_codebook import CodebookAverage, nearest
from aigc_vae.vq_prior import CodePrior, log_likelihood, pick
from aigc_vae.vq_samplers import VQPrior, VQReconstruct, VQRestore
from aigc_vae.vq_trainer import VQTrainer
from torch import Tensor

from aigc_core.errors import UsageError
from aigc_core.interfaces import Batch, Block
from aigc_core.options import parse
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.settings import Settings

SMALL: dict[str, Any] = {
    "codes": 16, "code_size": 8, "width": 8, "blocks": 1,
    "prior_width": 32, "prior_layers": 2, "prior_heads": 2,
}  # fmt: skip


def model(shape: tuple[int, int, int] = (1, 8, 8), **changes: Any) -> VQVAE:
    """A small one; its codebook is set."""
    torch.manual_seed(0)
    made = VQVAE(VQConfig(**{**SMALL, **changes}), DataInfo("image", shape))
    made.codebook.normal_()
    return made.eval()


def pictures(count: int = 16, shape: tuple[int, int, int] = (1, 8, 8)) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def block(start: int = 0, size: int = 8, **given: Any) -> Block:
    return Block(3, start, size, torch.device("cpu"), **given)


def new_trainer(
    network: VQVAE, count: int, steps: int, parts: int = 1, **changes: Any
) -> tuple[VQTrainer, AccelerateEngine]:
    settings = Settings(precision="fp32", cpu=True, accumulate=parts)
    engine = AccelerateEngine(0, count, steps, settings=settings)
    return VQTrainer(network.train(), VQTraining(batch_size=count, **changes), engine), engine


def fit(trainer: VQTrainer, engine: AccelerateEngine, x: Tensor, steps: range) -> list[dict[str, float]]:
    """Trains on the same batch again and again; the metrics of each step."""
    told = []
    for step in steps:
        engine.begin(step)
        metrics = trainer.step(Batch(x, torch.arange(len(x))))
        told.append({name: float(value) for name, value in metrics.items()})
    return told


# the codebook


def test_each_vector_gets_the_nearest_code() -> None:
    vectors, codebook = torch.randn(50, 8), torch.randn(16, 8)
    assert torch.equal(nearest(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))


def test_the_codebook_is_the_moving_average_of_what_got_each_code() -> None:
    torch.manual_seed(0)
    first = torch.randn(4, 8, dtype=torch.float64)
    codebook = first.clone()
    average = CodebookAverage(codebook, 6, decay=0.9, restart=0.0)
    usage, total = torch.full((4,), 1 / 4, dtype=torch.float64), first / 4
    for _ in range(5):
        vectors, codes = torch.randn(6, 3, 8, dtype=torch.float64), torch.randint(0, 4, (6, 3))
        average.add(vectors, codes, torch.randn(6, 2))
        average.update(lambda value: value)
        for code in range(4):
            mine = vectors[codes == code]
            usage[code] = 0.9 * usage[code] + 0.1 * len(mine) / 18
            total[code] = 0.9 * total[code] + 0.1 * mine.sum(0) / 18
        torch.testing.assert_close(codebook, total / usage[:, None])
    assert not torch.allclose(codebook, first, atol=0.1)


def test_the_codebook_does_not_depend_on_how_a_batch_is_shared() -> None:
    """Four parts, and two processes of which each has half, come to the same; so do the codes that are restarted."""
    vectors, codes = torch.randn(12, 3, 8).double(), torch.randint(0, 4, (12, 3))
    noise = torch.randn(12, 2)

    def new() -> tuple[Tensor, CodebookAverage]:
        codebook = torch.zeros(16, 8).double()
        return codebook, CodebookAverage(codebook, 12, 0.9, 0.05)

    def halves(*rows: slice) -> CodebookAverage:
        _, average = new()
        for row in rows:
            average.add(vectors[row], codes[row], noise[row])
        return average

    whole, average = new()
    average.add(vectors, codes, noise)
    average.update(lambda value: value)
    parts, average = new()
    for row in range(0, 12, 3):
        average.add(vectors[row : row + 3], codes[row : row + 3], noise[row : row + 3])
    average.update(lambda value: value)
    torch.testing.assert_close(parts, whole)

    told: list[Tensor] = []
    other = halves(slice(6, 12))
    other.update(lambda value: told.append(value) or value)  # type: ignore[func-returns-value]
    shared, average = new()
    average.add(vectors[:6], codes[:6], noise[:6])
    average.update(lambda value: (value + told[0]) / 2)
    torch.testing.assert_close(shared, whole)
    assert (whole != 0).any(1).sum() > 8


def test_dead_codes_begin_anew_at_vectors_of_the_batch() -> None:
    torch.manual_seed(0)
    codebook = torch.randn(8, 4)
    far = codebook[3] = torch.full((4,), 100.0)
    average = CodebookAverage(codebook, 16, decay=0.5, restart=0.1)
    used: list[int] = []
    for _ in range(12):
        vectors = torch.randn(16, 5, 4)
        codes = nearest(vectors.flatten(0, 1), codebook).view(16, 5)
        average.add(vectors, codes, torch.randn(16, 2))
        before = codebook.clone()
        average.update(lambda value: value)
        used.append(len(codes.unique()))
        if not torch.equal(before[3], far) or torch.allclose(codebook[3], far):
            continue
        distances = (vectors.flatten(0, 1) - codebook[3]).norm(dim=1)
        assert distances.min() < 1e-5, "it is one of the batch's vectors"
    assert not torch.allclose(codebook[3], far)
    assert used[-1] == 8


def test_without_restarts_a_dead_code_stays() -> None:
    codebook = torch.randn(8, 4)
    codebook[3] = 100
    average = CodebookAverage(codebook, 16, decay=0.5, restart=0.0)
    for _ in range(12):
        vectors = torch.randn(16, 5, 4)
        average.add(vectors, nearest(vectors.flatten(0, 1), codebook).view(16, 5), torch.randn(16, 2))
        average.update(lambda value: value)
    torch.testing.assert_close(codebook[3], torch.full((4,), 100.0))


# the prior


def test_a_code_is_told_only_what_comes_before_it() -> None:
    prior = model().prior.double()  # what a far place is told is little, before it has learnt
    codes = torch.randint(0, 16, (3, 16))
    logits = prior(codes)
    for place in (0, 7, 15):
        other = codes.clone()
        other[:, place] = (other[:, place] + 1) % 16
        changed = (prior(other) - logits).abs().amax((0, 2)) > 1e-13
        assert not changed[: place + 1].any()
        assert changed[place + 1 :].all()


def test_codes_drawn_with_kept_keys_have_the_logits_of_a_whole_pass() -> None:
    prior = model().prior
    seen: list[Tensor] = []
    uniform = torch.rand(5, 16)

    def choose(place: int, logits: Tensor) -> Tensor:
        seen.append(logits)
        return pick(logits, uniform[:, place], 1.0, 0)

    with torch.inference_mode():
        codes = prior.draw(5, choose)
        torch.testing.assert_close(torch.stack(seen, 1), prior(codes), rtol=1e-4, atol=1e-5)
    assert len(codes.unique()) > 4


def test_the_log_likelihood_is_that_of_a_distribution() -> None:
    """Of all sequences of two codes the probabilities add up to 1."""
    torch.manual_seed(0)
    prior = CodePrior(3, 1, 2, 16, 2, 1)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    assert log_likelihood(prior(every), every).exp().sum().item() == pytest.approx(1, rel=1e-5)


def test_picks_have_the_frequencies_of_the_distribution() -> None:
    logits = torch.tensor([1.0, -1.0, 0.0, -40.0]).expand(4000, 4)
    uniform = (torch.arange(4000) + 0.5) / 4000
    for temperature in (1.0, 0.5):
        drawn = pick(logits, uniform, temperature, 0).bincount(minlength=4) / 4000
        torch.testing.assert_close(drawn, (logits[0] / temperature).softmax(0), rtol=0, atol=1e-3)
    assert set(pick(logits, uniform, 1.0, 2).tolist()) == {0, 2}
    assert set(pick(logits, uniform, 0, 0).tolist()) == {0}
    assert pick(logits[:1], torch.ones(1), 1.0, 0).tolist() == [2], "never what can't be"


# the samplers


def test_reconstruct_gives_what_encode_and_decode_give(fitted: tuple[VQVAE, Any, Tensor]) -> None:
    network, x = fitted[0], fitted[2][:8]
    with torch.inference_mode():
        made = VQReconstruct(VQReconstructOptions()).sample(network, block(images=x))
        codes = network.encode(x)
        assert torch.equal(made, network.decode(codes))
    assert codes.shape == (8, network.places)
    assert len(codes.unique()) > 2


def test_temperature_0_gives_one_picture_whatever_the_seed() -> None:
    network = model()
    with torch.inference_mode():
        made = VQPrior(VQPriorOptions(temperature=0)).sample(network, block())
        drawn = VQPrior(VQPriorOptions()).sample(network, block())
    assert torch.equal(made, made[:1].expand_as(made))
    assert not torch.allclose(drawn[0], drawn[1])


def test_restoring_keeps_every_known_pixel_and_fills_the_rest() -> None:
    network, x = model(), pictures(4)
    mask = torch.zeros(4, 1, 8, 8)
    mask[:, :, 3:, 2:6] = 1
    options = VQRestoreOptions(tries=3)
    with torch.inference_mode():
        made = VQRestore(options).sample(network, block(size=4, images=x, masks=mask))
        garbage = x.where(mask == 0, torch.ones(()))
        again = VQRestore(options).sample(network, block(size=4, images=garbage, masks=mask))
        plain = VQRestore(options).sample(network, block(size=4, images=x))
        everything = VQRestore(options).sample(network, block(size=4, images=x, masks=torch.ones_like(mask)))
        assert torch.equal(plain, network.decode(network.encode(x)))
    assert torch.equal(made.where(mask == 0, torch.zeros(())), x.where(mask == 0, torch.zeros(())))
    assert not torch.equal(made.where(mask == 1, torch.zeros(())), x.where(mask == 1, torch.zeros(())))
    torch.testing.assert_close(made, again, msg="what the mask covers is not looked at")
    assert torch.isfinite(everything).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_cells_are_those_that_the_mask_touches() -> None:
    network = model((1, 8, 8))
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 3, 6] = 1
    assert network.cells(mask).nonzero().tolist() == [[0, 1 * 4 + 3]]


# training


@pytest.fixture(scope="module")
def fitted() -> tuple[VQVAE, list[dict[str, float]], Tensor]:
    """Sixteen pictures, learnt by heart."""
    x = (pictures(16, (1, 4, 4)) > 0.5).float().repeat_interleave(2, 2).repeat_interleave(2, 3)
    network = model()
    network.codebook.zero_()
    trainer, engine = new_trainer(network, 16, 400, autoencoder=0.5)
    told = fit(trainer, engine, x, range(400))
    kept = trainer.result()
    assert isinstance(kept, VQVAE)
    return kept.eval(), told, x


def test_a_tiny_set_is_learnt_by_heart(fitted: tuple[VQVAE, list[dict[str, float]], Tensor]) -> None:
    network, told, x = fitted
    with torch.inference_mode():
        made = network.decode(network.encode(x))
        assert (made - x).square().mean() < 0.005
        codes = network.encode(x)
        assert log_likelihood(network.prior(codes), codes).mean() > -6, "-2.8 is the most, -44 is chance"
        drawn = VQPrior(VQPriorOptions()).sample(network, block(size=64))
        away = (drawn[:, None] - made[None]).square().mean((2, 3, 4)).min(1).values
        assert (away < 0.02).float().mean() > 0.4, (
            "many samples are pictures that it was shown; by chance none would be"
        )
        nearest_ = (drawn[:, None] - made[None]).square().mean((2, 3, 4)).argmin(1)
    assert len(nearest_.unique()) > 8
    assert told[199]["squared_error"] < 0.3 * told[0]["squared_error"]
    assert network.variance < 0.05


def test_the_bound_falls(fitted: tuple[VQVAE, list[dict[str, float]], Tensor]) -> None:
    network, _, x = fitted
    with torch.inference_mode():
        learnt, untrained = network.negative_log_likelihood(x), model().negative_log_likelihood(x)
        other = network.negative_log_likelihood((pictures(16) > 0.3).float())
    assert learnt.shape == (16,)
    assert learnt.mean() < untrained.mean() - 10
    assert learnt.mean() < other.mean()


def test_the_codes_stay_as_they_are_while_the_prior_is_fitted() -> None:
    network, x = model(), pictures()
    trainer, engine = new_trainer(network, 16, 20, autoencoder=0.5)

    def state() -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in network.state_dict().items()}

    before, _ = state(), fit(trainer, engine, x, range(10))
    half, _ = state(), fit(trainer, engine, x, range(10, 20))
    after = state()
    for name in before:
        moved = [not torch.equal(a[name], b[name]) for a, b in pairwise((before, half, after))]
        assert moved == [True, name.startswith("prior.")], name


def test_a_batch_in_parts_is_the_batch() -> None:
    x = pictures(16)
    states = []
    for parts in (1, 4):
        network = model().double()
        network.codebook.zero_()
        trainer, engine = new_trainer(network, 16, 8, parts, autoencoder=0.7)
        for step in range(8):
            for part in range(parts):
                rows = engine.chunk(part)
                engine.begin(step, part)
                with engine.part(part):
                    trainer.step(Batch(x[rows].double(), torch.arange(16)[rows]))
        states.append(network.state_dict())
    for name, tensor in states[0].items():
        # The variance of the pixels is each part's own in the loss, so that the rest is not quite the same.
        torch.testing.assert_close(tensor, states[1][name], rtol=0.05, atol=0.02, msg=name)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 11, 17), (4, 8, 40), (1, 92, 112)])
def test_any_shape_is_a_small_grid_of_codes(shape: tuple[int, int, int]) -> None:
    network = model(shape)
    assert max(network.rows, network.columns) <= 8
    with torch.inference_mode():
        codes = network.encode(pictures(2, shape))
        assert codes.shape == (2, network.rows * network.columns)
        assert network.decode(codes).shape == (2, *shape)


@pytest.mark.parametrize("x", [torch.full((8, 1, 8, 8), 0.3), torch.zeros(8, 1, 8, 8)], ids=["grey", "black"])
def test_pictures_that_are_all_the_same_are_learnt(x: Tensor) -> None:
    network = model()
    network.codebook.zero_()
    trainer, engine = new_trainer(network, 8, 200)
    told = fit(trainer, engine, x, range(200))
    assert all(torch.isfinite(torch.tensor(list(metrics.values()))).all() for metrics in told)
    with torch.inference_mode():
        drawn = VQPrior(VQPriorOptions()).sample(trainer.generator.eval(), block())
    torch.testing.assert_close(drawn, x, rtol=0, atol=0.1)


def test_what_does_not_fit_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match="prior_heads must divide prior_width"):
        parse({"model": VQConfig}, {"prior_width": 100, "prior_heads": 3}, "vae/vq")
