"""How a network learns to speak."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc_audio.config import TacotronTraining
from aigc_audio.mel import full
from aigc_audio.schedule import warmed_cosine
from aigc_audio.tacotron.network import Tacotron
from aigc_core.interfaces import Batch, Engine, Generator, Metrics, Trainer

TAIL: Final = 4
"""Steps of silence after each sound, in which the gate learns that it is over: one that missed the last step of a sound
would otherwise never have learnt to close it."""


class TacotronTrainer(Trainer[Tacotron, TacotronTraining]):
    """Teacher forcing, with the attention guided to the diagonal (Tachibana et al. 2018, section 4.1)."""

    def __init__(self, generator: Tacotron, options: TacotronTraining, engine: Engine) -> None:
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        self.average = engine.average(generator, options.half_life)
        optimizer = torch.optim.Adam(self.network.parameters(), options.lr, fused=True)
        if options.clip:  # as a hook, since it steps only when the parts of a batch have been added up
            optimizer.register_step_pre_hook(self._shorten)
        self.optimizer = engine.optimizer(optimizer)
        self.steps = generator.steps_of(generator.data.shape[1]) + TAIL
        """Of the longest sound of all: random values are drawn for so many, however long those of a batch are."""

    def step(self, batch: Batch) -> Metrics:
        share = warmed_cosine(self.engine.step, self.engine.total_steps, self.options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * share
        model, reduction = self.generator, self.generator.config.reduction
        masks = 2.0 * (self.engine.randn(len(batch), self.steps, 2 * model.config.prenet) > 0)
        samples = batch.extras["length"].tolist()
        # By length, so that rows that end can be left out.
        order = sorted(range(len(samples)), key=lambda row: -samples[row])
        rows = torch.tensor(order, device=batch.x.device)
        counts = [model.steps_of(samples[row]) + TAIL for row in order]
        target = self.target(batch.x[rows, 0], counts[0] * reduction)
        text = with_end(batch.extras["text"][rows], model.end)
        speaker = batch.extras["speaker"][rows] if "speaker" in batch.extras else None
        with self.engine.autocast():
            steps, after = self.network(text, speaker, target, masks[rows, : counts[0]], counts)
        valid = until(steps.gate, counts)
        sounding = until(steps.gate, [count - TAIL for count in counts])
        before = frame_loss(full(steps.frames), target, valid, reduction)
        refined = frame_loss(full(after), target, valid, reduction)
        gate = gate_loss(full(steps.gate), sounding, valid)
        guide = guide_loss(full(steps.weights), (text > 0).sum(1), sounding, self.options.width)
        loss = before + refined + gate + self.options.guide * guide
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        self.average.update()
        parts = {"loss": loss, "mel": refined, "gate": gate, "guide": guide}
        return {name: value.detach() for name, value in parts.items()}

    def _shorten(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Shortens a gradient that is too long."""
        longest, scale = self.options.clip, getattr(optimizer, "grad_scale", None)
        if scale is not None:  # of gradients in float16: a fused optimizer takes it out by itself
            longest *= float(scale)
        torch.nn.utils.clip_grad_norm_(
            [p for group in optimizer.param_groups for p in group["params"]], longest
        )

    def target(self, sound: Tensor, frames: int) -> Tensor:
        """[N, frames, bands]: the mel spectrograms of sounds [N, T]; silence follows."""
        samples = self.generator.mel.settings.samples(frames)
        sound = F.pad(sound, (0, max(0, samples - sound.shape[1])))[:, :samples]
        mel: Tensor = self.generator.mel(sound)
        return mel.transpose(1, 2)

    def result(self) -> Generator[Any]:
        return self.average.generator


def with_end(text: Tensor, end: int) -> Tensor:
    """[N, L] to [N, longest + 1]: the end's symbol after each text, and no more padding than is needed."""
    lengths = (text > 0).sum(1)
    text = F.pad(text[:, : int(lengths.max())], (0, 1))
    return text.scatter(1, lengths[:, None], end)


def until(like: Tensor, counts: list[int]) -> Tensor:
    """[N, S], as `like`: 1 in the first steps of each row, 0 after."""
    ends = torch.tensor(counts, device=like.device)[:, None]
    return (torch.arange(like.shape[1], device=like.device) < ends).to(full(like).dtype)


def frame_loss(frames: Tensor, target: Tensor, valid: Tensor, reduction: int) -> Tensor:
    """The mean absolute and the mean squared error of [N, F, bands]; valid [N, F / reduction]: steps that count."""
    error = frames - target
    each = (error.abs() + error.square()).mean(2)
    return _mean(each, valid.repeat_interleave(reduction, 1))


def gate_loss(gate: Tensor, sounding: Tensor, valid: Tensor) -> Tensor:
    """The cross entropy, in nats a step, of logits [N, S] with whether a step is the last that sounds, or later."""
    over = 1 - F.pad(sounding, (0, 1))[:, 1:]
    return _mean(F.binary_cross_entropy_with_logits(gate, over, reduction="none"), valid)


def guide_loss(weights: Tensor, lengths: Tensor, valid: Tensor, width: float) -> Tensor:
    """The mean over steps of the attention [N, S, L] times its distance from the diagonal (Tachibana et al. 2018,
    eq. 7)."""
    places = torch.arange(weights.shape[2], device=weights.device) / (lengths[:, None] - 1).clamp_min(1)
    times = torch.arange(weights.shape[1], device=weights.device) / (
        valid.sum(1, keepdim=True) - 1
    ).clamp_min(1)
    far = 1 - (-(places[:, None] - times[:, :, None]).square() / (2 * width**2)).exp()
    return _mean((weights * far).sum(2), valid)


def _mean(each: Tensor, valid: Tensor) -> Tensor:
    """Over items, of the mean of each over what is valid, [N, S]."""
    return ((each * valid).sum(1) / valid.sum(1)).mean()
