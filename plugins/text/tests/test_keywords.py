"""Keywords are in the text, whatever it costs."""

from __future__ import annotations

from typing import Any

import pytest
from aigc_text.bytepairs import BytePairs
from aigc_text.keywords import whole
from aigc_text.options import GreedyOptions, SampleOptions
from aigc_text.samplers import Greedy, Sample
from aigc_text.vocabulary import TextTokenizer
from tiny_text import block, gpt, lstm, of_bytes, texts

from aigc_core.errors import DataError, UsageError


def of_pairs() -> Any:
    words = "the summer day by the sea, 夏天海边 the autumn wind 秋风\n" * 40
    return gpt(coder=TextTokenizer(BytePairs.fit(300, lambda: iter([words]))))


@pytest.mark.parametrize("make", [gpt, of_bytes, lstm, of_pairs])
@pytest.mark.parametrize("stop", [(), ("夏", "天", "\n", "a", "sea")])
@pytest.mark.parametrize("words", [("夏天", "海边"), ("sea", "autumn wind", "秋风"), ("abc", "bcd")])
def test_every_keyword_is_in_every_text(make: Any, words: tuple[str, ...], stop: tuple[str, ...]) -> None:
    model = make()
    stop = tuple(s for s in stop if not any(s in word for word in words))
    for sampler, schema in ((Greedy, GreedyOptions), (Sample, SampleOptions)):
        here = block(8, ["ab", "夏天", "", "x", "y", "z", "秋", "the"])
        options = schema(max_tokens=40, keywords=words, stop=stop, echo=False)
        for text in texts(sampler, options, model, here):
            assert all(word in text.decode("utf-8", "replace") for word in words)
        assert here.notes is not None
        for note in here.notes:
            cost = note["keywords"]
            if cost["ratio"] is not None:
                assert cost["ratio"] == pytest.approx(cost["perplexity"] / cost["perplexity_without"])
            assert cost["perplexity"] == note["perplexity"]


def test_the_cost_is_beside_the_same_sample_without() -> None:
    model, here, plain = gpt(), block(4), block(4)
    texts(Sample, SampleOptions(max_tokens=40, min_tokens=40, keywords=("夏天海边秋风",)), model, here)
    texts(Sample, SampleOptions(max_tokens=40, min_tokens=40), model, plain)
    assert here.notes is not None
    assert plain.notes is not None
    for note, without in zip(here.notes, plain.notes, strict=True):
        assert note["keywords"]["perplexity_without"] == without["perplexity"]
        assert note["keywords"]["forced_tokens"] == 6
        assert note["keywords"]["ratio"] != 1


def test_keywords_that_just_fit_are_all_there_is() -> None:
    text = texts(Greedy, GreedyOptions(max_tokens=4, keywords=("夏天", "海边"), echo=False), gpt(), block(1))[
        0
    ].decode()
    assert sorted([text[:2], text[2:]]) == sorted(["夏天", "海边"])


def test_nothing_ends_a_text_before_its_keywords() -> None:
    model = gpt()
    model.ln_f.weight.data.zero_()
    model.ln_f.bias.data.copy_(model.wte.weight[model.tokenizer.end] * 5)  # type: ignore[operator, index]
    here = block(1)
    text = texts(Greedy, GreedyOptions(max_tokens=30, keywords=("海边",), no_repeat_ngram=1), model, here)[
        0
    ].decode()
    assert "海边" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_tokens": 3, "keywords": ("夏天", "海边")},
            "keywords of 4 tokens in all do not fit into max_tokens=3",
        ),
        (
            {"keywords": ("abcdefghijk",), "window": False},
            "keywords of 11 tokens in all do not fit into the 7 tokens that the model's context",
        ),
        ({"keywords": ("ab\ncd",), "stop": ("\n",)}, "holds the stop string"),
    ],
)
def test_keywords_that_can_not_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        texts(Greedy, GreedyOptions(**options), gpt(context=16), block(1, ["x" * 10]))


def test_a_keyword_of_unknown_characters_is_refused() -> None:
    with pytest.raises(DataError, match="☃"):
        texts(Greedy, GreedyOptions(keywords=("☃",)), gpt(), block(1))


def test_beyond_the_context_keywords_fit_with_a_window() -> None:
    options = GreedyOptions(keywords=("abcdefghijk",), window=True, max_tokens=30)
    assert b"abcdefghijk" in texts(Greedy, options, gpt(context=16), block(1, ["x" * 10]))[0]


def test_where_characters_end() -> None:
    assert [whole(bytearray("a夏".encode()[:n])) for n in range(5)] == [True, True, False, False, True]
    assert whole(bytearray(b"\xff"))
