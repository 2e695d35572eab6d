"""Pictures beside sounds."""

from __future__ import annotations

import numpy as np
import torch
from aigc_audio.mel import SILENCE, Mel, settings_of
from aigc_audio.picture import GAP, MAGMA, attention_picture, mel_picture, stack


def test_a_low_tone_is_light_at_the_bottom() -> None:
    sound = 0.5 * torch.sin(2 * torch.pi * 200 * torch.arange(8000) / 8000)[None]
    picture = mel_picture(Mel(settings_of(8000))(sound)[0])
    assert picture.dtype == np.uint8
    light = picture.sum(2).mean(1)
    assert light[: len(light) // 2].mean() < light[-len(light) // 4 :].mean() / 2


def test_silence_and_what_is_no_number_are_dark() -> None:
    for value in (SILENCE, float("nan")):
        assert (mel_picture(torch.full((80, 30), value)) == MAGMA[0]).all()


def test_attention_goes_up_from_the_left_below_its_spectrogram() -> None:
    weights = torch.eye(12)
    mel = mel_picture(torch.zeros(80, 24))
    picture = attention_picture(weights, width=mel.shape[1])
    assert picture.shape[1] == mel.shape[1]
    assert tuple(picture[-1, 0]) == tuple(picture[0, -1]) == MAGMA[-1]
    assert tuple(picture[0, 0]) == tuple(picture[-1, -1]) == MAGMA[0]
    assert attention_picture(weights).shape[0] >= 160
    both = stack([mel, picture])
    assert both.shape == (len(mel) + GAP + len(picture), mel.shape[1], 3)
    assert (both[len(mel) : len(mel) + GAP] == 255).all()


def test_stacked_pictures_may_differ_in_width() -> None:
    both = stack([mel_picture(torch.zeros(20, 1)), mel_picture(torch.zeros(20, 700))])
    assert both.shape[1] == 1400
    assert (both[0, -1] == 255).all()
