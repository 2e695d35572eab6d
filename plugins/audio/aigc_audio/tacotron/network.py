"""The network that speaks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from aigc_audio.config import TacotronConfig
from aigc_audio.mel import Mel, settings_of
from aigc_audio.tacotron.decoder import Decoder, Memory, Steps
from aigc_audio.tacotron.encoder import Convolution, Encoder
from aigc_core.errors import DataError
from aigc_core.interfaces import Generator
from aigc_core.specs import DataInfo, Output


class Tacotron(Generator[TacotronConfig]):
    """Characters and a speaker to mel spectrograms (Shen et al. 2018).

    Symbols are numbered as `Batch.extras["text"]` has them; one more stands for the end of the text, so that there is
    something to attend to when all is said.
    """

    def __init__(self, config: TacotronConfig, data: DataInfo) -> None:
        """Raises DataError for data without transcripts."""
        super().__init__(config, data)
        self.characters = data.assets.get("characters", b"").decode()
        if not self.characters:
            raise DataError(
                "audio/tacotron learns from transcripts, and this data has none: give it a metadata.csv"
            )
        self.rate = int(data.details["sample_rate"])
        self.speakers: tuple[str, ...] = tuple(data.details.get("speakers", ()))
        self.mel = Mel(settings_of(self.rate))
        self.end = 1 + len(self.characters)
        bands, width = self.mel.settings.bands, config.embedding
        speaker = config.speaker if len(self.speakers) > 1 else 0
        self.speaker = nn.Embedding(len(self.speakers), speaker) if speaker else None
        self.encoder = Encoder(self.end, width)
        self.keys = nn.Linear(width // 2 * 2 + speaker, config.attention, bias=False)
        self.decoder = Decoder(
            bands=bands,
            memory=width // 2 * 2 + speaker,
            speaker=speaker,
            prenet=config.prenet,
            hidden=config.decoder,
            attention=config.attention,
            reduction=config.reduction,
        )
        self.postnet = Postnet(bands, config.postnet)

    @property
    def output(self) -> Output:
        return Output("audio", (1, -1), -1.0, 1.0, {"sample_rate": self.rate})

    def steps_of(self, samples: int) -> int:
        """The steps in which the decoder makes a sound of so many samples."""
        return -(-self.mel.settings.frames(samples) // self.config.reduction)

    def remember(self, text: Tensor, speaker: Tensor | None) -> tuple[Memory, Tensor]:
        """The memory of texts [N, L], each with the end's symbol, then 0, and the speakers [N, speaker]."""
        mask = text > 0
        values = self.encoder(text, mask.sum(1))
        voice = values.new_zeros(len(text), 0)
        if self.speaker is not None:
            assert speaker is not None
            voice = self.speaker(speaker)
            values = torch.cat([values, voice[:, None] * mask[:, :, None]], 2)
        return Memory(values, self.keys(values), mask), voice

    def forward(
        self, text: Tensor, speaker: Tensor | None, target: Tensor, masks: Tensor, counts: list[int]
    ) -> tuple[Steps, Tensor]:
        """With the truth before each step: what the decoder made of it, and the frames after the post-net.

        text [N, L] as `remember`; target [N, S * reduction, bands]; masks and counts as `Decoder`.
        """
        memory, voice = self.remember(text, speaker)
        steps = self.decoder(memory, voice, target, masks, counts)
        ends = torch.tensor(counts, device=text.device)[:, None] * self.config.reduction
        mask = torch.arange(target.shape[1], device=text.device) < ends
        return steps, self.postnet(steps.frames, mask[:, :, None])


class Postnet(nn.Module):
    """Convolutions over 5 frames that see what comes after, too: they add what the decoder could not know."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        widths = [bands, channels, channels, channels, channels]
        self.layers = nn.ModuleList(Convolution(a, b, 5) for a, b in itertools.pairwise(widths))
        self.last = nn.Conv1d(channels, bands, 5, padding=2)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[N, F, bands] to the same; mask [N, F, 1]: which are real."""
        x = frames
        for layer in self.layers:
            x = layer(x, mask).tanh()
        residue: Tensor = self.last((x * mask).transpose(1, 2)).transpose(1, 2)
        return frames + residue
