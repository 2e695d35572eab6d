"""Folders of transformers' GPT-2, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aigc_core.errors import DamagedFileError, DataError, UsageError
from aigc_core.interfaces import Foreign, Format
from aigc_core.specs import DataInfo
from aigc_text.gpt import GPT
from aigc_text.hub_config import read_config, write_config
from aigc_text.hub_files import FLOATS, Shards, read_json, write_json, write_tensors
from aigc_text.hub_vocabulary import FILES, TOKENIZER, read_tokenizer, write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Generator

MODEL: Final = "text/gpt"
CONFIG: Final = "config.json"
CARD: Final = "README.md"
PREFIX: Final = "transformer."
HEAD: Final = "lm_head.weight"
BUFFERS: Final = re.compile(r"h\.\d+\.attn\.(masked_)?bias")
"""The causal mask, which old files hold."""
PARTS: Final = {
    "ln_1": ("ln_1", 0, 0), "attn.qkv": ("attn.c_attn", 1, 3), "attn.proj": ("attn.c_proj", 1, 1),
    "ln_2": ("ln_2", 0, 0), "mlp.up": ("mlp.c_fc", 1, 0), "mlp.down": ("mlp.c_proj", 0, 1),
}  # fmt: skip
"""The layers of a block: ours, transformers', and their inputs and outputs, as multiples of the width (see `_shape`)."""


class HuggingFace(Format):
    """`config.json`, `model.safetensors` or several with their index, and a tokenizer's files."""

    def recognises(self, folder: Path) -> bool:
        return (folder / CONFIG).is_file()

    def read(self, folder: Path) -> Foreign:
        """See `Format.read`; every tensor is held against the config before any is read."""
        if not (folder / CONFIG).is_file():
            raise DataError(f"{folder}: holds no {CONFIG}: no folder of transformers")
        config = read_config(read_json(folder / CONFIG), folder / CONFIG)
        shards = Shards(folder)
        names = _named(shards, folder)
        _check(shards, names, config, folder)
        tokenizer = _tokenizer(folder, config)
        rows = config.pop("rows")
        if tokenizer.size > rows:
            raise DataError(
                f"{folder}: its vocabulary does not match its weights: {tokenizer.size} tokens, {rows} rows of embedding"
            )
        config |= {"tokenizer": tokenizer.name, "rows": rows if rows > tokenizer.size else None}
        if tokenizer.name == "bpe":
            config["vocabulary"] = tokenizer.size
        tensors = {ours: _read(shards, names[theirs], turned) for ours, theirs, turned in _table(config)}
        details = {"encoding": "utf-8", "tokenizer": tokenizer.name, "tokens": tokenizer.size}
        return Foreign(
            model=MODEL,
            config=config,
            info=DataInfo("text", (tokenizer.window,), (), details, tokenizer.assets),
            tensors=tensors,
            origin=folder.resolve().name,
            license=_license(folder),
            files=tuple(n for n in (CONFIG, CARD, *FILES, *shards.files) if (folder / n).is_file()),
            remarks=_remarks(shards, names, folder),
        )

    def write(self, generator: Generator[Any], record: Mapping[str, Any], folder: Path) -> None:
        """See `Format.write`. Biases that the model has not are written as zeros, which come to the same."""
        if not isinstance(generator, GPT):
            raise UsageError(f"format 'huggingface' holds {MODEL} alone, not {type(generator).__name__}")
        config, tokenizer = generator.config, generator.tokenizer
        if config.weights != "float32":
            raise UsageError(
                f"format 'huggingface' holds float32 alone, these weights are {config.weights}; export those that they "
                "were made of"
            )
        rows = generator.state_dict()["wte.weight"].shape[0]
        write_json(folder / CONFIG, write_config(config, rows, tokenizer.end))
        ends = {"bos_token_id": tokenizer.end, "eos_token_id": tokenizer.end}
        write_json(folder / "generation_config.json", ends)
        write_tensors(_foreign(generator, rows), folder)
        write_tokenizer(tokenizer, folder, config.context)
        (folder / CARD).write_text(_card(record), encoding="utf-8")


def _table(config: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Of each tensor: our name, transformers' without its prefix, whether it lies the other way round there."""
    yield "wte.weight", "wte.weight", False
    yield "wpe.weight", "wpe.weight", False
    for number in range(config["layers"]):
        for ours, (theirs, _, _) in PARTS.items():
            turned = not ours.startswith("ln_")
            yield f"blocks.{number}.{ours}.weight", f"h.{number}.{theirs}.weight", turned
            yield f"blocks.{number}.{ours}.bias", f"h.{number}.{theirs}.bias", False
    yield "ln_f.weight", "ln_f.weight", False
    yield "ln_f.bias", "ln_f.bias", False
    if not config["tied"]:
        yield "head.weight", HEAD, False


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """What transformers' tensors are, by name: its matrices are [in, out]."""
    width, inner = config["width"], config["inner"] or 4 * config["width"]
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (config["rows"], width),
        "wpe.weight": (config["context"], width),
        HEAD: (config["rows"], width),
    }
    shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    for number in range(config["layers"]):
        for ours, (theirs, ins, outs) in PARTS.items():
            size: tuple[int, ...] = (
                (ins * width or inner, outs * width or inner) if not ours.startswith("ln_") else (width,)
            )
            shapes[f"h.{number}.{theirs}.weight"] = size
            shapes[f"h.{number}.{theirs}.bias"] = size[-1:]
    return shapes


def _named(shards: Shards, folder: Path) -> dict[str, str]:
    """The names in the files by those without the prefix; without the buffers. Raises DamagedFileError."""
    found: dict[str, str] = {}
    for name in shards.shapes:
        short = name.removeprefix(PREFIX)
        if BUFFERS.fullmatch(short):
            continue
        if short in found:
            raise DamagedFileError(f"{folder}: holds {short[:80]!r} with and without {PREFIX!r} before it")
        found[short] = name
    return found


def _check(shards: Shards, names: Mapping[str, str], config: Mapping[str, Any], folder: Path) -> None:
    """Raises DataError unless the tensors are just those that the config asks for."""
    if config["layers"] > len(names):  # before a table of them is made
        raise DataError(
            f"{folder}: {CONFIG} says {config['layers']} layers, which its tensors are too few for"
        )
    shapes = _shapes(config)
    wanted = {theirs for _, theirs, _ in _table(config)}
    if missing := sorted(wanted - set(names)):
        raise DataError(f"{folder}: {missing[0]} is missing{_more(missing)}")
    if strange := sorted(set(names) - wanted - {HEAD}):
        raise DataError(f"{folder}: holds {strange[0][:80]}{_more(strange)}, which {MODEL} has no place for")
    for short, name in names.items():
        if shards.shapes[name] != shapes[short]:
            there, asked = ("x".join(map(str, shape)) for shape in (shards.shapes[name], shapes[short]))
            raise DataError(f"{folder}: {name} is {there}, not {asked}, as {CONFIG} has it")
    if HEAD in names and config["tied"]:
        head, embedding = shards.tensor(names[HEAD]), shards.tensor(names["wte.weight"])
        if not head.equal(embedding):
            raise DataError(f"{folder}: {HEAD} differs from wte.weight, which {CONFIG} says it is tied to")


def _tokenizer(folder: Path, config: Mapping[str, Any]) -> Any:
    if not any((folder / name).is_file() for name in (TOKENIZER, "vocab.json")):
        raise DataError(
            f"{folder}: holds no tokenizer ({TOKENIZER}, or vocab.json with merges.txt), and without one its tokens "
            "stand for nothing; copy the files of the model's own into it"
        )
    return read_tokenizer(folder, config["context"] + 1)


def _read(shards: Shards, name: str, turned: bool) -> Tensor:
    tensor = shards.tensor(name)
    return tensor.t().contiguous() if turned else tensor


def _foreign(generator: GPT, rows: int) -> dict[str, Tensor]:
    """The tensors of a generator by transformers' names."""
    state = generator.state_dict()
    config = generator.config
    shapes = _shapes({**config.model_dump(), "rows": rows})
    found = {}
    for ours, theirs, turned in _table(config.model_dump()):
        name = theirs if theirs == HEAD else f"{PREFIX}{theirs}"
        tensor = state[ours] if ours in state else state["wte.weight"].new_zeros(shapes[theirs])
        found[name] = (tensor.t() if turned else tensor).detach().cpu().contiguous()
    return found


def _remarks(shards: Shards, names: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    types = sorted({shards.types[name] for name in names.values()} - {"F32"})
    return tuple(f"{folder}: tensors of {FLOATS[kind]} were converted to float32" for kind in types)


def _license(folder: Path) -> str | None:
    """What the head of the model card says."""
    if not (folder / CARD).is_file():
        return None
    try:
        with open(folder / CARD, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
    except OSError as error:
        raise DamagedFileError(f"{folder / CARD}: cannot be read: {error.strerror}") from None
    head = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = re.search(r"^license:[ \t]*[\"']?([A-Za-z0-9.+-]{1,60})[\"']?[ \t]*$", head, re.MULTILINE)
    return found[1] if found else None


def _card(record: Mapping[str, Any]) -> str:
    """A model card in the form of the hub."""
    license = str(record["license"]).lower()
    head = "" if license == "unknown" else f"license: {license}\n"
    data, training = record["data"]["name"], record["training"]
    made = f"trained on {data}, {training['steps']:,} steps" if training["steps"] else f"imported from {data}"
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: text-generation\n{head}tags:\n- aigc\n---\n\n"
        f"A language model of GPT-2's architecture, {record['parameters']:,} parameters, {made}.\n\n"
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        '    tokenizer = AutoTokenizer.from_pretrained("DIR")\n'
        '    model = AutoModelForCausalLM.from_pretrained("DIR")\n\n'
        f"Written by aigc from weights of `{record['model']}`, {record['tensors_digest']}.\n"
    )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
