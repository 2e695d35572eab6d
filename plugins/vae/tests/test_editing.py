"""How given pictures are changed: what is known of them stays, and classes are gone to by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aigc_vae.config import AttributeOptions, ConvConfig, MLPConfig, RestoreOptions, VAETraining
from aigc_vae.editing import Attribute, Restore
from aigc_vae.mlp import MLPVAE
from aigc_vae.trainer import VAETrainer
from torch import Tensor

from aigc_core.data import Batches, open_data
from aigc_core.errors import UsageError
from aigc_core.interfaces import Block
from aigc_core.registry import default
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine


def silent(items: Any, count: int, label: str) -> Any:
    return items


@pytest.fixture(scope="module")
def trained() -> tuple[MLPVAE, dict[str, Tensor]]:
    """A VAE of digits, and what its trainer keeps for `attribute`."""
    torch.manual_seed(0)
    digits = open_data("digits", default())
    model = MLPVAE(MLPConfig(hidden=(128,), latent=8), digits.info)
    engine = AccelerateEngine(0, 64, 600, cpu=True)
    trainer = VAETrainer(model, VAETraining(two_stage_steps=1, gmm_components=1), engine)
    batches = Batches(digits, 64, 0, model.output, engine.device)
    for step, batch in enumerate(batches.steps(0, 600)):
        engine.begin(step)
        trainer.step(batch)
    model.eval()
    return model, dict(trainer.fitted(model, digits, seed=0, track=silent)["attribute"])


def some(count: int = 16) -> tuple[Tensor, Tensor]:
    x, labels = open_data("digits", default()).fetch(torch.arange(count))
    assert labels is not None
    return x.float() / 255, labels


def block(images: Tensor, masks: Tensor | None = None, **more: Any) -> Block:
    return Block(0, 0, len(images), torch.device("cpu"), images=images, masks=masks, **more)


def restored(model: MLPVAE, images: Tensor, masks: Tensor | None, rounds: int = 20) -> Tensor:
    with torch.inference_mode():
        return Restore(RestoreOptions(rounds=rounds)).sample(model, block(images, masks))


def test_what_is_not_masked_stays_bit_for_bit(trained: tuple[MLPVAE, Any]) -> None:
    x, _ = some()
    masks = (torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    made = restored(trained[0], x, masks)
    assert torch.equal(made[masks == 0], x[masks == 0])
    assert not torch.equal(made[masks == 1], x[masks == 1])


def test_what_is_masked_is_not_looked_at_and_comes_back(trained: tuple[MLPVAE, Any]) -> None:
    x, _ = some(64)
    masks = torch.zeros(64, 1, 8, 8)
    masks[:, :, 5:] = 1
    made = restored(trained[0], x, masks)
    spoilt = torch.where(masks > 0, torch.ones_like(x), x)
    assert torch.equal(restored(trained[0], spoilt, masks), made)
    usual = x.mean(0, keepdim=True).expand_as(x)
    ours, theirs = (float((a - x).square()[masks == 1].mean()) for a in (made, usual))
    assert ours < 0.8 * theirs


def test_without_a_mask_a_picture_goes_through_the_latent_once(trained: tuple[MLPVAE, Any]) -> None:
    model, (x, _) = trained[0], some()
    with torch.inference_mode():
        expected = model.decode(model.encode(x)[0])
    assert torch.equal(restored(model, x, None), expected)


def changed(model: MLPVAE, fitted: dict[str, Tensor], images: Tensor, **options: Any) -> Tensor:
    with torch.inference_mode():
        return Attribute(AttributeOptions(**options)).sample(model, block(images, fitted=fitted))


def test_a_digit_becomes_another_one(trained: tuple[MLPVAE, dict[str, Tensor]]) -> None:
    model, fitted = trained
    x, labels = some(200)
    zeros = x[labels == 0]
    made = changed(model, fitted, zeros, from_label="0", to_label="7")
    with torch.inference_mode():
        z, _ = model.encode(zeros)
        expected = model.decode(z + fitted["means"][7] - fitted["means"][0])
        torch.testing.assert_close(made, expected)
        near = (model.encode(made)[0][:, None] - fitted["means"]).square().sum(2).argmin(1)
    assert (near == 7).float().mean() > 0.7


def test_strength_0_is_a_copy_and_by_default_each_class_is_gone_to(trained: tuple[MLPVAE, Any]) -> None:
    model, fitted = trained
    x, _ = some(20)
    with torch.inference_mode():
        copy = model.decode(model.encode(x)[0])
    torch.testing.assert_close(changed(model, fitted, x, strength=0.0), copy)
    one = x[:1].expand(20, -1, -1, -1)
    turned = changed(model, fitted, one)
    torch.testing.assert_close(turned[:10], turned[10:])
    assert len({tuple(row.flatten().tolist()) for row in turned[:10]}) == 10


def test_an_unknown_class_and_a_class_without_pictures_are_named(trained: tuple[MLPVAE, Any]) -> None:
    model, fitted = trained
    x, _ = some(2)
    with pytest.raises(UsageError, match="to_label: no class 'seven'; there are: 0, 1, 2"):
        changed(model, fitted, x, to_label="seven")
    lacking = fitted | {"counts": fitted["counts"].clone().index_fill(0, torch.tensor([7]), 0)}
    with pytest.raises(UsageError, match="no picture of class '7' was trained on"):
        changed(model, lacking, x, to_label="7")


def test_without_classes_there_is_no_attribute_to_change() -> None:
    model = MLPVAE(MLPConfig(hidden=(8,), latent=2), DataInfo("image", (1, 8, 8))).eval()
    fitted = {"means": torch.zeros(0, 2), "counts": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(UsageError, match="were trained on pictures without classes; train on a folder"):
        changed(model, fitted, torch.zeros(2, 1, 8, 8))


def test_a_model_that_is_told_classes_decodes_as_the_one_that_is_gone_to() -> None:
    from aigc_vae.conditional import ConditionalVAE

    torch.manual_seed(0)
    model = ConditionalVAE(ConvConfig(width=8, latent=2), DataInfo("image", (1, 8, 8), ("a", "b"))).eval()
    fitted = {"means": torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "counts": torch.ones(2, dtype=torch.int64)}
    x = torch.rand(4, 1, 8, 8)
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    with torch.inference_mode():
        made = Attribute(AttributeOptions(from_label="a", to_label="b")).sample(
            model, block(x, fitted=fitted)
        )
        expected = model.decode(model.encode(x, zeros)[0] + torch.tensor([1.0, -1.0]), ones)
    torch.testing.assert_close(made, expected)
