"""What the models of sounds come to, on spoken digits: heard by a recogniser that has heard real clips alone.

    python benchmarks/audio.py --fsdd DIR [--page FOLDER] [--only vocoder speech vae raw] [--home FOLDER]

`--fsdd` holds the archive of the Free Spoken Digit Dataset. Every model is trained by the command line with its
defaults (the VAEs with `-o conditional=true`), in a home of its own; a recogniser is trained on the real clips of
the training split. Prints tables, and with `--page` writes sounds to listen to with their pictures, as index.html.
Fails if a bound is missed. Takes about 40 minutes on two cores; `--home` keeps the weights, and takes those that are there.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import recogniser
import torch
from sound_distance import stft_distance

import aigc_core

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SEEDS = range(5)
Clips = list[np.ndarray[Any, np.dtype[np.float32]]]


@dataclass
class Bounds:
    """What was to be shown, and whether it was."""

    missed: list[str] = field(default_factory=list)

    def row(self, what: str, found: float, bound: float | None = None, least: bool = True) -> None:
        shown = "" if bound is None else f"{'at least' if least else 'at most'} {bound:g}"
        print(f"| {what} | {found:.4g} | {shown} |", flush=True)
        if bound is not None and (found < bound if least else found > bound):
            self.missed.append(what)


@dataclass(frozen=True)
class Split:
    """Real clips, as they are."""

    clips: Clips
    labels: list[int]
    rate: int


def real(split: str) -> Split:
    from aigc_core.data.sources import open_data
    from aigc_core.registry import default

    data = open_data("fsdd", default(), split=split)
    index = torch.arange(len(data))
    items, labels = data.fetch(index)
    lengths = data.fetch_extras(index)["length"]
    assert labels is not None
    clips = [(item[0, :length] / 32768).numpy() for item, length in zip(items, lengths.tolist(), strict=True)]
    return Split(clips, labels.tolist(), data.info.details["sample_rate"])


def trained(model: str, name: str, *options: str) -> None:
    """Trains by the command line, unless it is there."""
    given = [word for option in options for word in ("-o", option)]
    command = [
        sys.executable,
        "-m",
        "aigc_core",
        "train",
        model,
        "--data",
        "fsdd",
        "--name",
        name,
        "--json",
        *given,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    told = json.loads(done.stdout)
    seconds = "there already" if told["already_finished"] else f"{told['seconds']:.0f} s"
    print(f"`{' '.join((model, *options))}`: {told['training']['steps']} steps, {seconds}", flush=True)


def drawn(weights: Any, **arguments: Any) -> tuple[Clips, list[dict[str, Any]]]:
    """Samples by the library, without padding, and what their sampler noted of each."""
    samples = aigc_core.sample(weights, **arguments)
    assert samples is not None
    clips = [row[0][np.isfinite(row[0])] for row in samples.array]
    return clips, list(samples.record.get("notes") or [])


def real_time_factor(draw: Callable[[], Clips], rate: int) -> float:
    """Seconds that it takes over seconds that it makes; the median of five."""
    found = []
    for _ in range(5):
        start = time.perf_counter()
        clips = draw()
        found.append((time.perf_counter() - start) / (sum(map(len, clips)) / rate))
    return float(np.median(found))


def ceiling(bounds: Bounds, ear: Any, test: Split) -> None:
    from aigc_audio.griffin_lim import griffin_lim
    from aigc_audio.mel import Mel, settings_of

    mel = Mel(settings_of(test.rate))
    copies = []
    for i, clip in enumerate(test.clips):
        spectrogram = mel(torch.from_numpy(clip)[None])[0]
        phases = torch.randn(
            mel.settings.bins, spectrogram.shape[1], generator=torch.Generator().manual_seed(i)
        )
        copies.append(griffin_lim(mel, spectrogram, phases, iterations=60).numpy())
    bounds.row("recognised: real test clips", recogniser.accuracy(ear, test.clips, test.labels))
    bounds.row("recognised: their mels through Griffin-Lim", recogniser.accuracy(ear, copies, test.labels))


def speech(bounds: Bounds, ear: Any, rate: int, vocoder: str | None) -> None:
    """300 digits: 10 words, 6 speakers, 5 seeds."""
    weights = aigc_core.load("voice")
    samplers: list[tuple[str, dict[str, Any], float]] = [("griffin-lim", {}, 0.3)]
    if vocoder:
        samplers.append(("neural", {"vocoder": vocoder}, 0.5))
    for sampler, options, factor in samplers:
        clips: Clips = []
        notes: list[dict[str, Any]] = []
        for speaker in SPEAKERS:
            for seed in SEEDS:
                made, noted = drawn(
                    weights,
                    prompts=DIGITS,
                    seed=seed,
                    sampler=sampler,
                    options={**options, "speaker": speaker},
                )
                clips += made
                notes += noted
        labels = list(range(10)) * (len(clips) // 10)
        heard = recogniser.accuracy(ear, clips, labels)
        bounds.row(f"recognised: 300 spoken by `{sampler}`", heard, 0.85)
        if sampler == "griffin-lim":
            bounds.row("stopped by the gate", float(np.mean([n["stopped"] for n in notes])), 0.98)
            bounds.row("attention monotonic", float(np.mean([n["monotonic"] for n in notes])), 0.95)
        for what, words, bound in (("one word", ["seven"], factor), ("ten words", list(DIGITS), None)):
            arguments = {"prompts": words, "sampler": sampler, "options": options, "threads": 2}
            found = real_time_factor(lambda arguments=arguments: drawn(weights, **arguments)[0], rate)  # type: ignore[misc]
            bounds.row(f"real-time factor of {what}, `{sampler}`", found, bound, least=False)


def vocoder(bounds: Bounds, ear: Any, test: Split) -> None:
    """The real mels of held-out clips, by the vocoder and by Griffin-Lim, beside the clips."""
    from aigc_audio.griffin_lim import griffin_lim
    from aigc_audio.mel import Mel

    network = aigc_core.load("vocoder").generator
    mel = Mel(network.mel_settings)
    neural: list[torch.Tensor] = []
    classic: list[torch.Tensor] = []
    truths: list[torch.Tensor] = []
    for i, clip in enumerate(test.clips):
        spectrogram = mel(torch.from_numpy(clip)[None])
        noise = torch.Generator().manual_seed(i)
        phases = torch.randn(mel.settings.bins, spectrogram.shape[2], generator=noise)
        with torch.inference_mode():
            neural.append(network.vocode(spectrogram)[0])
            classic.append(griffin_lim(mel, spectrogram[0], phases, iterations=60))
        truths.append(torch.from_numpy(clip))
    ours, theirs = (
        float(np.mean([sum(stft_distance(a, b, test.rate)) for a, b in zip(made, truths, strict=True)]))
        for made in (neural, classic)
    )
    bounds.row("multi-resolution STFT distance of held-out clips: Griffin-Lim", theirs)
    bounds.row("the same: `audio/vocoder`", ours, theirs, least=False)
    bounds.row(
        "recognised: their mels through `audio/vocoder`", recogniser.accuracy(ear, neural, test.labels)
    )


def vae(bounds: Bounds, ear: Any, test: Split) -> None:
    """Each digit thirty times; and held-out clips through the latent and back."""
    from aigc_audio.mel import SPREAD

    weights = aigc_core.load("sounds")
    clips, _ = drawn(weights, count=300)
    heard = recogniser.accuracy(ear, clips, [i % 10 for i in range(300)])
    bounds.row("recognised: 300 of `audio/vae`, each class in turn", heard, 0.8)
    network = weights.generator
    errors = []
    for clip, number in zip(test.clips, test.labels, strict=True):
        label = torch.tensor([number])
        with torch.inference_mode():
            mel = network.hear(network.prepared(torch.from_numpy(clip)[None, None])[0])
            mean, _ = network.encode(mel, label)
            errors.append(float((network.decode(mean, label) - mel).abs().mean()) * SPREAD)
    bounds.row("mel L1 of reconstructions of held-out clips, in nats", float(np.mean(errors)))


def raw(bounds: Bounds, ear: Any, test: Split) -> None:
    """The same over samples: what is understood of it, and how its loudness goes beside the real one."""
    weights = aigc_core.load("raw")
    clips, _ = drawn(weights, count=300)
    heard = recogniser.accuracy(ear, clips, [i % 10 for i in range(300)])
    bounds.row("recognised: 300 of `audio/vae-raw`, each class in turn", heard)
    network = weights.generator
    made, correlations, levels = [], [], []
    for clip, number in zip(test.clips, test.labels, strict=True):
        label = torch.tensor([number])
        with torch.inference_mode():
            sound, _ = network.prepared(torch.from_numpy(clip)[None, None])
            mean, _ = network.encode(network.hear(sound), label)
            made.append(network.decode(mean, label)[0, 0, : network.samples].numpy())
        ours, real_one = (x[: len(x) // 200 * 200].reshape(-1, 200) for x in (made[-1], sound[0].numpy()))
        envelopes = [np.sqrt(np.square(x).mean(1)) for x in (ours, real_one)]
        correlations.append(np.corrcoef(*envelopes)[0, 1])
        levels.append(np.sqrt(np.square(ours).mean() / np.square(real_one).mean()))
    bounds.row(
        "recognised: its reconstructions of held-out clips", recogniser.accuracy(ear, made, test.labels)
    )
    bounds.row("correlation of their envelopes with the real ones", float(np.mean(correlations)))
    bounds.row("their loudness, as a share of the real one", float(np.mean(levels)))


def listening_page(folder: Path, test: Split) -> None:
    """index.html with a player and a picture a sound, in folders beside it."""
    spoken = [word for digit in DIGITS for word in ("--prompt", digit)]
    rows = {f"voice of {name}": ["voice", *spoken, "--speaker", name] for name in SPEAKERS}
    rows["the same by the vocoder"] = ["voice", *spoken, "--sampler", "neural", "-s", "vocoder=vocoder"]
    rows["audio/vae"] = ["sounds", "-n", "10"]
    real_ones = [first_of(test, digit, folder / "clips") for digit in range(10)]
    given = [word for path in real_ones for word in ("--sound", str(path))]
    rows["real clips by the vocoder"] = ["vocoder", *given]
    labels = [word for digit in DIGITS for word in ("--label", digit)]
    rows["real clips by audio/vae"] = ["sounds", "--sampler", "reconstruct", *given, *labels]
    parts = []
    for title, words in rows.items():
        name = title.replace(" ", "-").replace("/", "-")
        command = [
            sys.executable,
            "-m",
            "aigc_core",
            "sample",
            *words,
            "--out",
            f"{folder / name}/",
            "--quiet",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        cells = ""
        for i, digit in enumerate(DIGITS):
            file = f"{name}/{i:06d}.wav"
            picture = f'<br><img src="{file}.png">' if (folder / f"{file}.png").is_file() else ""
            cells += f'<td>{digit}<br><audio controls src="{file}"></audio>{picture}</td>'
        parts.append(f"<tr><th>{html.escape(title)}</th>{cells}</tr>")
    style = "td, th { vertical-align: top; padding: 4px } audio { width: 200px } img { width: 200px }"
    page = f"<!doctype html><meta charset=utf-8><title>Spoken digits</title><style>{style}</style><table>{''.join(parts)}</table>"
    (folder / "index.html").write_text(page, encoding="utf-8")


def first_of(test: Split, digit: int, folder: Path) -> Path:
    """The first clip of a digit, as a file."""
    import wave

    folder.mkdir(parents=True, exist_ok=True)
    clip = test.clips[test.labels.index(digit)]
    path = folder / f"{DIGITS[digit]}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(test.rate)
        file.writeframes((clip * 32768).astype("<i2").tobytes())
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fsdd", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--only", nargs="+", default=["vocoder", "speech", "vae", "raw"])
    arguments = parser.parse_args()
    os.environ["AIGC_DATA"] = str(arguments.fsdd.resolve().parent)
    bounds = Bounds()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGC_HOME"] = str(arguments.home.resolve() if arguments.home else folder)
        names = {
            "vocoder": ("audio/vocoder", "vocoder"),
            "speech": ("audio/tacotron", "voice"),
            "vae": ("audio/vae", "sounds", "conditional=true"),
            "raw": ("audio/vae-raw", "raw", "conditional=true"),
        }
        for part in arguments.only:
            trained(*names[part])
        train, test = real("train"), real("test")
        ear = recogniser.train(train.clips, train.labels, train.rate, seed=0)
        print("\n| what | found | bound |\n| --- | --- | --- |")
        ceiling(bounds, ear, test)
        if "vocoder" in arguments.only:
            vocoder(bounds, ear, test)
        if "speech" in arguments.only:
            speech(bounds, ear, test.rate, "vocoder" if "vocoder" in arguments.only else None)
        if "vae" in arguments.only:
            vae(bounds, ear, test)
        if "raw" in arguments.only:
            raw(bounds, ear, test)
        if arguments.page:
            arguments.page.mkdir(parents=True, exist_ok=True)
            listening_page(arguments.page, test)
    if bounds.missed:
        sys.exit(f"a bound is missed: {', '.join(bounds.missed)}")


if __name__ == "__main__":
    main()
