"""What samplers of texts give, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from aigc_text.language import LanguageModel
from aigc_text.options import GreedyOptions, SampleOptions
from aigc_text.samplers import Greedy, Sample
from tiny_text import block, gpt, lstm, of_bytes, texts

from aigc_core.errors import UsageError

PROMPTS = ["abc", "hello world", "", "夏天", "abc", "z" * 20, "q", "ab cd"]
FILTERS: dict[str, Any] = {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "typical": 0.95}
ASKED: list[tuple[type[Any], GreedyOptions]] = [
    (Greedy, GreedyOptions(max_tokens=40)),
    (Sample, SampleOptions(max_tokens=40)),
    (Sample, SampleOptions(max_tokens=90, window=True, repetition_penalty=1.2, no_repeat_ngram=3, **FILTERS)),
]


@pytest.mark.parametrize("make", [gpt, lstm], ids=["gpt", "lstm"])
@pytest.mark.parametrize(("sampler", "options"), ASKED, ids=["greedy", "sample", "filters"])
def test_a_text_does_not_depend_on_what_else_is_in_its_block(
    make: Any, sampler: type[Any], options: Any
) -> None:
    model = make()
    together = texts(sampler, options, model, block(8, PROMPTS))
    for row in range(8):
        alone = texts(sampler, options, model, block(8, PROMPTS, wanted=range(row, row + 1)))
        others = texts(
            sampler, options, model, block(8, ["hey"] * row + [PROMPTS[row]] + ["x y"] * (7 - row))
        )
        assert together[row] == alone[row] == others[row]
    assert all(text.startswith(prompt.encode()) for text, prompt in zip(together, PROMPTS, strict=True))


def test_a_sample_is_that_of_its_index_in_any_block() -> None:
    """Of one size."""
    model, options = gpt(), SampleOptions(max_tokens=100, window=True)
    first, second = (texts(Sample, options, model, block(8, seed=3, start=start)) for start in (0, 8))
    assert len(set(first + second)) == 16
    assert texts(Sample, options, model, block(8, seed=3, start=8, wanted=range(5, 6)))[5] == second[5]


def test_greedy_texts_are_the_likeliest_tokens_of_the_network() -> None:
    model = gpt()
    tokens = model.tokenizer.encode("abc").tolist()
    for _ in range(30):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert model.tokenizer.end not in tokens
    assert texts(Greedy, GreedyOptions(max_tokens=30), model, block(1, ["abc"])) == [
        model.tokenizer.decode(tokens)
    ]


def test_one_likeliest_token_is_the_greedy_one() -> None:
    model = gpt()
    greedy = texts(Greedy, GreedyOptions(max_tokens=30), model, block(4))
    for option in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}):
        assert texts(Sample, SampleOptions(max_tokens=30, **option), model, block(4)) == greedy


def test_samples_follow_the_model() -> None:
    model, counts = gpt(loud=5.0), torch.zeros(43)
    with torch.no_grad():
        expected = model(torch.tensor([[model.tokenizer.end]]))[0, -1].softmax(0)
    for start in range(0, 2048, 64):
        here = block(64, start=start)
        for text in texts(Sample, SampleOptions(max_tokens=1), model, here):
            counts[model.tokenizer.encode(text.decode())[0] if text else model.tokenizer.end] += 1
    error = (counts[: len(expected)] / 2048 - expected).abs().max()
    assert error < 4 * math.sqrt(0.25 / 2048)


def test_notes_say_how_a_text_went() -> None:
    model, here = gpt(), block(1, ["abc"])
    text = texts(Sample, SampleOptions(max_tokens=20), model, here)[0].decode()
    assert here.notes is not None
    notes = here.notes[0]
    tokens = torch.tensor(model.tokenizer.encode(text))[None]
    with torch.no_grad():
        logs = model(tokens).log_softmax(-1)[0, :-1].gather(1, tokens[0, 1:, None])[2:]
    assert notes["tokens"] == len(logs) == 20
    assert notes["stopped"] == "length"
    assert notes["log_probability"] == pytest.approx(float(logs.mean()), abs=1e-4)
    assert notes["perplexity"] == pytest.approx(math.exp(-float(logs.mean())), rel=1e-3)


def test_explanations_tell_each_token() -> None:
    model, here = gpt(), block(2, ["abc", "夏"])
    options = SampleOptions(max_tokens=15, explain=True, min_tokens=15, no_repeat_ngram=1, **FILTERS)
    text = texts(Sample, options, model, here)[0].decode()
    assert here.notes is not None
    explained = here.notes[0]["explain"]
    assert "abc" + "".join(entry["text"] for entry in explained) == text
    for entry in explained:
        left = entry["left"]
        assert list(left) == ["no_repeat_ngram", "min_tokens", "top_k", "top_p", "min_p", "typical"]
        counts = list(left.values())
        assert counts == sorted(counts, reverse=True)
        assert 1 <= counts[-1] <= 20
        assert 0 < entry["probability"] <= 1
        assert 1 <= entry["rank"] <= model.tokenizer.size
        assert 0 <= entry["entropy"] <= math.log(model.tokenizer.size) + 1e-6
    plain = block(2, ["abc", "夏"])
    texts(Greedy, GreedyOptions(max_tokens=5, explain=True), model, plain)
    assert plain.notes is not None
    assert all(entry["rank"] == 1 and entry["left"] == {} for entry in plain.notes[1]["explain"])


def test_no_sequence_comes_twice() -> None:
    model = gpt()
    text = texts(Greedy, GreedyOptions(max_tokens=60, no_repeat_ngram=2), model, block(1, ["ab"]))[0].decode()
    pairs = [text[i : i + 2] for i in range(len(text) - 1)]
    assert len(pairs) == len(set(pairs)) > 40


def test_a_text_ends_where_the_filters_leave_nothing() -> None:
    model, here = gpt(), block(1, ["ab"])
    options = GreedyOptions(max_tokens=100, no_repeat_ngram=1, min_tokens=100, window=True)
    text = texts(Greedy, options, model, here)[0].decode()
    assert sorted(text) == sorted(set(text))
    assert here.notes is not None
    assert here.notes[0]["stopped"] == "filters"
    assert here.notes[0]["tokens"] == model.tokenizer.size - 3


def test_seen_tokens_can_be_made_unlikely() -> None:
    model = gpt()
    counts = [
        len(
            set(
                texts(
                    Greedy, GreedyOptions(max_tokens=30, repetition_penalty=penalty), model, block(1, ["ab"])
                )[0].decode()
            )
        )
        for penalty in (1.0, 50.0)
    ]
    assert counts[1] > 2 * counts[0]


def test_a_stop_string_ends_a_text_before_it() -> None:
    model, here = gpt(), block(8, PROMPTS)
    plain = texts(Sample, SampleOptions(max_tokens=60), model, block(8, PROMPTS))
    stop = plain[1].decode()[20:22]
    cut = texts(Sample, SampleOptions(max_tokens=60, stop=(stop, "秋秋")), model, here)
    for text, whole, prompt in zip(cut, plain, PROMPTS, strict=True):
        rest = whole.decode()[len(prompt) :]
        ends = [place for place in (rest.find(stop), rest.find("秋秋")) if place >= 0]
        assert text.decode()[len(prompt) :] == rest[: min(ends, default=len(rest))]
    assert here.notes is not None
    assert here.notes[1]["stopped"] == "stop"


def test_no_text_is_shorter_than_asked() -> None:
    model, stop = of_bytes(loud=6.0), [chr(c) for c in range(97, 123)]
    for least in (0, 25):
        here = block(16)
        texts(Sample, SampleOptions(max_tokens=50, min_tokens=least, stop=(*stop, "AB")), model, here)
        assert here.notes is not None
        lengths = [note["tokens"] for note in here.notes]
        assert (min(lengths) >= 25) == (least == 25)


def test_the_prompt_can_be_left_out() -> None:
    model = gpt()
    with_, without = (
        texts(Greedy, GreedyOptions(max_tokens=20, echo=echo), model, block(2, ["abc", "夏天"]))
        for echo in (True, False)
    )
    assert [f"{p}".encode() + rest for p, rest in zip(("abc", "夏天"), without, strict=True)] == with_


def test_the_context_ends_a_text_or_its_last_half_goes_on() -> None:
    model, here = gpt(context=16), block(4, ["abcdef", "", "x" * 16, "ab"])
    texts(Greedy, GreedyOptions(max_tokens=40, min_tokens=40, window=False), model, here)
    assert here.notes is not None
    assert [(note["tokens"], note["stopped"]) for note in here.notes] == [
        (11, "context"),
        (16, "context"),
        (1, "context"),
        (15, "context"),
    ]
    there = block(1, ["abcdef"])
    long = texts(Greedy, GreedyOptions(max_tokens=40, min_tokens=40, window=True), model, there)[0].decode()
    tokens = model.tokenizer.encode(long).tolist()
    assert len(tokens) == 46
    # The 17th token is the first that is predicted from the last half of 16, the 25th the first of the next half.
    with torch.no_grad():
        for place, start in ((16, 8), (20, 8), (24, 8), (25, 16)):
            logits = model(torch.tensor([tokens[start + (place > 24) : place]]))[0, -1]
            logits[model.tokenizer.end] = -torch.inf
            if place != 25:
                assert int(logits.argmax()) == tokens[place], place


@pytest.mark.parametrize("sampler", [Greedy, Sample])
def test_a_prompt_that_is_too_long_is_refused_or_cut(sampler: type[Any]) -> None:
    model, options = gpt(context=16), {Greedy: GreedyOptions, Sample: SampleOptions}[sampler]
    with pytest.raises(UsageError, match="prompt of 20 tokens is longer than the model's context of 16"):
        texts(sampler, options(max_tokens=5), model, block(1, ["y" * 20]))
    cut = texts(sampler, options(max_tokens=1, truncate=True), model, block(1, ["abcd" + "y" * 16]))
    short = texts(sampler, options(max_tokens=1), model, block(1, ["y" * 16]))
    assert cut[0] == b"abcd" + short[0]


@pytest.mark.parametrize(("prompt", "error"), [("snow ☃", UsageError), ("a\0b", UsageError)])
def test_a_prompt_that_can_not_be_continued_is_refused(prompt: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="☃|0 character"):
        texts(Greedy, GreedyOptions(), gpt(), block(2, ["abc", prompt]))


def test_prompts_of_rows_that_nobody_asked_for_are_not_looked_at() -> None:
    here = block(4, ["abc", "☃", "abc", "abc"], wanted=range(2, 4))
    rows = Greedy(GreedyOptions(max_tokens=5)).sample(gpt(), here)
    assert not rows[:2].any()
    assert rows[2:].all(1).all()


def test_a_zero_byte_ends_a_text() -> None:
    model: LanguageModel = of_bytes()
    with torch.no_grad():
        model.ln_f.weight.zero_()  # type: ignore[union-attr, operator]
        model.ln_f.bias.copy_(model.wte.weight[0] * 10)  # type: ignore[union-attr, operator, index]
    here = block(1, ["abc"])
    assert texts(Greedy, GreedyOptions(max_tokens=5), model, here) == [b"abc"]
    assert here.notes is not None
    assert here.notes[0]["stopped"] == "end"
