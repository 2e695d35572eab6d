"""Tokenizers as the files of a Hugging Face folder: all three kinds written, characters and bytes read again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import UsageError
from aigc_text.bytepairs import ALPHABET, BytePairs
from aigc_text.coders import Bytes, Characters, Coder
from aigc_text.hub_files import LARGE, read_json, write_json
from aigc_text.hub_tokenizer import END
from aigc_text.vocabulary import TextTokenizer

TOKENIZER: Final = "tokenizer.json"
FILES: Final = (
    TOKENIZER, "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
"""What a tokenizer can be made of."""
EVERY: Final = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
"""The pre-tokenizer that makes a word of each character."""
NOWHERE: Final = "<|unknown|>"
"""Stands for unknown characters, and is in no vocabulary: then they are refused, not replaced."""


def write_tokenizer(tokenizer: TextTokenizer, folder: Path, context: int) -> None:
    """Files that `transformers` and `tokenizers` load, and that give the same tokens.

    The end is a special token there: text that is written like its name, of which this tokenizer makes characters, is
    the end for them, as it is with GPT-2's own files. Raises UsageError for a tokenizer that can't be written so.
    """
    coder = tokenizer.coder
    if isinstance(coder, BytePairs):
        names = _pieces(coder)
        special, kind = [names[number] for number in coder.special], "GPT2Tokenizer"
        merges = [" ".join(pair) for pair in coder.merges]
        vocabulary = {name: number for number, name in enumerate(names)}
        model = _pairs(vocabulary, merges)
        split = _byte_level(use_regex=True)
        write_json(folder / "vocab.json", vocabulary, indent=None)
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    elif isinstance(coder, Bytes):
        special, kind = [END], "PreTrainedTokenizerFast"
        vocabulary = {**_bytes(), END: coder.end}
        model, split = _pairs(vocabulary, []), _byte_level(use_regex=False)
    else:
        assert isinstance(coder, Characters)
        special, kind = [END], "PreTrainedTokenizerFast"
        vocabulary = {piece.decode(): number for number, piece in enumerate(coder.table[:-1])} | {
            END: coder.end
        }
        model, split = {"type": "WordLevel", "vocab": vocabulary, "unk_token": NOWHERE}, EVERY
    name = next(name for name, number in vocabulary.items() if number == coder.end)
    decoder = {"type": "Fuse"} if isinstance(coder, Characters) else _byte_level(use_regex=True)
    added = [_added(vocabulary[token], token) for token in special]
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": split, "post_processor": None, "decoder": decoder, "model": model,
    }  # fmt: skip
    write_json(folder / TOKENIZER, content)
    settings = {
        "tokenizer_class": kind, "add_prefix_space": False, "bos_token": name, "eos_token": name,
        "clean_up_tokenization_spaces": False, "model_max_length": context,
        "added_tokens_decoder": {str(entry["id"]): {k: v for k, v in entry.items() if k != "id"} for entry in added},
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)


def read_tokenizer(folder: Path, window: int) -> TextTokenizer:
    """The tokenizer of a folder: GPT-2's kind, or what `write_tokenizer` wrote. Raises DataError, DamagedFileError."""
    coder = _plain(read_json(folder / TOKENIZER, LARGE))
    return TextTokenizer.from_huggingface(folder, window) if coder is None else TextTokenizer(coder, window)


def _plain(content: Mapping[str, Any]) -> Coder | None:
    """Characters or bytes, if a `tokenizer.json` is exactly what is written of those."""
    model, split = content.get("model"), content.get("pre_tokenizer")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(vocabulary, dict) or END not in vocabulary:
        return None
    end = vocabulary[END]
    texts = {name: number for name, number in vocabulary.items() if name != END}
    if content.get("normalizer") is not None or content.get("post_processor") is not None:
        return None
    if content.get("added_tokens") != [_added(end, END)]:
        return None
    if model == _pairs(vocabulary, []) and split == _byte_level(use_regex=False):
        return Bytes() if vocabulary == {**_bytes(), END: 256} else None
    if model.get("type") == "WordLevel" and model.get("unk_token") == NOWHERE and split == EVERY:
        characters = "".join(texts)
        in_order = list(texts.values()) == list(range(len(texts))) and end == len(texts)
        if in_order and type(end) is int and all(len(name) == 1 for name in texts):
            return Characters(characters)
    return None


def _pieces(coder: BytePairs) -> list[str]:
    """The tokens' names. Raises UsageError where two have the same one: files name each once."""
    names = list(coder.vocabulary)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"the tokenizer has two tokens that are written {twice!r}, which files can't tell apart"
        )
    return names


def _bytes() -> dict[str, int]:
    """The 256 bytes in their order, in GPT-2's writing."""
    return dict(sorted(ALPHABET.items(), key=lambda item: item[1]))


def _pairs(vocabulary: Mapping[str, int], merges: list[str]) -> dict[str, Any]:
    return {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocabulary, "merges": merges,
    }  # fmt: skip


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _added(number: int, content: str) -> dict[str, Any]:
    return {
        "id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True,
    }  # fmt: skip
