"""A folder of sounds and what is said in them, in any language, to a voice that says it."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

import aigc_core
from aigc_core.errors import UsageError
from aigc_core.sampling.records import read_record

SMALL = {
    "embedding": 32, "prenet": 16, "decoder": 32, "attention": 16, "postnet": 16, "batch_size": 2, "lr": 1e-2,
}  # fmt: skip
SENTENCES = {"1.wav": "今天天气很好。", "2.wav": "你好，世界！"}


def write(path: Path, pitches: list[int]) -> None:
    """A syllable a pitch, 0.12 s each, at 8 kHz."""
    t = np.arange(960) / 8000
    shape = np.sin(np.pi * t / 0.12)
    sound = np.concatenate(
        [0.4 * shape * sum(np.sin(2 * np.pi * p * k * t) / k for k in (1, 2, 3)) for p in pitches]
    )
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((sound * 32767 / 2).astype("<i2").tobytes())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "chinese"
    folder.mkdir()
    write(folder / "1.wav", [200, 200, 200, 320, 180, 250])
    write(folder / "2.wav", [220, 260, 330, 190])
    lines = [f"{name}|{text}\n" for name, text in SENTENCES.items()]
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_two_chinese_sentences_are_learnt_and_spoken(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "home"))
    aigc_core.train("audio/tacotron", corpus, steps=40, name="zh", options=SMALL)
    out = tmp_path / "said"
    prompts = ["你好，世界！", " 今天你好。"]
    aigc_core.sample("zh", prompts=prompts, options={"picture": True}, out=f"{out}/")
    assert sorted(path.name for path in out.iterdir()) == [
        "000000.wav", "000000.wav.png", "000001.wav", "000001.wav.png",
    ]  # fmt: skip
    with wave.open(str(out / "000000.wav")) as file:
        assert file.getframerate() == 8000
        assert 0 < file.getnframes() <= 2 * 6 * 960
    record = read_record(out / "000001.wav")
    assert "今天你好。" in json.dumps(record, ensure_ascii=False)
    with pytest.raises(UsageError, match="never heard spoken: '再' '见'"):
        aigc_core.sample("zh", prompts=["再见"])
