"""`config.json` of GPT-2, to and from the config of `text/gpt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aigc_core.errors import DamagedFileError, DataError
from aigc_text.config import GPTConfig

ACTIVATIONS: Final = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu": "gelu",
    "gelu_python": "gelu", "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
"""By transformers' names; the first of several is the one that is written."""

SIZES: Final = {
    "layers": ("n_layer", "num_hidden_layers", 12),
    "heads": ("n_head", "num_attention_heads", 12),
    "width": ("n_embd", "hidden_size", 768),
    "context": ("n_positions", "max_position_embeddings", 1024),
    "rows": ("vocab_size", "vocab_size", 50257),
}
"""Ours: transformers' name, its other name, what it is where nothing is said."""

SWITCHES: Final = {
    "scale_attention": ("scale_attn_weights", True),
    "scale_by_layer": ("scale_attn_by_inverse_layer_idx", False),
    "tied": ("tie_word_embeddings", True),
}
"""Ours: transformers' name, what it is where nothing is said."""

REFUSED: Final = (
    "add_cross_attention",
    "pruned_heads",
    "quantization_config",
    "auto_map",
    "is_encoder_decoder",
)
"""What makes another model of it, where it is set."""


def read_config(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The config of `text/gpt` that a `config.json` amounts to, all but its tokenizer.

    `reorder_and_upcast_attn` is of no consequence in float32, dropout of none to what is trained. Raises DataError
    for what can't be honoured, by name, and DamagedFileError for values of the wrong kind.
    """
    kind = settings.get("model_type")
    if kind != "gpt2":
        raise DataError(f"{path}: model_type is {kind!r:.80}; of these folders only gpt2 can be taken over")
    for name in REFUSED:
        if settings.get(name):
            raise DataError(f"{path}: {name} is set, which text/gpt can't honour")
    config: dict[str, Any] = {}
    for ours, (name, other, default) in SIZES.items():
        config[ours] = _size(settings, name if name in settings else other, default, path)
    config["inner"] = None if settings.get("n_inner") is None else _size(settings, "n_inner", 0, path)
    for ours, (name, usual) in SWITCHES.items():
        config[ours] = settings.get(name, usual)
        if not isinstance(config[ours], bool):
            raise DamagedFileError(f"{path}: {name} is neither true nor false")
    epsilon = settings.get("layer_norm_epsilon", 1e-5)
    if not isinstance(epsilon, int | float) or isinstance(epsilon, bool) or not 0 < epsilon <= 1:
        raise DamagedFileError(f"{path}: layer_norm_epsilon is {epsilon!r:.40}, not a number in 0 .. 1")
    config["epsilon"] = float(epsilon)
    activation = settings.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise DataError(
            f"{path}: activation_function is {activation!r:.40}; text/gpt has: {', '.join(ACTIVATIONS)}"
        )
    config["activation"] = ACTIVATIONS[activation]
    if config["width"] % config["heads"]:
        raise DamagedFileError(f"{path}: n_head {config['heads']} does not divide n_embd {config['width']}")
    return config


def write_config(config: GPTConfig, rows: int, end: int) -> dict[str, Any]:
    """The `config.json` of a model with so many rows of embedding, and that token as its end."""
    values = config.model_dump(mode="json")
    named = {name: values[ours] for ours, (name, _, _) in SIZES.items() if ours != "rows"}
    switches = {name: values[ours] for ours, (name, _) in SWITCHES.items()}
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": rows,
        **named,
        "n_inner": config.inner,
        "activation_function": next(name for name, ours in ACTIVATIONS.items() if ours == config.activation),
        "layer_norm_epsilon": config.epsilon,
        **switches,
        "bos_token_id": end,
        "eos_token_id": end,
        "torch_dtype": "float32",
    }


def _size(settings: Mapping[str, Any], name: str, default: int, path: Path) -> int:
    value = settings.get(name, default)
    if type(value) is not int or not 1 <= value < 2**31:
        raise DamagedFileError(f"{path}: {name} is {value!r:.40}, not a whole number from 1 on")
    return value
