"""GPT-2 folders: what transformers computes of one is what is computed here, and what is written it reads again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from aigc_text.beam import Beam
from aigc_text.config import GPTConfig
from aigc_text.gpt import GPT
from aigc_text.hub_files import INDEX, SINGLE, Shards, write_tensors
from aigc_text.hub_vocabulary import write_tokenizer
from aigc_text.huggingface import HuggingFace
from aigc_text.options import BeamOptions
from aigc_text.vocabulary import TextTokenizer
from helpers import SHARED
from safetensors.torch import load_file, save_file

from aigc_core import registry as registry_module
from aigc_core.errors import AigcError, DamagedFileError, DataError, UsageError
from aigc_core.interfaces import Block, Foreign
from aigc_core.registry import Registry
from aigc_core.specs import DataInfo
from aigc_core.weights import foreign
from aigc_core.weights.file import load

TINY = SHARED / "data" / "tiny-gpt2"
TEXT = (
    "the quick brown fox jumps over the lazy dog, and the dog sleeps on; " * 8 + "夏天的海边 \U0001f600\n\tÀé"
)
HARD = [
    "", " ", "the fox", "  two  spaces \n\n\n and\tlines\r\n", "it's we'll 12345 9,876.5", "夏天的海边",
    "\U0001f600\U0001f468‍\U0001f469‍\U0001f467 e\u0301 é", "\u00a0\u3000\u2028x\u0085", "\x00\x01\x7f", "a" * 3000,
]  # fmt: skip
"""Texts that tokenizers tend to disagree about."""

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "wide": (
        "bytes",
        {
            "n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 240, "n_inner": 24, "vocab_size": 300,
            "layer_norm_epsilon": 1e-3, "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True,
        },
    ),
    "untied": (
        "characters",
        {
            "n_layer": 1, "n_head": 4, "n_embd": 32, "n_positions": 256, "tie_word_embeddings": False,
            "activation_function": "relu", "scale_attn_weights": False,
        },
    ),
    "deep": ("bpe", {"n_layer": 5, "n_head": 1, "n_embd": 8, "n_positions": 211, "activation_function": "silu"}),
}  # fmt: skip
"""Shapes of fresh models, and what their tokens are."""


@pytest.fixture
def registry() -> Registry:
    return registry_module.default()


def tokenizer(kind: str) -> TextTokenizer:
    return TextTokenizer.fit(GPTConfig(tokenizer=kind, vocabulary=280), lambda: [TEXT], {})  # type: ignore[arg-type]


def fresh(folder: Path, shape: str) -> Any:
    """A random model as transformers makes and saves it, with the files of a tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    kind, settings = SHAPES[shape]
    tokens = tokenizer(kind)
    config = GPT2Config(**{"vocab_size": tokens.size, **settings}, bos_token_id=None, eos_token_id=None)
    torch.manual_seed(7)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for (
            name,
            parameter,
        ) in model.named_parameters():  # fresh ones are too small to tell one shape from another
            parameter.normal_(1.0 if "ln_" in name and name.endswith("weight") else 0.0, 0.3)
    model.save_pretrained(folder)
    write_tokenizer(tokens, folder, config.n_positions)
    return model


def peer(folder: Path) -> Any:
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()


def built(folder: Path, registry: Registry) -> GPT:
    found = HuggingFace().read(folder)
    generator = foreign.build(found, registry.load(found.model), folder)
    assert isinstance(generator, GPT)
    return generator


def farthest(ours: GPT, theirs: Any, length: int) -> float:
    """The largest difference of their logits, over the tokens that there are."""
    tokens = torch.randint(0, ours.tokenizer.size, (3, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        there = theirs(tokens).logits[..., : ours.tokenizer.size]
        here = ours(tokens)
    assert there.abs().max() > 0.01
    return float((here - there).abs().max())


def written(generator: GPT, folder: Path, record: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    about = {"model": "text/gpt", "license": "MIT", "parameters": 1, "tensors_digest": "sha256:0"}
    HuggingFace().write(
        generator, {**about, "data": {"name": "x"}, "training": {"steps": 3}, **(record or {})}, folder
    )
    return folder


def same(a: Foreign, b: Foreign) -> bool:
    """Whether two folders hold the same weights, bit for bit."""
    tensors = a.tensors.keys() == b.tensors.keys() and all(
        t.equal(b.tensors[name]) for name, t in a.tensors.items()
    )
    return tensors and a.config == b.config and a.info == b.info


def parity(folder: Path, theirs: Any, registry: Registry, beams: int = 3) -> None:
    """What is asked of every folder: logits with and without cache, and 200 tokens, greedy and by beams."""
    ours = built(folder, registry)
    length = min(ours.config.context, 211)
    assert farthest(ours, theirs, length) < 1e-4
    prompt = ours.tokenizer.encode("the fox").tolist()
    greedy, logits = continued(ours, prompt, 200)
    with torch.no_grad():
        there = theirs(torch.tensor([[*prompt, *greedy]])).logits[
            0, len(prompt) - 1 : -1, : ours.tokenizer.size
        ]
    assert float((logits - there).abs().max()) < 1e-4
    assert generated(ours, theirs, prompt, 1) == greedy
    if beams:
        block = Block(0, 0, 1, torch.device("cpu"), prompts=("the fox",))
        options = BeamOptions(max_tokens=200, min_tokens=200, beams=beams)
        (row,) = Beam(options).sample(ours, block).tolist()
        assert bytes(row) == ours.tokenizer.decode([*prompt, *generated(ours, theirs, prompt, beams)])


def continued(ours: GPT, prompt: list[int], count: int) -> tuple[list[int], torch.Tensor]:
    """The likeliest tokens after a prompt, the end left out, by the cache; and the logits of each, [count, V]."""
    tokens: list[int] = []
    rows = []
    with torch.inference_mode():
        memory = ours.memory(1, len(prompt) + count)
        logits = ours.advance(torch.tensor([prompt]), memory)
        for _ in range(count):
            rows.append(logits[0].clone())
            tokens.append(int(logits[0].index_fill(0, torch.tensor(ours.tokenizer.end), -torch.inf).argmax()))
            logits = ours.advance(torch.tensor([tokens[-1:]]), memory)
    return tokens, torch.stack(rows)


def generated(ours: GPT, theirs: Any, prompt: list[int], beams: int) -> list[int]:
    """200 tokens of transformers', without the rows of the embedding that are no tokens."""
    ids = torch.tensor([prompt])
    more = list(range(ours.tokenizer.size, theirs.config.vocab_size))
    with torch.no_grad():
        out = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=beams, min_new_tokens=200,
            max_new_tokens=200, eos_token_id=ours.tokenizer.end, pad_token_id=0, suppress_tokens=more or None,
        )  # fmt: skip
    found: list[int] = out[0, len(prompt) :].tolist()
    return found


@pytest.mark.skipif(not TINY.is_dir(), reason="no tiny-gpt2 beside the checkout")
def test_the_tiny_model_is_that_of_transformers(registry: Registry) -> None:
    parity(TINY, peer(TINY), registry)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fresh_model_is_that_of_transformers_and_goes_back(
    tmp_path: Path, registry: Registry, shape: str
) -> None:
    theirs = fresh(tmp_path / "there", shape)
    parity(tmp_path / "there", theirs, registry)
    back = written(built(tmp_path / "there", registry), tmp_path / "back")
    parity(back, peer(back), registry, beams=0)
    assert same(HuggingFace().read(tmp_path / "there"), HuggingFace().read(back))


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_the_written_tokenizer_gives_the_same_tokens(tmp_path: Path, kind: str) -> None:
    from transformers import AutoTokenizer

    tokens = tokenizer(kind)
    generator = GPT(GPTConfig(layers=1, heads=1, width=4, context=8, tokenizer=kind), info(tokens, 9))  # type: ignore[arg-type]
    folder = written(generator, tmp_path / "model")
    theirs = AutoTokenizer.from_pretrained(folder)
    known = [TEXT, TEXT[::-1]] if kind == "characters" else [*HARD, TEXT]
    for text in known:
        ids = theirs(text)["input_ids"]
        assert ids == tokens.encode(text).tolist(), text
        assert theirs.decode(ids) == text
    assert theirs.eos_token_id == tokens.end
    assert theirs.model_max_length == 8
    assert HuggingFace().read(folder).info.assets == tokens.assets


def test_a_character_that_has_no_token_is_refused_there_too(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(tokenizer("characters"), tmp_path, 8)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(Exception, match="WordLevel error"):
        theirs("the ☃")


@pytest.mark.skipif(not TINY.is_dir(), reason="no tiny-gpt2 beside the checkout")
def test_import_export_import_is_bit_equal(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = foreign.read(TINY, registry)
    (tmp_path / "a.safetensors").write_bytes(first.content)
    foreign.write(load(tmp_path / "a.safetensors", registry), tmp_path / "tiny-gpt2", registry, "huggingface")
    second = foreign.read(tmp_path / "tiny-gpt2", registry)
    for field in ("tensors_digest", "config", "parameters", "output"):
        assert second.record[field] == first.record[field], field
    assert first.record["license"] == second.record["license"] == "unknown"
    assert first.record["training"]["imported"] == "huggingface"


def test_without_the_prefix_and_with_old_buffers_and_a_tied_head_it_is_the_same(tmp_path: Path) -> None:
    fresh(tmp_path / "a", "deep")
    there = HuggingFace().read(tmp_path / "a")
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(tmp_path / "a" / SINGLE).items()}
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    for number in range(5):
        tensors[f"h.{number}.attn.bias"] = torch.ones(1, 1, 211, 211, dtype=torch.uint8)
        tensors[f"h.{number}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / "a" / SINGLE)
    assert same(HuggingFace().read(tmp_path / "a"), there)


def test_a_sharded_folder_is_the_same(tmp_path: Path) -> None:
    fresh(tmp_path / "a", "wide")
    there = HuggingFace().read(tmp_path / "a")
    tensors = load_file(tmp_path / "a" / SINGLE)
    (tmp_path / "a" / SINGLE).unlink()
    write_tensors(tensors, tmp_path / "a", limit=6000)
    assert len(list((tmp_path / "a").glob("model-*-of-*.safetensors"))) > 3
    found = HuggingFace().read(tmp_path / "a")
    assert same(found, there)
    assert INDEX in found.files
    theirs = peer(tmp_path / "a")
    assert theirs.transformer.wte.weight.equal(tensors["transformer.wte.weight"])


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_converted_and_that_is_said(tmp_path: Path, kind: str) -> None:
    fresh(tmp_path / "a", "wide")
    tensors = load_file(tmp_path / "a" / SINGLE)
    halves = {name: tensor.to(getattr(torch, kind)) for name, tensor in tensors.items()}
    save_file(halves, tmp_path / "a" / SINGLE)
    found = HuggingFace().read(tmp_path / "a")
    assert found.tensors["wte.weight"].equal(halves["transformer.wte.weight"].float())
    assert found.remarks == (f"{tmp_path / 'a'}: tensors of {kind} were converted to float32",)


def test_a_model_without_biases_is_written_with_zeros(tmp_path: Path) -> None:
    tokens = tokenizer("bytes")
    torch.manual_seed(0)
    ours = GPT(
        GPTConfig(layers=2, heads=2, width=8, context=16, tokenizer="bytes", bias=False), info(tokens, 17)
    )
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.5)
    assert farthest(ours.eval(), peer(written(ours, tmp_path / "a")), 16) < 1e-4


def test_the_licence_is_taken_from_the_model_card(tmp_path: Path, registry: Registry) -> None:
    fresh(tmp_path / "a", "deep")
    (tmp_path / "a" / "README.md").write_text(
        "---\nlanguage: en\nlicense: apache-2.0\n---\n\nlicense: none\n"
    )
    found = foreign.read(tmp_path / "a", registry)
    assert found.record["license"] == "apache-2.0"
    other = tmp_path / "a" / "README.md"
    other.write_text("no head\nlicense: mit\n")
    again = foreign.read(tmp_path / "a", registry)
    assert again.record["license"] == "unknown"
    assert again.record["tensors_digest"] == found.record["tensors_digest"]
    assert again.record["data"]["digest"] != found.record["data"]["digest"]


def test_weights_of_8_bits_are_refused(tmp_path: Path) -> None:
    tokens = tokenizer("bytes")
    ours = GPT(GPTConfig(layers=1, heads=1, width=4, context=8, tokenizer="bytes"), info(tokens, 9))
    ours.config = ours.config.model_copy(update={"weights": "int8"})
    with pytest.raises(UsageError, match="holds float32 alone, these weights are int8"):
        written(ours, tmp_path / "a")


def info(tokens: TextTokenizer, window: int) -> DataInfo:
    details = {"encoding": "utf-8", "tokenizer": tokens.name, "tokens": tokens.size}
    return DataInfo("text", (window,), (), details, tokens.assets)


# What can't be honoured, or is not what it should be


def setting(name: str, value: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        found = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**found, name: value}))

    return spoil


def content(name: str, value: bytes) -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_bytes(value))


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        found = load_file(folder / SINGLE)
        change(found)
        save_file(found, folder / SINGLE)

    return spoil


def index(value: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        shutil.move(folder / SINGLE, folder / "model-00001-of-00001.safetensors")
        (folder / INDEX).write_text(json.dumps(value))

    return spoil


def pickled(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


def bare(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)


def void(_: object) -> None:
    pass


SPOILT: dict[str, tuple[Callable[[Path], None], type[AigcError], str]] = {
    "another model": (setting("model_type", "bert"), DataError, "model_type is 'bert'"),
    "no model": (content("config.json", b"{}"), DataError, "model_type is None"),
    "cross attention": (setting("add_cross_attention", True), DataError, "add_cross_attention is set"),
    "quantised": (setting("quantization_config", {"bits": 4}), DataError, "quantization_config is set"),
    "pruned": (setting("pruned_heads", {"0": [1]}), DataError, "pruned_heads is set"),
    "own code": (setting("auto_map", {"AutoModel": "x.Y"}), DataError, "auto_map is set"),
    "activation": (setting("activation_function", "tanh"), DataError, "activation_function is 'tanh'; text/gpt has: "),
    "activation list": (setting("activation_function", []), DataError, "activation_function is []"),
    "epsilon": (setting("layer_norm_epsilon", "1e-5"), DamagedFileError, "layer_norm_epsilon is '1e-5'"),
    "true layers": (setting("n_layer", True), DamagedFileError, "n_layer is True, not a whole number"),
    "no width": (setting("n_embd", 0), DamagedFileError, "n_embd is 0"),
    "heads": (setting("n_head", 3), DamagedFileError, "n_head 3 does not divide n_embd 8"),
    "switch": (setting("scale_attn_weights", 1), DamagedFileError, "scale_attn_weights is neither"),
    "too many layers": (setting("n_layer", 2**31 - 1), DataError, "says 2147483647 layers"),
    "a layer more": (setting("n_layer", 6), DataError, "h.5.attn.c_attn.bias is missing (and 11 more)"),
    "a layer less": (setting("n_layer", 4), DataError, "holds h.4.attn.c_attn.bias (and 11 more), which text/gpt has no"),
    "width": (setting("n_embd", 65536), DataError, "is 24, not 196608"),
    "rows": (setting("vocab_size", 9), DataError, "transformer.wte.weight is 280x8, not 9x8"),
    "inner": (setting("n_inner", 5), DataError, "not 5, as config.json has it"),
    "untied": (setting("tie_word_embeddings", False), DataError, "lm_head.weight is missing"),
    "not JSON": (content("config.json", b"{"), DamagedFileError, "config.json: cannot be read as JSON"),
    "not UTF-8": (content("config.json", b'{"a": "\xff"}'), DamagedFileError, "is no UTF-8, from byte 7 on"),
    "nested": (content("config.json", b'{"a":' + b"[" * 10**5), DamagedFileError, "nested too deeply"),
    "a list": (content("config.json", b"[]"), DamagedFileError, "holds no JSON object"),
    "NaN": (content("config.json", b'{"model_type": NaN}'), DamagedFileError, "NaN is no JSON"),
    "a long number": (content("config.json", b'{"n_layer": ' + b"9" * 5000 + b"}"), DamagedFileError, "as JSON"),
    "large": (content("config.json", b" " * (2**20 + 1)), DamagedFileError, "larger than 1048576 bytes"),
    "a pickle": (pickled, DataError, "pytorch_model.bin alone, a pickle"),
    "no weights": (lambda f: (f / SINGLE).unlink(), DataError, "holds no model.safetensors and no"),
    "cut off": (lambda f: void((f / SINGLE).write_bytes((f / SINGLE).read_bytes()[:-9])), DamagedFileError, "damaged: "),
    "no tensors": (content(SINGLE, b""), DamagedFileError, "model.safetensors: damaged"),
    "missing": (tensors(lambda t: t.pop("transformer.ln_f.bias")), DataError, "ln_f.bias is missing"),
    "strange": (tensors(lambda t: t.update({"score.weight": torch.ones(2)})), DataError, "holds score.weight, which"),
    "twice": (
        tensors(lambda t: t.update({"ln_f.bias": torch.ones(8)})), DamagedFileError, "'ln_f.bias' with and without",
    ),
    "double": (
        tensors(lambda t: t.update({"transformer.ln_f.bias": torch.ones(8, dtype=torch.float64)})),
        DataError, "transformer.ln_f.bias is of type F64; taken are float32, float16, bfloat16",
    ),
    "another head": (
        tensors(lambda t: t.update({"lm_head.weight": torch.ones(280, 8)})),
        DataError, "lm_head.weight differs from wte.weight",
    ),
    "index elsewhere": (index({"weight_map": {"a": "../x.safetensors"}}), DamagedFileError, "is no .safetensors file"),
    "index of nothing": (index({"weight_map": {"a": "x.safetensors"}}), DamagedFileError, "names x.safetensors, which"),
    "index of others": (
        index({"weight_map": {"a": "model-00001-of-00001.safetensors"}}), DamagedFileError, "'a' is not in model-00001",
    ),
    "index of types": (index({"weight_map": {"a": 3}}), DamagedFileError, "has no weight_map"),
    "no index": (index([]), DamagedFileError, "holds no JSON object"),
    "no tokenizer": (bare, DataError, "holds no tokenizer (tokenizer.json, or vocab.json with merges.txt)"),
    "tokenizer": (content("tokenizer.json", b"[]"), DamagedFileError, "tokenizer.json: holds no JSON object"),
    "added tokens": (
        content("tokenizer_config.json", b'{"added_tokens_decoder": [3]}'), DamagedFileError, "added_tokens_decoder is",
    ),
    "an added text": (
        content("tokenizer_config.json", b'{"added_tokens_decoder": {"3": "x"}}'), DamagedFileError, "is malformed",
    ),
    "special tokens": (
        content("tokenizer_config.json", b'{"additional_special_tokens": 3, "add_bos_token": 1}'), DataError,
        "add_bos_token = true",
    ),
    "half a pair": (setting("activation_function", "\ud800"), DamagedFileError, "holds half of a surrogate pair"),
    "another tokenizer": (
        content("tokenizer.json", b'{"model": {"type": "Unigram"}}'), DataError, "a model of type 'Unigram'",
    ),
}  # fmt: skip
"""What is done to a folder, and what is said of it then."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("whole") / "model"
    fresh(folder, "deep")
    return folder


@pytest.mark.parametrize("name", SPOILT)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, whole: Path, name: str) -> None:
    shutil.copytree(whole, tmp_path / "model")
    spoil, kind, said = SPOILT[name]
    spoil(tmp_path / "model")
    with pytest.raises(kind) as error:
        HuggingFace().read(tmp_path / "model")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_vocabulary_larger_than_the_weights_is_refused(tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "model")
    tokens = TextTokenizer.fit(GPTConfig(tokenizer="bpe", vocabulary=290), lambda: [TEXT * 3], {})
    write_tokenizer(tokens, tmp_path / "model", 8)
    with pytest.raises(DataError, match=r"does not match its weights: 290 tokens, 280 rows of embedding"):
        HuggingFace().read(tmp_path / "model")


def test_tensors_are_read_into_memory_of_their_own(tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "model")
    found = HuggingFace().read(tmp_path / "model")
    before = {name: tensor.clone() for name, tensor in found.tensors.items()}
    with open(tmp_path / "model" / SINGLE, "r+b") as file:
        file.truncate(64)
    assert all(tensor.equal(before[name]) for name, tensor in found.tensors.items())


def test_what_does_not_fit_the_generator_is_named(whole: Path, registry: Registry) -> None:
    """The core's own check, behind that of the format."""
    found = HuggingFace().read(whole)
    model = registry.load("text/gpt")
    fewer = {name: t for name, t in found.tensors.items() if name != "ln_f.bias"}
    with pytest.raises(DataError, match=r"does not fit text/gpt: ln_f.bias is missing"):
        foreign.build(replace(found, tensors=fewer), model, whole)
    with pytest.raises(DataError, match=r"does not fit text/gpt: it has no more"):
        foreign.build(replace(found, tensors={**found.tensors, "more": torch.ones(1)}), model, whole)
    with pytest.raises(DataError, match=r"ln_f.bias is 9, not 8"):
        foreign.build(replace(found, tensors={**found.tensors, "ln_f.bias": torch.ones(9)}), model, whole)


def test_shards_are_read_one_tensor_at_a_time(whole: Path) -> None:
    shards = Shards(whole)
    assert shards.shapes["transformer.wte.weight"] == (280, 8)
    assert shards.tensor("transformer.wte.weight").dtype == torch.float32
