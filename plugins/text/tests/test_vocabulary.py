"""Tokenizers: every text to tokens and back, byte for byte; GPT-2's own, token for token."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aigc_text import bytepairs
from aigc_text.config import GPTConfig
from aigc_text.vocabulary import TextTokenizer
from helpers import SHARED

from aigc_core.errors import DamagedFileError, DataError, UsageError

REAL = Path(__file__).parents[3] / "aigc_core" / "testing" / "data" / "shakespeare.txt"
TINY_GPT2 = SHARED / "data" / "tiny-gpt2"
KINDS = ["characters", "bytes", "bpe"]
needs_gpt2 = pytest.mark.skipif(not TINY_GPT2.is_dir(), reason="no GPT-2 folder here")

HARD = [
    "", " ", "a", "\n", "\x00", "don't I'll we've they're I'm he'd it's 'S 'tis",
    "a  b   c    \n\n\n  d\t\te \r\n\r\nf", "夏天，海邊。我們去看海！", "西陸蟬聲唱，南冠客思侵。",
    "😀 👨‍👩‍👧 🇨🇳 e\u0301 ﬁ İ ß", "\x1c\x1d\x1e\x1f!\x1c \x85x\x85 \u2028\u2029\u3000 \u00a0x",
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|>", "12 345 ²Ⅷ¾ ৩ 3.14 x1y2", " " * 5000, "x" * 5000,
    "\u200b\ufeff\U0010ffff", "def f(x):\n    return x\n\n\n# ...!!!???''''s",
    "Größe naïve ÅÄÖ Ελληνικά русский עברית العربية हिन्दी ไทย",
]  # fmt: skip


def fitted(kind: str, *texts: str, vocabulary: int = 300, context: int = 8) -> TextTokenizer:
    config = GPTConfig(tokenizer=kind, vocabulary=vocabulary, context=context)  # type: ignore[arg-type]
    return TextTokenizer.fit(config, lambda: texts, {})


def mixed(count: int, seed: int) -> list[str]:
    """Texts put together at random of what is hard, some of them in ASCII alone."""
    rng = random.Random(seed)
    words = [
        *"aB12 \n\t'.!_\x00\x0b\x0c\x1c\x7f",
        "  ",
        "'s",
        "'ll",
        "夏",
        "😀",
        "é",
        "\u0301",
        "\x85",
        "\u3000",
        "²",
        "<|",
    ]
    alphabets = ([w for w in words if w.isascii()], words)
    return ["".join(rng.choices(rng.choice(alphabets), k=rng.randrange(40))) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_of_the_alphabet_comes_back_byte_for_byte(kind: str) -> None:
    texts = [*HARD, *mixed(300, 0)]
    tokenizer = fitted(kind, *texts)
    assert tokenizer.name == kind
    assert tokenizer.window == 9
    for text in texts:
        tokens = tokenizer.encode(text)
        assert tokenizer.end not in tokens, "no text has the end's token"
        assert tokenizer.decode(tokens) == text.encode()
        assert b"".join(tokenizer.token_bytes(int(t)) for t in tokens) == text.encode()
    together = tokenizer.encode_all([(text, i % 3 == 0) for i, text in enumerate(texts)])
    alone = [[*tokenizer.encode(t).tolist(), *[tokenizer.end] * (i % 3 == 0)] for i, t in enumerate(texts)]
    assert together.tolist() == list(chain.from_iterable(alone))
    assert tokenizer.encode_all([]).tolist() == []


@pytest.mark.parametrize("kind", KINDS)
def test_its_one_asset_makes_it_again(kind: str) -> None:
    tokenizer = fitted(kind, REAL.read_text(), "夏天")
    again = TextTokenizer.load(tokenizer.assets, window=5)
    assert list(tokenizer.assets) == ["tokenizer"]
    assert again.assets == tokenizer.assets
    assert (again.name, again.size, again.end, again.window) == (kind, tokenizer.size, tokenizer.end, 5)
    text = "First Citizen: speak, 夏天."
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_is_no_token_is_named(kind: str) -> None:
    tokenizer = fitted(kind, "abc")
    assert tokenizer.decode([tokenizer.end]) == b""
    assert tokenizer.decode(np.array([], np.uint16)) == b""
    for wrong in (tokenizer.size, -1):
        with pytest.raises(DataError, match=rf"token {wrong}: .* the tokens 0 \.\. {tokenizer.size - 1}"):
            tokenizer.decode([0, wrong])
        with pytest.raises(DataError, match=f"token {wrong}"):
            tokenizer.token_bytes(wrong)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_any_sequence_of_tokens_has_bytes(kind: str) -> None:
    tokenizer = fitted(kind, REAL.read_text())
    every = np.random.default_rng(0).permutation(tokenizer.size)
    parts = [tokenizer.token_bytes(int(token)) for token in every]
    assert tokenizer.decode(every) == b"".join(parts)
    assert set(range(256)) <= {part[0] for part in parts if len(part) == 1}


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_surrogate_pair_is_no_text(kind: str) -> None:
    with pytest.raises(DataError, match=r"character '\\udce4' \(U\+DCE4\)"):
        fitted(kind, "abc").encode("abc\udce4")


def test_a_character_that_was_not_learned_is_named() -> None:
    tokenizer = fitted("characters", "abc d")
    assert tokenizer.size == 6
    for text, name in (
        ("ab夏", "'夏' .U.590F, CJK"),
        ("B", "'B' .U.0042, LATIN"),
        ("\U0010ffff", "U.10FFFF"),
    ):
        with pytest.raises(DataError, match=f"character .*{name}.* has no token.*-o tokenizer=bytes"):
            tokenizer.encode(text)


def test_an_empty_text_makes_no_tokenizer() -> None:
    for kind in KINDS:
        for texts in ((), ("",), ("", "")):
            with pytest.raises(DataError, match="the training text is empty"):
                fitted(kind, *texts)


def test_a_vocabulary_is_as_large_as_the_text_can_fill() -> None:
    tokenizer = fitted("bpe", "low lower lowest low low", vocabulary=100000)
    assert 257 < tokenizer.size < 300
    assert len(tokenizer.encode("low")) == 1
    assert fitted("bpe", "x", vocabulary=257).size == 257
    assert fitted("bpe", REAL.read_text(), vocabulary=400).size == 400


def test_merges_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib, sys\nfrom pathlib import Path\nfrom aigc_text.vocabulary import TextTokenizer\n"
        "from aigc_text.config import GPTConfig\ntext = Path(sys.argv[1]).read_text()\n"
        "made = TextTokenizer.fit(GPTConfig(tokenizer='bpe', vocabulary=600), lambda: [text], {})\n"
        "print(hashlib.sha256(made.assets['tokenizer']).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code, REAL], capture_output=True, text=True, check=True)
    here = fitted("bpe", REAL.read_text(), vocabulary=600).assets["tokenizer"]
    assert there.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_how_a_text_is_cut_into_pieces_does_not_matter() -> None:
    text = REAL.read_text()[:20000] + " ".join(mixed(500, 1))
    tokenizer = fitted("bpe", text, vocabulary=500)
    whole = tokenizer.encode(text).tolist()
    for size in (1, 10, 1000):
        parts = list(bytepairs.cut(text, size))
        assert "".join(parts) == text
        assert [token for part in parts for token in tokenizer.encode(part).tolist()] == whole


def test_words_beyond_what_is_remembered_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = REAL.read_text()[:20000]
    tokenizer = fitted("bpe", text)
    whole = tokenizer.encode(text).tolist()
    monkeypatch.setattr(bytepairs, "WORDS", 10)
    assert TextTokenizer.load(tokenizer.assets).encode(text).tolist() == whole


def test_weights_keep_their_tokenizer() -> None:
    config = GPTConfig(tokenizer="characters")
    kept = fitted("characters", "abcdef").assets
    again = TextTokenizer.fit(config, lambda: ["abc", "fed"], kept)
    assert (again.assets, again.window) == (kept, config.context + 1)
    with pytest.raises(
        UsageError, match=r"does not fit the tokenizer of the weights: character 'g' \(U\+0067"
    ):
        TextTokenizer.fit(config, lambda: ["abc", "g"], kept)
    with pytest.raises(
        UsageError, match=r"have a tokenizer of characters, not of bpe; .*-o tokenizer=characters"
    ):
        TextTokenizer.fit(GPTConfig(tokenizer="bpe"), lambda: ["abc"], kept)


@pytest.mark.parametrize(
    ("asset", "message"),
    [
        (b"\xff", "is no JSON"),
        (b"[" * 100000, "is no JSON"),
        (b"[]", "unknown kind None"),
        (b'{"kind": "words"}', "unknown kind 'words'; update aigc-text"),
        (b'{"kind": "characters"}', "no text of characters"),
        (b'{"kind": "characters", "characters": "aa"}', "no text of characters that differ"),
        (b'{"kind": "bpe", "vocabulary": 3, "merges": [], "end": 0, "special": [0]}', "no lists of texts"),
        (b'{"kind": "bpe", "vocabulary": ["a"], "merges": [], "end": 7, "special": [7]}', "not all in its"),
        (b'{"kind": "bpe", "vocabulary": ["a", "b"], "merges": [], "end": 0, "special": [0]}', "no token for byte"),
        (b'{"kind": "bpe", "vocabulary": ["a", "b", "b"], "merges": [], "end": 0, "special": [0]}', "a token twice"),
    ],
)  # fmt: skip
def test_a_damaged_asset_is_one_clear_line(asset: bytes, message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        TextTokenizer.load({"tokenizer": asset})


def test_weights_without_a_tokenizer_say_so() -> None:
    with pytest.raises(DamagedFileError, match="hold no tokenizer"):
        TextTokenizer.load({})


@pytest.fixture(scope="module")
def gpt2() -> Any:
    import transformers

    return transformers.GPT2Tokenizer.from_pretrained(TINY_GPT2)


@needs_gpt2
@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.json"])
def test_gpt2_folders_give_the_tokens_of_transformers(form: str, gpt2: Any, tmp_path: Path) -> None:
    for name in ["tokenizer.json"] if form == "tokenizer.json" else ["vocab.json", "merges.txt"]:
        shutil.copy(TINY_GPT2 / name, tmp_path)
    tokenizer = TextTokenizer.from_huggingface(tmp_path, window=7)
    assert (tokenizer.size, tokenizer.end, tokenizer.window) == (50257, 50256, 7)
    again = TextTokenizer.load(tokenizer.assets)
    for text in [*HARD, *mixed(500, 2), REAL.read_text()[:50000]]:
        expected = gpt2.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert tokenizer.encode(text).tolist() == expected, repr(text)
        assert again.encode(text).tolist() == expected
        assert tokenizer.decode(expected) == text.encode()


@needs_gpt2
def test_the_end_of_a_text_is_the_one_that_the_folder_names(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TINY_GPT2 / name, tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<pad>": 50257, "<stop>": 50258}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 50257}')
    found = TextTokenizer.from_huggingface(tmp_path)
    assert (found.size, found.end) == (50259, 50257)
    assert found.decode([50258, 50257, 64]) == b"a", "what stands for no text has no bytes"
    (tmp_path / "tokenizer_config.json").write_text(
        '{"eos_token": {"content": "<stop>"}, "pad_token": "<pad>"}'
    )
    assert TextTokenizer.from_huggingface(tmp_path).end == 50258
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<none>"}')
    with pytest.raises(DamagedFileError, match="'<none>', is no token"):
        TextTokenizer.from_huggingface(tmp_path)


@needs_gpt2
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "WordPiece"}}, "a model of type 'WordPiece'"),
        ({"model": {"dropout": 0.1}}, "dropout = 0.1"),
        ({"model": {"byte_fallback": True}}, "byte_fallback = True"),
        ({"normalizer": {"type": "NFC"}}, "its normalizer NFC"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "its pre-tokenizer Whitespace"),
        ({"pre_tokenizer": None}, "its pre-tokenizer none"),
        ({"pre_tokenizer": {"add_prefix_space": True}}, "adds a space"),
        ({"post_processor": {"type": "TemplateProcessing"}}, "its post-processor TemplateProcessing"),
        ({"added_tokens": [{"id": 50257, "content": "    ", "special": False}]}, "added token '    '"),
        ({"added_tokens": [{"id": 50300, "content": "<x>", "special": True}]}, "without a gap"),
    ],
)
def test_what_is_no_tokenizer_of_gpt2_is_refused_by_name(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    whole = json.loads((TINY_GPT2 / "tokenizer.json").read_text(encoding="utf-8"))
    for name, value in change.items():
        whole[name] = {**whole[name], **value} if isinstance(value, dict) and whole[name] else value
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    with pytest.raises(DataError, match=message):
        TextTokenizer.from_huggingface(tmp_path)


def test_a_folder_without_a_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tokenizer\.json, and no vocab\.json with merges\.txt"):
        TextTokenizer.from_huggingface(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(DamagedFileError, match="cannot be read as JSON"):
        TextTokenizer.from_huggingface(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text('{"a": "b"}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(DamagedFileError, match="no table of tokens and their numbers"):
        TextTokenizer.from_huggingface(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(DamagedFileError, match="merge 'a b c' is not two pieces"):
        TextTokenizer.from_huggingface(tmp_path)
