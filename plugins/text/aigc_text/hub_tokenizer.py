"""The tokenizer of a Hugging Face folder of GPT-2's form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import DamagedFileError, DataError
from aigc_text.bytepairs import BytePairs, pairs
from aigc_text.hub_files import LARGE, read_json

END: Final = "<|endoftext|>"
"""GPT-2's own end, where the files name none."""

PLAIN: Final = {
    "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
    "byte_fallback": None, "ignore_merges": None,
}  # fmt: skip
"""What the model of a `tokenizer.json` may say beside its vocabulary and merges: nothing."""


def read(folder: Path) -> BytePairs:
    """From `tokenizer.json`, or else `vocab.json` and `merges.txt`; `tokenizer_config.json`,
    `special_tokens_map.json`, `added_tokens.json` and `config.json` say which tokens are special, and which of them
    ends a text.

    Raises DataError where there is no tokenizer, or one that works otherwise than GPT-2's; DamagedFileError for files
    that are not what they should be.
    """
    settings = _json(folder / "tokenizer_config.json")
    for name in ("add_prefix_space", "add_bos_token", "add_eos_token"):
        if settings.get(name):
            raise _refused(folder / "tokenizer_config.json", f"{name} = true")
    file = folder / "tokenizer.json"
    if file.is_file():
        vocabulary, merges, added = _one(file)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        file = folder / "vocab.json"
        vocabulary, merges, added = _two(folder)
    else:
        raise DataError(f"{folder}: holds no tokenizer: no tokenizer.json, and no vocab.json with merges.txt")
    decoder = settings.get("added_tokens_decoder") or {}
    entries = list(decoder.values()) if isinstance(decoder, dict) else [decoder]
    if not all(isinstance(entry, dict) and isinstance(entry.get("content"), str) for entry in entries):
        raise DamagedFileError(f"{folder / 'tokenizer_config.json'}: its added_tokens_decoder is malformed")
    added |= {entry["content"]: bool(entry.get("special")) for entry in entries}
    for content, special in added.items():
        if not special:
            raise _refused(folder, f"the added token {content!r}, which is not special")
    names = _special(folder, settings) | set(added)
    return _build(file, vocabulary, merges, names, _end(folder, settings))


def _build(
    file: Path, vocabulary: Mapping[str, int], merges: list[tuple[str, str]], names: set[str], end: str | int
) -> BytePairs:
    numbers = vocabulary.values()
    if sorted(numbers) != list(range(len(vocabulary))):
        raise _refused(file, "numbers of tokens that are not 0, 1, 2, ... without a gap")
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    number = vocabulary.get(end, -1) if isinstance(end, str) else end
    if not 0 <= number < len(pieces):
        raise DamagedFileError(f"{file}: the end of a text, {end!r}, is no token of its vocabulary")
    special = [vocabulary[name] for name in names if name in vocabulary]
    try:
        return BytePairs(pieces, merges, number, special)
    except DamagedFileError as error:
        raise DamagedFileError(f"{file}: {error}") from None


def _one(file: Path) -> tuple[dict[str, int], list[tuple[str, str]], dict[str, bool]]:
    """Vocabulary, merges and the added tokens (whether they are special) of a `tokenizer.json`."""
    content = _json(file)
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise _refused(file, f"a model of type {model.get('type') if isinstance(model, dict) else model!r}")
    for name, value in PLAIN.items():
        if model.get(name) not in (value, "", False, 0):
            raise _refused(file, f"its model's {name} = {model[name]!r}")
    if content.get("normalizer") is not None:
        raise _refused(file, f"its normalizer {_type(content['normalizer'])}")
    split = content.get("pre_tokenizer")
    if not isinstance(split, dict) or _type(split) != "ByteLevel":
        raise _refused(file, f"its pre-tokenizer {_type(split)}, not ByteLevel")
    if split.get("add_prefix_space", True) or not split.get("use_regex", True):
        raise _refused(file, "its pre-tokenizer, which adds a space or does not split at words")
    if content.get("post_processor") is not None and _type(content["post_processor"]) != "ByteLevel":
        raise _refused(file, f"its post-processor {_type(content['post_processor'])}, which may add tokens")
    if content.get("truncation") or content.get("padding"):
        raise _refused(file, "truncation or padding")
    try:
        added = {entry["content"]: int(entry["id"]) for entry in content.get("added_tokens", ())}
        special = {entry["content"]: bool(entry["special"]) for entry in content.get("added_tokens", ())}
        raw = model["merges"]
        merges = [(merge[0], merge[1]) if isinstance(merge, list) else pairs([merge])[0] for merge in raw]
        if not all(isinstance(part, str) for merge in merges for part in merge):
            raise TypeError
        return _vocabulary(model["vocab"], file) | added, merges, special
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise DamagedFileError(f"{file}: its vocabulary, merges or added tokens are malformed") from None


def _two(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]], dict[str, bool]]:
    """The same of `vocab.json` and `merges.txt`."""
    vocabulary = _vocabulary(_json(folder / "vocab.json"), folder / "vocab.json")
    extra = _vocabulary(_json(folder / "added_tokens.json"), folder / "added_tokens.json")
    file = folder / "merges.txt"
    try:
        # Not splitlines: pieces are written in characters that it takes for ends of lines.
        lines = [line.removesuffix("\r") for line in file.read_text(encoding="utf-8").split("\n")]
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{file}: cannot be read as text: {error}") from None
    merges = pairs(line for line in lines[lines[0].startswith("#version") :] if line.strip())
    return vocabulary | extra, merges, dict.fromkeys(extra, True)


def _special(folder: Path, settings: Mapping[str, Any]) -> set[str]:
    """The names of the tokens that stand for no text."""
    found: set[str] = set()
    for source in (settings, _json(folder / "special_tokens_map.json")):
        for name in (
            "bos_token",
            "eos_token",
            "unk_token",
            "pad_token",
            "sep_token",
            "cls_token",
            "mask_token",
        ):
            found.add(_content(source.get(name)))
        more = source.get("additional_special_tokens")
        found |= {_content(entry) for entry in more} if isinstance(more, list) else set()
    return found - {""}


def _end(folder: Path, settings: Mapping[str, Any]) -> str | int:
    """The token after each document, by its name or number."""
    for source in (settings, _json(folder / "special_tokens_map.json")):
        if name := _content(source.get("eos_token")):
            return name
    number = _json(folder / "config.json").get("eos_token_id")
    return number if isinstance(number, int) else END


def _content(entry: Any) -> str:
    """The name of a token, which files give as a text or within a record."""
    entry = entry.get("content") if isinstance(entry, dict) else entry
    return entry if isinstance(entry, str) else ""


def _vocabulary(content: Any, file: Path) -> dict[str, int]:
    if not isinstance(content, dict) or not all(type(number) is int for number in content.values()):
        raise DamagedFileError(f"{file}: its vocabulary is no table of tokens and their numbers")
    return dict(content)


def _json(file: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is no file."""
    return read_json(file, LARGE)


def _type(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else "none" if part is None else repr(part)


def _refused(file: Path, what: str) -> DataError:
    return DataError(f"{file}: {what}: only tokenizers that work as GPT-2's does can be taken over")
