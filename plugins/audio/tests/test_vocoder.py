"""The vocoder: what it makes of a mel spectrogram, how it is fitted, and copy-synthesis."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from aigc_audio.config import CopyOptions, VocoderConfig, VocoderTraining
from aigc_audio.mel import SILENCE
from aigc_audio.spectral import distance
from aigc_audio.vocoder import Vocoder
from aigc_audio.vocoder_critics import Critics
from aigc_audio.vocoder_samplers import Copy, mel_of
from aigc_audio.vocoder_trainer import VocoderTrainer, schedule
from tiny_sound import INFO, RATE, batch, block, digits, equal, fit, new_engine, tone

from aigc_core.errors import UsageError
from aigc_core.interfaces import Batch

TRAINING = VocoderTraining(batch_size=4, critic_width=2, segment=0.2, sounds_from=0.25, adversarial_from=0.5)


def vocoder(rounds: int = 4) -> Vocoder:
    torch.manual_seed(0)
    made = Vocoder(VocoderConfig(width=16, layers=1, rounds=rounds), INFO)
    for trunk in (made.first, made.second):
        torch.nn.init.normal_(trunk.head.weight, std=0.01)
    return made


def trainer(options: VocoderTraining = TRAINING, steps: int = 10) -> VocoderTrainer:
    return VocoderTrainer(vocoder(), options, new_engine(options.batch_size, steps))


def test_a_sound_is_as_long_as_its_frames() -> None:
    model = vocoder().eval()
    for frames in (1, 2, 3, 50):
        mel = torch.randn(2, model.mel_settings.bands, frames)
        assert model.vocode(mel, 2).shape == (2, (frames - 1) * model.mel_settings.hop)


def test_an_untrained_one_is_griffin_lim() -> None:
    """Both heads begin with nothing, so that training begins with what is known."""
    model = Vocoder(VocoderConfig(width=16, layers=1, rounds=30), INFO).eval()
    sound = tone(300, 4000)
    mel = mel_of(model, sound)
    with torch.inference_mode():
        made = model.vocode(mel[None], 30)
    assert float((model.mel(made)[0] - mel).abs().mean()) < 0.2
    assert float((made[0] - sound).norm() / sound.norm()) > 0.1  # the phases are its own


def test_magnitudes_are_learned_then_sounds_then_against_critics() -> None:
    fitted = trainer(TRAINING.model_copy(update={"lr": 5e-3}), steps=20)
    given = digits(4)
    found = fit(fitted, given, 20)
    assert [("spectra" in step) for step in found] == [False] * 5 + [
        True
    ] * 15  # and the eighth of each eight
    assert [("critic_loss" in step) for step in found] == [False] * 10 + [True] * 10
    assert all(torch.isfinite(torch.tensor(list(step.values()))).all() for step in found)
    assert found[-1]["critic_loss"] < found[10]["critic_loss"]
    real = given.x[:, 0]

    def off(model: Vocoder) -> float:
        with torch.inference_mode():
            mel = model.mel(real)
            return float(distance(model(mel, sounds=False)[1], model.mel.magnitudes(real)).mean())

    assert off(fitted.generator) < off(vocoder()) - 0.1


def test_every_parameter_is_fitted() -> None:
    fitted = trainer(TRAINING.model_copy(update={"adversarial_from": 0.0}))
    fit(fitted, digits(4), 1)
    for network in (fitted.generator, fitted.critics):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_state_goes_on_where_it_was() -> None:
    whole, first = trainer(steps=4), trainer(steps=4)
    fit(whole, batch(), 4)
    fit(first, batch(), 3)
    then = trainer(steps=4)
    then.load_state_dict(first.state_dict())
    fit(then, batch(), 1, first=3)
    assert equal(then.state_dict(), whole.state_dict())


def test_pieces_lie_within_the_sounds_and_are_those_of_the_step() -> None:
    fitted = trainer()
    given = batch()
    fitted.engine.begin(3)  # type: ignore[attr-defined]
    pieces = fitted.pieces(given)
    assert pieces.shape == (4, round(TRAINING.segment * RATE))
    assert (pieces.abs().amax(1) > 0).all()
    assert (pieces[:, -200:].abs().amax(1) > 0).all(), "silence that was added was cut out"
    fitted.engine.begin(3)  # type: ignore[attr-defined]
    assert torch.equal(pieces, fitted.pieces(given))
    fitted.engine.begin(4)  # type: ignore[attr-defined]
    assert not torch.equal(pieces, fitted.pieces(given))


@pytest.mark.parametrize("kind", ["shorter than a window", "silent", "one sound", "all equal", "no lengths"])
def test_strange_sounds_train_to_numbers(kind: str) -> None:
    given = batch(samples=300) if kind == "shorter than a window" else batch()
    changes = {
        "silent": {"x": torch.zeros_like(given.x)},
        "one sound": {"x": given.x[:1], "index": given.index[:1], "extras": {}},
        "all equal": {"x": given.x[:1].expand_as(given.x).contiguous()},
        "no lengths": {"extras": {}},
    }
    given = dataclasses.replace(given, **changes.get(kind, {}))
    fitted = trainer(TRAINING.model_copy(update={"adversarial_from": 0.0, "batch_size": len(given)}))
    for step in fit(fitted, given, 2):
        assert all(torch.isfinite(torch.tensor(value)) for value in step.values())
    for parameter in fitted.result().parameters():
        assert parameter.isfinite().all()


@torch.inference_mode()
def test_copies_are_as_long_as_what_is_given_and_the_same_beside_others() -> None:
    model = vocoder().eval()
    sounds = [tone(200, 2345), tone(300, 700), tone(250, 5), tone(350, 4001)]
    made = Copy(CopyOptions(rounds=4)).sample(model, block(4, sounds))
    assert made.shape == (4, 1, 4001)
    for row, sound in enumerate(sounds):
        assert made[row, 0, : len(sound)].isfinite().all()
        assert made[row, 0, len(sound) :].isnan().all()
        alone = Copy(CopyOptions(rounds=4)).sample(model, block(4, [sound], wanted=range(row, row + 1)))
        assert torch.equal(alone[row, 0, : len(sound)], made[row, 0, : len(sound)])
        assert float(made.nan_to_num().abs().max()) < 10


def test_a_sound_of_no_length_is_refused() -> None:
    with pytest.raises(UsageError, match="no length"):
        Copy(CopyOptions(rounds=4)).sample(vocoder(), block(2, [tone(200, 500), torch.zeros(0)]))


@torch.inference_mode()
def test_a_copy_shows_its_spectrogram() -> None:
    pictures: dict[int, object] = {}
    Copy(CopyOptions(rounds=4)).sample(vocoder().eval(), block(2, [tone(200, 500)], pictures=pictures))
    assert pictures.keys() == {0, 1}


def test_silence_stays_silent() -> None:
    model = vocoder().eval()
    with torch.inference_mode():
        made = model.vocode(torch.full((1, model.mel_settings.bands, 20), SILENCE))
    assert made.isfinite().all()
    assert float(made.abs().max()) < 1e-2


@pytest.mark.parametrize("rate", [1, 100, 8000, 44100])
def test_any_rate_has_critics_and_frames(rate: int) -> None:
    info = dataclasses.replace(INFO, details={"sample_rate": rate})
    model = Vocoder(VocoderConfig(width=8, layers=1, rounds=1), info).eval()
    made = model.vocode(torch.zeros(1, model.mel_settings.bands, 4))
    assert made.isfinite().all()
    assert len(Critics(rate, 1)(torch.randn(1, 200))) == 8


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [schedule(step / 1000) for step in range(1000)]
    assert 0 < rates[0] < rates[19] <= 1
    assert rates[20] > rates[500] > rates[-1] > 0


def test_batches_are_needed_only_with_sounds() -> None:
    """Labels and speakers change nothing."""
    plain, labelled = trainer(), trainer()
    given = batch()
    fit(labelled, given, 1)
    fit(plain, Batch(given.x, given.index, None, {"length": given.extras["length"]}), 1)
    assert equal(plain.state_dict(), labelled.state_dict())
