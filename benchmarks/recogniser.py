"""A recogniser of spoken words, trained on real clips alone, by which the benchmarks of sounds judge what models say.

Convolutions over log-mel spectrograms. It is trained with clips that are stretched, shifted, louder, softer, in noise and
in part hidden, so that what it goes by is the word. As a script it prints how well it does on FSDD's held-out clips,
and on those after mel and Griffin-Lim, which is the most that a speech model with that vocoder can reach:

    AIGC_DATA=DIR python benchmarks/recogniser.py [--seed N]

where DIR holds fsdd, if it is not to be fetched. Takes about two minutes of one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from aigc_audio.griffin_lim import griffin_lim
from aigc_audio.mel import Mel, settings_of
from torch import Tensor, nn
from torch.nn import functional as F

from aigc_core.data import open_data
from aigc_core.registry import default
from aigc_core.training.machine import keep_freed_memory

Clip = npt.NDArray[np.float32]
"""[T] in -1 .. 1."""

FRAMES = 96
"""What it hears at once, 1.2 s."""
FLOOR = 8.0
"""Natural logarithms below a clip's loudest band that it hears as silence: so noise floors do not matter."""


class Recogniser(nn.Module):
    """Clips to logits of words."""

    def __init__(self, rate: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.mel = Mel(settings_of(rate))
        layers: list[nn.Module] = []
        inner = 1
        for outer in (width, 2 * width, 3 * width, 4 * width):
            layers += [
                nn.Conv2d(inner, outer, 3, padding=1, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            inner = outer
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(2 * inner * (self.mel.settings.bands // 16), classes)
        )

    def features(self, clip: Clip) -> Tensor:
        """[bands, frames] from 0, silence, to 1, the clip's loudest band."""
        mel: Tensor = self.mel.bands(torch.from_numpy(np.ascontiguousarray(clip, np.float32))[None])[0]
        mel = mel.clamp_min(1e-7).log()
        return ((mel - mel.max()) / FLOOR + 1).clamp_min(0)

    def forward(self, x: Tensor) -> Tensor:
        """[N, bands, FRAMES] to [N, classes]."""
        y = self.layers(x[:, None])
        logits: Tensor = self.head(torch.cat([y.mean(3), y.amax(3)], 1).flatten(1))
        return logits


def train(
    clips: Sequence[Clip], labels: Sequence[int], rate: int, seed: int = 0, *, epochs: int = 10
) -> Recogniser:
    """Fits a recogniser; about two minutes of one core for 2700 digits. labels: from 0."""
    keep_freed_memory()
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Recogniser(rate, max(labels) + 1)
    features = [model.features(clip) for clip in clips]
    truth = torch.tensor(labels)
    batch, total = 64, epochs * (len(clips) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total)
    model.train()
    for _ in range(epochs):
        order = random.permutation(len(clips))
        for start in range(0, len(clips) - batch + 1, batch):
            rows = order[start : start + batch]
            x = torch.stack([_disturbed(features[row], random) for row in rows])
            loss = F.cross_entropy(model(x), truth[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _disturbed(x: Tensor, random: np.random.Generator) -> Tensor:
    """[bands, frames] to [bands, FRAMES]: as someone else might have said it, somewhere else."""
    frames = max(4, round(x.shape[1] * random.uniform(0.8, 1.25)))
    bands, most = round(x.shape[0] * random.uniform(0.92, 1.08)), x.shape[0]
    x = F.interpolate(x[None, None], (bands, frames), mode="bilinear", align_corners=False)[0, 0]
    x = F.pad(x, (0, 0, 0, max(0, most - bands)))[:most]
    x = (x + random.uniform(-0.1, 0.1)) * random.uniform(0.9, 1.1) + random.uniform(
        0, 0.05
    ) * torch.from_numpy(random.standard_normal(x.shape, np.float32))
    x = (
        torch.logaddexp(x * FLOOR, torch.tensor(random.uniform(-4, 3))) / FLOOR
        if random.random() < 0.5
        else x
    )
    x = x.clamp(0, 1.2)
    for axis in (0, 1):
        size = int(random.integers(0, max(1, x.shape[axis] // 6)))
        start = int(random.integers(0, x.shape[axis] - size + 1))
        x.narrow(axis, start, size).zero_()
    return _placed(x, int(random.integers(0, max(1, FRAMES - x.shape[1] + 1))))


def _placed(x: Tensor, start: int) -> Tensor:
    """[bands, frames] to [bands, FRAMES], from `start` on; cut if it is too long."""
    x = x[:, :FRAMES]
    return F.pad(x, (start, max(0, FRAMES - x.shape[1] - start)))[:, :FRAMES]


@torch.no_grad()
def recognise(model: Recogniser, clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """[N]: what it understands, the mean of three places."""
    found = []
    for clip in clips:
        x = model.features(clip)
        room = max(0, FRAMES - x.shape[1])
        views = torch.stack([_placed(x, start) for start in (0, room // 2, room)])
        found.append(int(model(views).softmax(1).mean(0).argmax()))
    return np.array(found, np.int64)


def accuracy(model: Recogniser, clips: Sequence[Clip], labels: Sequence[int]) -> float:
    """The share of the clips that it understands, 0 .. 1."""
    return float((recognise(model, clips) == np.asarray(labels)).mean())


def copies(clips: Sequence[Clip], rate: int, *, iterations: int = 60, seed: int = 0) -> list[Clip]:
    """Clips after mel and Griffin-Lim."""
    mel = Mel(settings_of(rate))
    random = torch.Generator().manual_seed(seed)
    made = []
    for clip in clips:
        x = mel(torch.from_numpy(clip)[None])[0]
        phases = torch.randn(mel.settings.bins, x.shape[1], generator=random)
        made.append(griffin_lim(mel, x, phases, iterations=iterations).numpy())
    return made


def spoken(split: str) -> tuple[list[Clip], list[int]]:
    """FSDD's clips and labels."""
    data = open_data("fsdd", default(), split=split)
    index = torch.arange(len(data))
    sounds, labels = data.fetch(index)
    assert labels is not None
    lengths = data.fetch_extras(index)["length"].tolist()
    clips = [(s[0, :n].numpy() / 32768).astype(np.float32) for s, n in zip(sounds, lengths, strict=True)]
    return clips, labels.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    clips, labels = spoken("train")
    begun = time.monotonic()
    model = train(clips, labels, 8000, arguments.seed)
    print(f"trained in {time.monotonic() - begun:.0f} s")
    clips, labels = spoken("test")
    print(f"real test clips: {accuracy(model, clips, labels):.4f}")
    print(f"their copies by Griffin-Lim: {accuracy(model, copies(clips, 8000), labels):.4f}")


if __name__ == "__main__":
    main()
