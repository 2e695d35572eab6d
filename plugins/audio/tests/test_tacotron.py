"""The network that speaks, how it learns, and that what it says depends on nothing beside it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from aigc_audio.config import GriffinLimOptions, NeuralOptions, TacotronConfig, TacotronTraining
from aigc_audio.mel import SILENCE
from aigc_audio.tacotron.decoder import Memory
from aigc_audio.tacotron.network import Tacotron
from aigc_audio.tacotron.prompts import limit, spelled
from aigc_audio.tacotron.samplers import GriffinLim, Neural
from aigc_audio.tacotron.speaking import Spoken
from aigc_audio.tacotron.trainer import (
    TAIL,
    TacotronTrainer,
    frame_loss,
    gate_loss,
    guide_loss,
    until,
    with_end,
)
from torch import Tensor

from aigc_core.errors import DataError, UsageError
from aigc_core.interfaces import Batch, Block
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.settings import Settings

RATE = 2000
INFO = DataInfo(
    "audio",
    (1, 1000),
    (),
    {"sample_rate": RATE, "speakers": ["ann", "bob"], "examples": ["a", "bab", "cab a"]},
    {"characters": b" abc"},
)
CONFIG = TacotronConfig(embedding=16, speaker=4, prenet=8, decoder=16, attention=8, postnet=8)
CPU = torch.device("cpu")


def tacotron(info: DataInfo = INFO, config: TacotronConfig = CONFIG) -> Tacotron:
    torch.manual_seed(0)
    return Tacotron(config, info).eval()


def batch(lengths: tuple[int, ...] = (1000, 400, 730, 90)) -> Batch:
    """Tones, one pitch a text."""
    n = len(lengths)
    t = torch.arange(1000) / RATE
    x = torch.stack([0.3 * torch.sin(2 * torch.pi * (150 + 60 * i) * t) for i in range(n)])
    x *= torch.arange(1000) < torch.tensor(lengths)[:, None]
    text = torch.tensor([[2, 3, 4, 1, 2], [3, 0, 0, 0, 0], [4, 2, 3, 0, 0], [2, 2, 0, 0, 0]])[:n]
    extras = {"length": torch.tensor(lengths), "speaker": torch.arange(n) % 2, "text": text}
    return Batch(x[:, None], torch.arange(n), None, extras)


def trainer(
    settings: Settings | None = None, n: int = 4, **options: Any
) -> tuple[TacotronTrainer, AccelerateEngine]:
    engine = AccelerateEngine(0, n, 60, cpu=True, settings=settings)
    engine.set_up()
    options = {"lr": 5e-3, **options}
    return TacotronTrainer(tacotron().train(), TacotronTraining(**options), engine), engine


def block(prompts: tuple[str, ...] | None = None, *, size: int = 4, start: int = 0, **more: Any) -> Block:
    notes = tuple({} for _ in range(size))
    return Block(3, start, size, CPU, prompts=prompts, notes=notes, pictures={}, **more)


def speak(given: Block, model: Tacotron | None = None, **options: Any) -> Tensor:
    with torch.inference_mode():
        return GriffinLim(GriffinLimOptions(iterations=3, **options)).sample(model or tacotron(), given)


def undecided() -> Tacotron:
    """One whose attention goes where the pre-net's dropout sends it."""
    model = tacotron()
    with torch.no_grad():
        model.decoder.gate.bias.fill_(-50)
        model.decoder.attention.query.weight.mul_(20)
        model.decoder.attention.energy.weight.mul_(20)
    return model


def own(sounds: Tensor, row: int) -> Tensor:
    """Without what follows the end."""
    return sounds[row, 0][~sounds[row, 0].isnan()]


# The network.


def test_data_without_transcripts_is_refused() -> None:
    with pytest.raises(DataError, match=r"transcripts.*metadata\.csv"):
        tacotron(DataInfo("audio", (1, 1000), ("a",), {"sample_rate": RATE}))


def test_a_text_is_understood_alike_however_long_those_beside_it_are() -> None:
    model, b = tacotron(), batch()
    text = with_end(b.extras["text"], model.end)
    assert text.tolist()[1:3] == [[3, 5, 0, 0, 0, 0], [4, 2, 3, 5, 0, 0]]
    together, _ = model.remember(text, b.extras["speaker"])
    for row in range(4):
        length = int((text[row] > 0).sum())
        alone, _ = model.remember(text[row : row + 1, :length], b.extras["speaker"][row : row + 1])
        assert torch.allclose(together.values[row, :length], alone.values[0], atol=1e-6)
        assert not together.values[row, length:].any()
        assert together.mask[row].tolist() == [place < length for place in range(6)]


def test_voices_differ_and_one_voice_needs_no_number() -> None:
    model = tacotron()
    text = torch.tensor([[2, 3, model.end]]).expand(2, -1)
    values = model.remember(text, torch.tensor([0, 1]))[0].values
    assert not torch.allclose(values[0], values[1])
    alone = tacotron(DataInfo("audio", (1, 1000), (), {"sample_rate": RATE}, INFO.assets))
    assert alone.speaker is None
    assert alone.remember(text, None)[0].values.shape == (2, 3, 16)


def test_frames_are_refined_alike_however_many_follow() -> None:
    model, frames = tacotron(), torch.randn(1, 12, 32)
    mask = torch.arange(12)[None, :, None] < 7
    assert torch.allclose(
        model.postnet(frames, mask)[:, :7], model.postnet(frames[:, :7], torch.ones(1, 7, 1)), atol=1e-6
    )


def test_rows_that_have_ended_are_left_out_without_a_trace() -> None:
    model = tacotron()
    counts = [12, 5, 2]
    text = with_end(batch().extras["text"][:3], model.end)
    speaker, target = torch.tensor([0, 1, 1]), torch.randn(3, 24, 32)
    masks = 2.0 * (torch.randn(3, 12, 16) > 0)
    together, after = model(text, speaker, target, masks, counts)
    for row, count in enumerate(counts):
        r = slice(row, row + 1)
        alone, refined = model(text[r], speaker[r], target[r, : 2 * count], masks[r, :count], [count])
        assert torch.allclose(together.frames[row, : 2 * count], alone.frames[0], atol=1e-5)
        assert torch.allclose(together.gate[row, :count], alone.gate[0], atol=1e-5)
        assert torch.allclose(together.weights[row, :count], alone.weights[0], atol=1e-5)
        assert torch.allclose(after[row, : 2 * count], refined[0], atol=1e-5)


def test_steps_one_by_one_are_those_of_training() -> None:
    """What is trained is what speaks: each step is given the last frame of the one before."""
    model, decoder = tacotron(), tacotron().decoder
    memory, voice = model.remember(torch.tensor([[2, 3, model.end]]), torch.tensor([1]))
    target, masks = torch.randn(1, 10, 32), 2.0 * (torch.randn(1, 5, 16) > 0)
    whole = decoder(memory, voice, target, masks, [5])
    state, lstm = decoder.attention.start(memory), None
    for step in range(5):
        before = target[:, 2 * step - 1] if step else decoder.silence[None]
        state = decoder.attention(decoder.given(before, voice, masks[:, step]), state, memory)
        frames, gate, lstm = decoder.emit(state.hidden[:, None], state.context[:, None], lstm)
        assert torch.allclose(frames, whole.frames[:, 2 * step : 2 * step + 2], atol=1e-5)
        assert torch.allclose(gate, whole.gate[:, step : step + 1], atol=1e-5)
        assert torch.allclose(state.weights, whole.weights[:, step], atol=1e-5)


def test_attention_stays_on_the_text_and_within_the_window() -> None:
    attention = tacotron().decoder.attention
    memory = Memory(torch.randn(2, 6, 20), torch.randn(2, 6, 8), torch.arange(6) < torch.tensor([[6], [3]]))
    state = attention.start(memory)
    x = attention.inputs(torch.randn(2, 12))
    free = attention(x, state, memory)
    assert torch.allclose(free.weights.sum(1), torch.ones(2))
    assert not free.weights[1, 3:].any()
    allowed = (torch.arange(6) < 2).expand(2, -1)
    near = attention(x, state, memory, allowed)
    assert not near.weights[:, 2:].any()
    assert torch.allclose(near.total, near.weights)


# The training.


def test_the_guide_is_the_papers() -> None:
    """Tachibana et al. 2018, eq. 7, by hand for a text of 3 and 5 steps."""
    weights = torch.zeros(1, 5, 3)
    weights[0, [0, 1, 2, 3, 4], [0, 0, 1, 2, 2]] = 1
    lengths, valid = torch.tensor([3]), torch.ones(1, 5)
    distances = [0, 0.25, 0, 0.25, 0]
    expected = sum(1 - torch.exp(torch.tensor(-(d**2) / (2 * 0.2**2))) for d in distances) / 5
    assert float(guide_loss(weights, lengths, valid, 0.2)) == pytest.approx(float(expected), rel=1e-5)
    assert float(guide_loss(weights.flip(1), lengths, valid, 0.2)) > 0.5


def test_the_gate_is_to_open_at_the_last_sounding_step_and_to_stay_open() -> None:
    like = torch.zeros(1, 5)
    sounding, valid = until(like, [3]), until(like, [4])
    right = torch.tensor([[-20.0, -20, 20, 20, -20]])
    assert float(gate_loss(right, sounding, valid)) < 1e-6
    assert float(gate_loss(torch.tensor([[-20.0, -20, -20, 20, 0]]), sounding, valid)) == pytest.approx(5)


def test_long_sounds_count_no_more_than_short_ones() -> None:
    """Losses are means over sounds of each one's mean."""
    target = torch.zeros(2, 8, 3)
    frames = torch.zeros(2, 8, 3)
    frames[0], frames[1] = 1.0, 3.0
    assert float(frame_loss(frames, target, until(torch.zeros(2, 4), [4, 1]), 2)) == pytest.approx(
        (2 + 12) / 2
    )


def test_sounds_are_learnt_by_heart_and_training_goes_on_where_it_was() -> None:
    learning, engine = trainer()
    losses = []
    for step in range(40):
        engine.begin(step)
        losses.append(float(learning.step(batch())["loss"]))
    assert losses[-1] < 0.6 * losses[0]
    again, engine_again = trainer()
    state = {name: _copied(part) for name, part in learning.state_dict().items()}
    again.load_state_dict(state)
    for one, its_engine in ((learning, engine), (again, engine_again)):
        its_engine.begin(40)
        one.step(batch())
    ours, theirs = learning.generator.state_dict(), again.generator.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    kept, averaged = learning.result().state_dict(), again.result().state_dict()
    assert all(torch.equal(kept[name], averaged[name]) for name in kept)


def _copied(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.clone()
    if isinstance(part, dict):
        return {key: _copied(value) for key, value in part.items()}
    return [_copied(value) for value in part] if isinstance(part, list) else part


def test_a_batch_in_two_parts_trains_alike() -> None:
    """Random values of a sound do not depend on how long those beside it are, and gradients are shortened as one."""
    whole, engine = trainer(clip=0.1)
    engine.begin(0)
    whole.step(batch())
    parts, engine = trainer(Settings(precision="fp32", accumulate=2), clip=0.1)
    b = batch()
    for part in range(2):
        engine.begin(0, part)
        rows = engine.chunk(part)
        extras = {name: value[rows] for name, value in b.extras.items()}
        with engine.part(part):
            parts.step(Batch(b.x[rows], b.index[rows], None, extras))
    theirs = parts.generator.state_dict()
    for name, tensor in whole.generator.state_dict().items():
        assert torch.allclose(tensor, theirs[name], atol=2e-4), name


def test_silence_follows_each_target() -> None:
    learning, _ = trainer()
    steps = learning.generator.steps_of(1000) + TAIL
    target = learning.target(batch().x[:, 0], 2 * steps)
    assert target.shape == (4, 2 * steps, 32)
    assert torch.allclose(target[:, -4:], torch.full((), SILENCE), atol=1e-4)


# Speaking.


def test_bits_depend_on_nothing_beside_a_row() -> None:
    """Alone, with others beside it that are longer, from another start, as one of few that were asked for."""
    long = "ab " * 12
    first = block(("a", "bab", "cab", "b"))
    expected = [own(speak(first, seconds=0.6), row) for row in range(4)]
    assert len({tuple(e[:50].tolist()) for e in expected}) == 4
    other = speak(block(("a", long, "cab", "b c a b c")), seconds=0.6)
    for row in (0, 2):
        assert torch.equal(own(other, row), expected[row])
    for row in range(4):
        alone = speak(block(("a", "bab", "cab", "b"), wanted=range(row, row + 1)), seconds=0.6)
        assert torch.equal(own(alone, row), expected[row])
        assert not alone[[r for r in range(4) if r != row]].any()
    later = speak(block(("a", "bab", "cab", "b"), start=4), seconds=0.6)
    assert not torch.equal(own(later, 0), expected[0])


def test_the_best_of_several_candidates_is_kept() -> None:
    """The first of them is the one that is made alone; the others are drawn afresh."""
    one, several = block(("cab", "a"), size=2), block(("cab", "a"), size=2)
    speak(one, undecided(), seconds=0.5)
    speak(several, undecided(), seconds=0.5, best_of=4)
    for single, best in zip(one.notes or (), several.notes or (), strict=True):
        assert (best["stopped"], best["monotonic"], best["alignment"]) >= (
            single["stopped"], single["monotonic"], single["alignment"],
        )  # fmt: skip
    assert any(a != b for a, b in zip(one.notes or (), several.notes or (), strict=True))


def test_what_it_says_of_each_sound() -> None:
    given = block(("Cab", " a  b "), size=2)
    sounds = speak(given, seconds=0.4, speaker=("bob", "ann"), picture=True)
    assert given.notes is not None
    assert [note["text"] for note in given.notes] == ["cab", "a b"]
    assert [note["speaker"] for note in given.notes] == ["bob", "ann"]
    for row, note in enumerate(given.notes):
        assert set(note) == {"text", "speaker", "stopped", "monotonic", "alignment", "seconds"}
        assert 0 <= note["alignment"] <= 1
        assert note["seconds"] == pytest.approx(len(own(sounds, row)) / RATE, abs=1e-3)
        assert note["seconds"] <= 0.4
    assert given.pictures is not None
    heights = [picture.shape[0] for _, picture in sorted(given.pictures.items())]
    assert all(picture.shape[2] == 3 and picture.dtype == "uint8" for picture in given.pictures.values())
    assert min(heights) > 2 * 160, "the mel spectrogram, and below it the attention"


def test_a_gate_that_opens_at_once_leaves_a_sound() -> None:
    model = tacotron(config=TacotronConfig(**{**CONFIG.model_dump(), "reduction": 1}))
    torch.nn.init.constant_(model.decoder.gate.bias, 50)
    given = block(("a",) * 4)
    sounds = speak(given, model)
    assert given.notes is not None
    assert all(note["stopped"] for note in given.notes)
    assert [len(own(sounds, row)) for row in range(4)] == [model.mel.settings.hop] * 4


def test_one_that_does_not_end_is_cut_at_twice_the_longest_or_as_told() -> None:
    model = tacotron()
    torch.nn.init.constant_(model.decoder.gate.bias, -50)
    for options, most in (({}, 1.0), ({"seconds": 0.3}, 0.3)):
        given = block(("a", "b"), size=2)
        speak(given, model, **options)
        assert limit(model, GriffinLimOptions(**options)) == most
        for note in given.notes or ():
            assert not note["stopped"]
            assert most - 0.05 <= note["seconds"] <= most


def test_without_a_prompt_the_examples_are_said_in_turn() -> None:
    given = block(start=4)
    speak(given, seconds=0.2)
    assert [note["text"] for note in given.notes or ()] == ["bab", "cab a", "a", "bab"]


@pytest.mark.parametrize(
    ("prompt", "characters", "said"),
    [
        ("  Three\t\nfour ", " efhortu", "three four"),
        ("ABC", "ABCabc", "ABC"),
        ("abc", "ABC", "ABC"),
        ("u\u0308ber", "beru\u00fc", "\u00fcber"),
        ("\u00fcber", "beru\u0308", "u\u0308ber"),
        ("你好", "你好", "你好"),
    ],
)
def test_prompts_are_spelled_in_the_models_characters(prompt: str, characters: str, said: str) -> None:
    assert spelled(prompt, characters) == said


def test_characters_that_were_never_heard_are_named() -> None:
    with pytest.raises(
        UsageError, match=r"'a你d' has what the model never heard spoken: 'd' '你'; it knows 'abc'"
    ):
        spelled("a你d", "abc")
    with pytest.raises(UsageError, match="empty"):
        spelled(" \n ", "abc")


def test_more_than_can_be_said_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"has 200 characters, and in 1 s no more than 120 can be said; .*seconds="
    ):
        speak(block(("ab" * 100,) * 4))
    with pytest.raises(UsageError, match="has 1000000 characters"):
        speak(block(("a" * 10**6,) * 4), window=0)


def test_unknown_voices_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no speaker 'anne'; did you mean 'ann'\?; there are: ann, bob"):
        speak(block(("a",) * 4), speaker=("bob", "anne"))
    one = tacotron(DataInfo("audio", (1, 1000), (), {"sample_rate": RATE}, INFO.assets))
    with pytest.raises(UsageError, match="one voice; leave out --speaker"):
        speak(block(("a",) * 4), one, speaker=("ann",))
    with pytest.raises(UsageError, match="give it a --prompt"):
        speak(block(), one)


def test_a_path_is_monotonic_if_it_goes_through_and_never_back() -> None:
    def spoken(*path: int) -> Spoken:
        return Spoken(torch.zeros(2, 2), torch.eye(4)[list(path)], True)

    assert spoken(0, 1, 1, 2, 3).monotonic
    assert spoken(0, 1, 2).monotonic
    assert not spoken(0, 2, 1, 3).monotonic
    assert not spoken(0, 0, 1).monotonic
    assert spoken(0, 1, 2, 3).alignment == 1
    assert spoken(0, 2, 3).alignment == pytest.approx(2 / 3)


# With another network that makes the sound.


def test_a_neural_vocoder_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="-s vocoder=NAME"):
        Neural(NeuralOptions()).sample(tacotron(), block(("a",) * 4))


def test_a_vocoder_for_other_spectrograms_is_refused() -> None:
    other = tacotron(DataInfo("audio", (1, 1000), (), {**INFO.details, "sample_rate": 4000}, INFO.assets))
    other.mel_settings = other.mel.settings  # type: ignore[assignment]
    differing = [f.name for f in fields(other.mel.settings)]
    assert differing[0] == "rate"
    with pytest.raises(UsageError, match=r"the speech has rate 2000, not 4000; .*choose one .* of 2000 Hz"):
        Neural(NeuralOptions(vocoder="v")).sample(tacotron(), block(("a",) * 4, parts={"vocoder": other}))
