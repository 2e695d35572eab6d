"""The options of the models and of their training. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from aigc_core.options import Field, Options, TrainingOptions


class LanguageConfig(Options):
    """What every language model is told of its tokens."""

    context: int = Field(128, ge=1, le=1048576, description="tokens that it predicts from at once")
    tokenizer: Literal["characters", "bytes", "bpe"] = Field(
        "characters",
        description="what a token is: a character of the text, a byte, or a piece that is frequent in it",
    )
    vocabulary: int = Field(1024, ge=257, le=1000000, description="tokens of a bpe tokenizer")


class GPTConfig(LanguageConfig):
    layers: int = Field(4, ge=1, le=256, description="transformer blocks")
    heads: int = Field(4, ge=1, le=256, description="attention heads of a block; they divide the width")
    width: int = Field(128, ge=2, le=65536, description="size of a token's vector")
    inner: int | None = Field(None, ge=1, le=1048576, description="width inside the MLPs; none: 4 * width")
    bias: bool = Field(True, description="biases in linear layers and norms")
    tied: bool = Field(True, description="the head's matrix is the embedding's")
    activation: Literal["gelu_tanh", "gelu", "relu", "silu"] = Field("gelu_tanh", description="of the MLPs")
    epsilon: float = Field(1e-5, gt=0, le=1, description="of the layer norms")
    scale_attention: bool = Field(
        True, description="divide attention's products by the root of a head's width"
    )
    scale_by_layer: bool = Field(False, description="and by the number of the block")
    rows: int | None = Field(
        None, ge=1, le=1000000, description="of the embedding, if it has more than there are tokens"
    )
    weights: Literal["float32", "int8"] = Field(
        "float32", description="how matrices are kept; int8 is for sampling alone"
    )

    @model_validator(mode="after")
    def _heads(self) -> GPTConfig:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self


class LSTMConfig(LanguageConfig):
    layers: int = Field(2, ge=1, le=64, description="LSTM layers")
    width: int = Field(128, ge=1, le=65536, description="size of the state, and of a token's vector")
    context: int = Field(
        50, ge=1, le=1048576, description="tokens that it is trained on at once; it remembers more"
    )
    tied: bool = Field(True, description="the head's matrix is the embedding's")


class LanguageTraining(TrainingOptions):
    """What training a language model can be told."""

    batch_size: int = Field(8, ge=1, le=65536, description="windows a step, over all processes")
    lr: float = Field(4e-3, gt=0, le=10, description="peak learning rate; lower it for wide models")
    epochs: float = Field(10.0, gt=0, description="passes over the data, where --steps is not given")
    optimizer: Literal["adamw", "muon"] = Field(
        "muon", description="muon: Muon for the matrices within blocks, AdamW for the rest"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="memory of AdamW's mean of gradients")
    beta2: float = Field(0.99, ge=0, lt=1, description="memory of AdamW's mean of their squares")
    weight_decay: float = Field(
        0.1, ge=0, le=10, description="of matrices and embeddings; nothing else decays"
    )
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine"
    )
    final_lr: float = Field(0.0, ge=0, le=1, description="share of the learning rate that is left at the end")
    clip: float = Field(1.0, ge=0, description="longest gradient; 0: any")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of values dropped, of embeddings and of what blocks add"
    )
    lora: int = Field(
        0, ge=0, le=65536, description="rank of adapters that are trained instead (text/gpt); 0: none"
    )
    lora_alpha: float = Field(
        16.0, gt=0, description="what the adapters add is scaled by this over their rank"
    )


class LSTMTraining(LanguageTraining):
    """Defaults of text/lstm, those of char-rnn where nothing better was found."""

    batch_size: int = Field(50, ge=1, le=65536, description="windows a step, over all processes")
