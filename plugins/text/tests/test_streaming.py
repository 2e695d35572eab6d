"""What is streamed is what is sampled."""

from __future__ import annotations

from typing import Any

import pytest
from aigc_text.beam import Beam
from aigc_text.options import BeamOptions, GreedyOptions, SampleOptions
from aigc_text.samplers import Greedy, Sample
from tiny_text import block, gpt, lstm, of_bytes, texts

from aigc_core.errors import UsageError

PROMPTS = ["abc", "夏天", "", "hello", "x", "abc", "q", "ab"]


@pytest.mark.parametrize("make", [gpt, lstm, of_bytes])
@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (Greedy, GreedyOptions(max_tokens=40)),
        (Sample, SampleOptions(max_tokens=60, stop=("aa", "夏", "ab", "e"), window=True)),
        (Sample, SampleOptions(max_tokens=60, stop=("秋风",), echo=False)),
        (Greedy, GreedyOptions(max_tokens=40, keywords=("夏天",), stop=("秋",))),
    ],
)
def test_the_pieces_of_a_row_are_its_text(make: Any, sampler: type[Any], options: Any) -> None:
    model = make()
    streamed = dict.fromkeys(range(8), b"")
    for row, piece in sampler(options).stream(model, block(8, PROMPTS)):
        assert piece
        streamed[row] += piece
    assert list(streamed.values()) == texts(sampler, options, model, block(8, PROMPTS))


def test_pieces_come_as_they_are_made() -> None:
    pieces = list(Greedy(GreedyOptions(max_tokens=20, min_tokens=20)).stream(gpt(), block(2, ["ab", "x"])))
    assert len(pieces) == 2 + 2 * 20
    assert {row for row, _ in pieces[-2:]} == {0, 1}


def test_only_rows_that_are_asked_for_are_streamed() -> None:
    stream = Sample(SampleOptions(max_tokens=5)).stream(gpt(), block(8, PROMPTS, wanted=range(3, 5)))
    assert {row for row, _ in stream} == {3, 4}


def test_what_may_become_a_stop_string_is_held_back() -> None:
    model = gpt()
    plain = texts(Greedy, GreedyOptions(max_tokens=40), model, block(1, ["ab"]))[0].decode()[2:]
    stop = plain[10:14]
    cut = plain[: plain.index(stop)]
    seen = ""
    for _, piece in Greedy(GreedyOptions(max_tokens=40, stop=(stop,), echo=False)).stream(
        model, block(1, ["ab"])
    ):
        seen += piece.decode()
        assert cut.startswith(seen)
    assert seen == cut


def test_beams_can_not_be_streamed() -> None:
    with pytest.raises(UsageError, match="can't be streamed"):
        list(Beam(BeamOptions()).stream(gpt(), block(1)))
