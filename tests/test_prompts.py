"""Texts that go on from prompts: who is given which, what is kept of it, and texts as they come."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers import Run, Site

import aigc_core
from aigc_core.errors import NotFoundError, UsageError
from aigc_core.provenance.replay import replay
from aigc_core.sampling.stream import Decoder
from aigc_core.testing.material import SETS

BACKEND = """
from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

@hookimpl
def aigc_register_models(registry):
    registry.add(ModelSpec(
        id="echo/echo", summary="says its prompt, and a word", modality="text", license="MIT",
        generator="echo_network:Echo", config="aigc_core.options:Options", trainer="echo_network:Fit",
        data=DataNeeds(modality="text"), conditions=("prompt",),
        samplers={
            "say": SamplerSpec(sampler="echo_network:Say", config="aigc_core.options:Options", summary="says", block=4),
            "whole": SamplerSpec(sampler="echo_network:Whole", config="aigc_core.options:Options", summary="says at once"),
            "strict": SamplerSpec(sampler="echo_network:Say", config="aigc_core.options:Options", summary="says",
                                  needs=("prompt",)),
        },
    ))
"""

NETWORK = """
import torch
from torch import nn
from aigc_core.interfaces import Generator, Sampler, Trainer
from aigc_core.specs import Output

WORDS = ["夏天", "海边🏖", "x", "two words"]

class Echo(Generator):
    def __init__(self, config, data):
        super().__init__(config, data)
        self.w = nn.Parameter(torch.zeros(1))

    @property
    def output(self):
        return Output("text", (-1,), 0, 255)

class Fit(Trainer):
    def step(self, batch):
        return {"loss": self.generator.w.detach().sum()}

class Whole(Sampler):
    def texts(self, block):
        draws = block.randn(1)[:, 0].abs()
        for row in block.rows:
            word = WORDS[int(draws[row] * 100) % 4]
            yield row, f"{block.prompts[row] if block.prompts else 'nothing'}: {word}".encode()

    def sample(self, generator, block):
        rows = dict(self.texts(block))
        longest = max(map(len, rows.values()))
        values = torch.zeros(block.size, longest, dtype=torch.uint8)
        for row, text in rows.items():
            values[row, :len(text)] = torch.tensor(list(text))
            block.note(row, letters=len(text.decode()))
        return values

class Say(Whole):
    def stream(self, generator, block):
        texts = dict(self.texts(block))
        for place in range(max(map(len, texts.values()))):
            for row, text in texts.items():
                if place < len(text):
                    yield row, text[place:place + 1]
"""


@pytest.fixture
def echo(site: Site) -> str:
    site.add("echo", BACKEND)
    (site.path / "echo_network.py").write_text(NETWORK)
    return aigc_core.train("echo/echo", SETS["text"], steps=1, name="echo").weights


def texts(drawn: aigc_core.sampling.draw.Samples | None) -> list[str]:
    assert drawn is not None
    return [str(text) for text in drawn.array]


def test_sample_i_is_given_prompt_i_and_they_begin_anew(echo: str) -> None:
    drawn = texts(aigc_core.sample(echo, count=7, prompts=["a", "b", "c"]))
    assert [text.partition(":")[0] for text in drawn] == ["a", "b", "c", "a", "b", "c", "a"]
    assert texts(aigc_core.sample(echo, prompts=["a", "b"])) == drawn[:2], "as many as there are prompts"
    assert texts(aigc_core.sample(echo, count=1, start=5, prompts=["a", "b", "c"])) == drawn[5:6]
    assert [text.partition(":")[0] for text in texts(aigc_core.sample(echo, count=2))] == ["nothing"] * 2


def test_a_prompt_where_none_is_taken_and_none_where_one_is_needed(
    echo: str, aigc: Run, tmp_path: Path
) -> None:
    gan = aigc_core.train("gan/mlp", "digits", steps=1, name="gan").weights
    assert "sampler 'prior' of gan/mlp takes no --prompt" in aigc("sample", gan, "--prompt", "x").error
    needed = aigc("sample", "echo", "--sampler", "strict")
    assert (needed.code, "works on a prompt: give --prompt TEXT" in needed.error) == (2, True)
    assert (
        aigc("sample", "echo", "--sampler", "strict", "--prompt", "x", "--out", tmp_path / "x.txt").code == 0
    )


def test_prompts_come_from_a_file_too(echo: str, aigc: Run, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("one\n\n二\n", encoding="utf-8")
    out = tmp_path / "x.txt"
    assert aigc("sample", "echo", "--prompts-from", tmp_path / "p", "--out", out).code == 0
    assert [t.partition(":")[0] for t in out.read_text(encoding="utf-8").split("\n---\n")] == ["one", "二"]
    (tmp_path / "p").write_bytes(b"\xff")
    assert "not UTF-8 at byte 0" in aigc("sample", "echo", "--prompts-from", tmp_path / "p").error
    (tmp_path / "p").write_bytes(b"\n")
    assert "holds no prompt" in aigc("sample", "echo", "--prompts-from", tmp_path / "p").error
    assert aigc("sample", "echo", "--prompts-from", tmp_path / "none").code == 3


def test_every_file_says_its_prompts_and_what_was_noted(echo: str, tmp_path: Path, aigc: Run) -> None:
    for out in ("x.txt", "f/", "x.tar", "x.npz"):
        aigc_core.sample(echo, prompts=["夏", "b"], count=3, out=tmp_path / out)
        assert replay(tmp_path / out).exact, out
    whole = aigc_core.inspect(tmp_path / "x.txt")
    lengths = [len(text) for text in (tmp_path / "x.txt").read_text(encoding="utf-8").split("\n---\n")]
    assert whole["prompts"] == ["夏", "b"]
    assert [note["letters"] for note in whole["notes"]] == lengths
    assert aigc_core.inspect(tmp_path / "f" / "000001.txt")["notes"] == [{"letters": lengths[1]}]
    with tarfile.open(tmp_path / "x.tar") as archive:
        member = archive.extractfile("000002.json")
        assert member is not None
        assert json.load(member)["notes"] == [{"letters": lengths[2]}]
    drawn = aigc_core.sample(echo, prompts=["夏", "b"], count=3)
    assert drawn is not None
    assert drawn.record["notes"] == whole["notes"]
    assert "prompts    '夏', 'b'" in aigc("inspect", tmp_path / "x.txt").out
    again = aigc("sample", "echo", "--prompt", "夏", "--prompt", "b", "-n", 3, "--out", tmp_path / "f/")
    assert "is there already" in again.err


def test_private_prompts_are_hidden_and_replayed_by_who_knows_them(
    echo: str, tmp_path: Path, aigc: Run
) -> None:
    out = tmp_path / "x.txt"
    done = aigc("sample", "echo", "--prompt", "my secret", "--prompt", "b", "--private", "--out", out)
    assert done.code == 0, done.err
    record = (tmp_path / "x.txt.json").read_text(encoding="utf-8")
    assert "secret" not in record
    assert all(prompt.startswith("pbkdf2") for prompt in json.loads(record)["prompts"])
    assert "a private one" in aigc("inspect", out).out
    with pytest.raises(NotFoundError, match="hides its 2 prompts, and 0 are given"):
        replay(out)
    with pytest.raises(UsageError, match="prompt 1 was another one than 'b'"):
        replay(out, prompts=["b", "b"])
    assert replay(out, prompts=["my secret", "b"]).exact
    plain = tmp_path / "plain.txt"
    aigc_core.sample(echo, prompts=["a"], out=plain)
    with pytest.raises(UsageError, match="leave out --prompt"):
        replay(plain, prompts=["a"])


@pytest.mark.parametrize("count", [1, 3, 10])
def test_chunks_put_together_are_the_samples(echo: str, count: int) -> None:
    found: dict[int, str] = {}
    ended = []
    for chunk in aigc_core.stream(echo, prompts=["夏天🏖", "b"], count=count, start=1, seed=2):
        assert "\ufffd" not in chunk.text, "no character is torn"
        assert chunk.index not in ended
        found[chunk.index] = found.get(chunk.index, "") + chunk.text
        ended += [chunk.index] if chunk.last else []
    drawn = texts(aigc_core.sample(echo, prompts=["夏天🏖", "b"], count=count, start=1, seed=2))
    assert [found[index] for index in range(1, 1 + count)] == drawn
    assert sorted(ended) == list(range(1, 1 + count))


def test_any_bytes_in_any_pieces_decode_as_the_whole_does() -> None:
    rng = np.random.default_rng(0)
    letters = ["a", "é", "夏", "🏖", "\n"]
    for _ in range(300):
        good = "".join(rng.choice(letters, 8)).encode()
        content = bytearray(good)
        for _ in range(rng.integers(0, 4)):
            content[rng.integers(len(content))] = rng.integers(1, 256)
        whole = bytes(content)
        cuts = sorted(rng.integers(0, len(whole) + 1, 5).tolist())
        decoder = Decoder()
        parts = [decoder.feed(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert "".join([*parts, decoder.end()]) == whole.decode("utf-8", "replace")
    decoder = Decoder()
    assert decoder.feed(b"ab\0cd") + decoder.feed(b"ef") + decoder.end() == "ab"


def test_stream_prints_the_texts_in_their_order_and_keeps_no_file(
    echo: str, aigc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = aigc("sample", "echo", "--prompt", "夏", "--prompt", "b", "-n", 6, "--stream")
    drawn = texts(aigc_core.sample(echo, prompts=["夏", "b"], count=6))
    assert (printed.code, printed.out) == (0, "\n---\n".join(drawn) + "\n")
    assert (
        aigc("sample", "echo", "--prompt", "b", "--stream").out
        == texts(aigc_core.sample(echo, prompts=["b"]))[0] + "\n"
    )
    assert not list(tmp_path.glob("*.txt"))
    assert "keeps no file" in aigc("sample", "echo", "--stream", "--out", "x.txt").error
    whole = aigc("sample", "echo", "--stream", "--sampler", "whole")
    assert (whole.code, "can't be streamed" in whole.error) == (2, True)
    gan = aigc_core.train("gan/mlp", "digits", steps=1, name="gan").weights
    assert "--stream is for texts, and these weights make image" in aigc("sample", gan, "--stream").error


def test_a_file_that_aigc_did_not_make_is_not_written_over(
    echo: str, aigc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the very text that was trained on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echo.txt").write_text("mine")
    refused = aigc("sample", "echo")
    assert (refused.code, "aigc did not make it" in refused.error) == (2, True)
    assert (tmp_path / "echo.txt").read_text() == "mine"
    assert (
        "--out echo-samples.txt"
        in aigc("train", "echo/echo", "--data", SETS["text"], "--name", "echo", "--steps", 2).out
    )
    (tmp_path / "other.txt.json").write_text('{"my": "notes"}')
    assert "other.txt.json is there already" in aigc("sample", "echo", "--out", "other.txt").error
    for seed in (1, 2):
        assert aigc("sample", "echo", "--seed", seed, "--out", "own.txt").code == 0, "its own it replaces"


def test_a_precision_that_the_model_does_not_have_is_refused(echo: str, aigc: Run) -> None:
    refused = aigc("sample", "echo", "--precision", "int8")
    assert (refused.code, "it does not declare 'int8-weights'" in refused.error) == (2, True)
    assert "it does not declare" in aigc("weights", "convert", "echo", "--precision", "int8").error
