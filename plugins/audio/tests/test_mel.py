"""Mel spectrograms and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aigc_audio.griffin_lim import griffin_lim, spectrum
from aigc_audio.mel import SILENCE, Mel, compress, expand, mel_filters, settings_of


def voice(rate: int, seconds: float = 0.6) -> torch.Tensor:
    """[1, T]: a tone with overtones that glides, as a vowel does."""
    t = torch.arange(round(rate * seconds)) / rate
    pitch = 2 * torch.pi * (120 * t + 20 * t.square())
    sound = sum(torch.sin(k * pitch) / k for k in range(1, 20) if 150 * k < rate / 2)
    assert isinstance(sound, torch.Tensor)
    return (0.2 * sound * torch.sin(torch.pi * t / seconds))[None]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_mels_are_librosas(rate: int) -> None:
    librosa = pytest.importorskip("librosa")
    s, sound = settings_of(rate), voice(rate)
    theirs = librosa.feature.melspectrogram(
        y=sound[0].numpy(), sr=rate, n_fft=s.fft, hop_length=s.hop, win_length=s.window, n_mels=s.bands, power=1.0
    )  # fmt: skip
    ours = Mel(s).bands(sound)[0].numpy()
    assert ours.shape == theirs.shape == (s.bands, s.frames(sound.shape[1]))
    assert np.abs(ours - theirs).max() < 1e-4
    their_filters = librosa.filters.mel(sr=rate, n_fft=s.fft, n_mels=s.bands)
    assert np.abs(mel_filters(s).numpy() - their_filters).max() < 1e-6


def test_logarithms_go_back() -> None:
    bands = torch.rand(8, 5) + 1e-3
    assert torch.allclose(expand(compress(bands)), bands, rtol=1e-4)
    assert float(compress(torch.zeros(1))) == pytest.approx(SILENCE, abs=1e-4)


def test_a_spectrum_has_the_bands_it_is_made_from() -> None:
    mel = Mel(settings_of(8000))
    bands = mel.bands(voice(8000))[0]
    found = mel.filters @ spectrum(mel, bands)
    assert float((found - bands).abs().sum() / bands.abs().sum()) < 0.02


def test_griffin_lim_finds_a_sound_of_the_same_mel_and_more_steps_a_nearer_one() -> None:
    mel = Mel(settings_of(8000))
    sound = voice(8000)
    wanted = mel(sound)[0]
    phases = torch.randn(mel.settings.bins, wanted.shape[1], generator=torch.Generator().manual_seed(0))

    def error(iterations: int) -> float:
        made = griffin_lim(mel, wanted, phases, iterations=iterations)
        assert made.shape == (mel.settings.samples(wanted.shape[1]),)
        return float((mel.bands(made[None])[0] - expand(wanted)).norm() / expand(wanted).norm())

    assert error(60) < 0.12
    assert error(60) < error(4) < error(0)


def test_even_one_frame_and_silence_come_out() -> None:
    mel = Mel(settings_of(8000))
    silent = torch.full((mel.settings.bands, 3), SILENCE)
    made = griffin_lim(mel, silent, torch.zeros(mel.settings.bins, 3), iterations=5)
    assert made.isfinite().all()
    assert float(made.abs().max()) < 1e-3
