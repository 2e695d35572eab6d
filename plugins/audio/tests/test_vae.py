"""The VAEs of sounds: their bound, their conditions, and what their samplers make."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from aigc_audio.config import (
    MelPriorOptions,
    MelReconstructOptions,
    MelVAEConfig,
    PriorOptions,
    RawVAEConfig,
    ReconstructOptions,
    VAETraining,
    VocoderConfig,
)  # fmt: skip
from aigc_audio.vae import PEAK, MelVAE, RawVAE, SoundVAE
from aigc_audio.vae_samplers import Prior, Reconstruct
from aigc_audio.vae_trainer import VAETrainer
from aigc_audio.vocoder import Vocoder
from tiny_sound import INFO, batch, block, digits, equal, fit, new_engine, tone
from torch import distributions

from aigc_core.errors import DataError, UsageError

SHORT = MelPriorOptions(iterations=3)
COPY = MelReconstructOptions(iterations=3)
BOTH = pytest.mark.parametrize("kind", [MelVAE, RawVAE])


def vae(
    kind: type[SoundVAE] = MelVAE, *, conditional: bool = False, seconds: float = 0.5, width: int = 8
) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"conditional": conditional, "seconds": seconds, "latent": 4, "width": width}
    if kind is RawVAE:
        return RawVAE(RawVAEConfig(**settings), INFO)
    return MelVAE(MelVAEConfig(**settings), INFO)


def options(kind: type[SoundVAE]) -> tuple[Any, Any]:
    return (PriorOptions(), ReconstructOptions()) if kind is RawVAE else (SHORT, COPY)


def trainer(model: SoundVAE, count: int = 4, steps: int = 10, **changes: Any) -> VAETrainer:
    return VAETrainer(model, VAETraining(batch_size=count, **changes), new_engine(count, steps))


@BOTH
def test_the_kl_is_that_of_the_two_normals(kind: type[SoundVAE]) -> None:
    model, given = vae(kind, conditional=True), batch()
    torch.nn.init.normal_(model.prior_mean)
    torch.nn.init.normal_(model.prior_log_variance)
    x = model.hear(model.prepared(given.x)[0])
    q = distributions.Normal(*_normal(*model.encode(x, given.labels)))
    p = distributions.Normal(*_normal(*model.prior(given.labels, 4)))
    made, kl = model(x, given.labels, torch.randn(4, 4))
    assert torch.allclose(kl, distributions.kl_divergence(q, p).sum(1), rtol=1e-4)
    assert made.shape == x.shape


def _normal(mean: torch.Tensor, log_variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return mean, (0.5 * log_variance).exp()


@BOTH
def test_the_bound_improves(kind: type[SoundVAE]) -> None:
    model = vae(kind, width=16)
    found = fit(trainer(model, count=16, steps=25, lr=5e-3), digits(16), 25)
    assert found[-1]["loss"] < found[0]["loss"] - 10
    assert found[-1]["l1"] < found[0]["l1"]


def test_every_parameter_is_fitted() -> None:
    for kind in (MelVAE, RawVAE):
        model = vae(kind, conditional=True)
        fit(trainer(model), batch(), 1)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_state_goes_on_where_it_was() -> None:
    whole, first = trainer(vae(), steps=4), trainer(vae(), steps=4)
    fit(whole, batch(), 4)
    fit(first, batch(), 3)
    then = trainer(vae(), steps=4)
    then.load_state_dict(first.state_dict())
    fit(then, batch(), 1, first=3)
    assert equal(then.state_dict(), whole.state_dict())


def test_a_conditional_one_needs_labels_and_another_takes_none() -> None:
    without = dataclasses.replace(INFO, classes=())
    with pytest.raises(DataError, match="needs data with classes"):
        MelVAE(MelVAEConfig(conditional=True), without)
    with pytest.raises(UsageError, match="without labels"):
        Prior(SHORT).sample(vae(), block(2, labels=torch.tensor([0, 1])))


@torch.inference_mode()
def test_labels_choose_what_is_made() -> None:
    model = vae(conditional=True).eval()
    torch.nn.init.normal_(model.decoder.classes.weight)
    made = Prior(SHORT).sample(model, block(4, labels=torch.tensor([1, 1, 1, 1])))
    other = Prior(SHORT).sample(model, block(4, labels=torch.tensor([1, 0, 1, 0])))
    assert torch.equal(made[::2], other[::2])
    assert not torch.equal(made[1::2], other[1::2])
    in_turn = Prior(SHORT).sample(model, block(4))
    assert torch.equal(in_turn, Prior(SHORT).sample(model, block(4, labels=torch.tensor([0, 1, 0, 1]))))


@torch.inference_mode()
@BOTH
def test_samples_are_of_one_length_and_the_same_however_many_are_wanted(kind: type[SoundVAE]) -> None:
    model = vae(kind).eval()
    prior, copy = options(kind)
    sounds = [tone(200, 2345), tone(300, 60), tone(250, 4000), tone(350, 9000)]
    made = Prior(prior).sample(model, block(4))
    copies = Reconstruct(copy).sample(model, block(4, sounds))
    for both in (made, copies):
        assert both.shape == (4, 1, 4000)
        assert both.isfinite().all()
        assert float(both.abs().max()) < 10
    one = Prior(prior).sample(model, block(4, wanted=range(2, 3)))
    assert torch.equal(one[2], made[2])
    for row in range(4):
        alone = Reconstruct(copy).sample(model, block(4, [sounds[row]], wanted=range(row, row + 1)))
        assert torch.equal(alone[row], copies[row])


@torch.inference_mode()
def test_a_copy_is_as_loud_as_what_is_given() -> None:
    model = vae().eval()
    loud, faint = (
        Reconstruct(COPY).sample(model, block(1, [tone(200, 4000, loudness)])) for loudness in (0.4, 0.004)
    )
    assert float(faint.abs().max()) == pytest.approx(float(loud.abs().max()) / 100, rel=1e-3)


def test_what_is_heard_has_one_loudness_and_silence_stays_silence() -> None:
    model = vae()
    x = torch.stack([tone(200, 3000, 0.01), torch.zeros(3000)])[:, None]
    x[0, 0, 2500:] = torch.nan
    prepared, gain = model.prepared(x)
    assert prepared.shape == (2, 4000)
    assert prepared.isfinite().all()
    assert float(prepared[0].abs().max()) == pytest.approx(PEAK)
    assert torch.equal(prepared[1], torch.zeros(4000))
    assert float(gain[1]) == 1


@torch.inference_mode()
def test_temperature_nought_makes_one_sound_a_class() -> None:
    model = vae(RawVAE).eval()
    made = Prior(PriorOptions(temperature=0)).sample(model, block(4))
    assert torch.equal(made[0], made[3])
    assert not torch.equal(*Prior(PriorOptions()).sample(model, block(2)))


@torch.inference_mode()
def test_a_vocoder_can_make_the_sound_and_must_be_of_the_same_rate() -> None:
    model = vae().eval()
    tiny = VocoderConfig(width=8, layers=1, rounds=2)
    named = MelPriorOptions(vocoder="voice")
    vocoder = Vocoder(tiny, INFO).eval()
    made = Prior(named).sample(model, block(2, parts={"vocoder": vocoder}))
    assert made.shape == (2, 1, 4000)
    assert not torch.equal(made, Prior(SHORT).sample(model, block(2)))
    other = Vocoder(tiny, dataclasses.replace(INFO, details={"sample_rate": 16000})).eval()
    with pytest.raises(UsageError, match="16000 Hz"):
        Prior(named).sample(model, block(2, parts={"vocoder": other}))


@torch.inference_mode()
@BOTH
def test_each_sample_shows_its_spectrogram(kind: type[SoundVAE]) -> None:
    pictures: dict[int, Any] = {}
    Prior(options(kind)[0]).sample(vae(kind).eval(), block(3, pictures=pictures, wanted=range(1, 3)))
    assert pictures.keys() == {1, 2}
    assert all(picture.ndim == 3 for picture in pictures.values())


@BOTH
@pytest.mark.parametrize("case", ["shorter than a window", "silent", "one sound", "all equal"])
def test_strange_sounds_train_to_numbers(kind: type[SoundVAE], case: str) -> None:
    given = batch(samples=300) if case == "shorter than a window" else batch()
    changes = {
        "silent": {"x": torch.zeros_like(given.x)},
        "one sound": {"x": given.x[:1], "index": given.index[:1]},
        "all equal": {"x": given.x[:1].expand_as(given.x).contiguous()},
    }
    given = dataclasses.replace(given, **changes.get(case, {}))
    fitted = trainer(vae(kind), count=len(given))
    for step in fit(fitted, given, 3):
        assert all(torch.isfinite(torch.tensor(value)) for value in step.values())


@torch.inference_mode()
@BOTH
@pytest.mark.parametrize(
    ("rate", "seconds"), [(8000, 0.05), (8000, 0.07), (100, 1.0), (44100, 0.2), (1, 3.0)]
)
def test_any_length_has_a_network(kind: type[SoundVAE], rate: int, seconds: float) -> None:
    info = dataclasses.replace(INFO, details={"sample_rate": rate})
    config = MelVAEConfig if kind is MelVAE else RawVAEConfig
    model = kind(config(seconds=seconds, latent=2, width=4), info).eval()
    x = model.hear(model.prepared(torch.randn(2, 1, 777))[0])
    made, _ = model(x, None, torch.randn(2, 2))
    assert made.shape == x.shape == (2, model.channels, model.length)
    assert Prior(options(kind)[0]).sample(model, block(2)).shape == (2, 1, model.samples)
