"""Language models: aigc's text backend. Imported for every listing, so it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, FormatSpec, MetricSpec, ModelSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    registry.add(
        ModelSpec(
            id="text/gpt",
            summary="GPT-2: a transformer that predicts the next token",
            modality="text",
            license="MIT",
            paper="Radford et al. 2019",
            generator="aigc_text.gpt:GPT",
            config="aigc_text.config:GPTConfig",
            trainer="aigc_text.trainer:LanguageTrainer",
            trainer_config="aigc_text.config:LanguageTraining",
            tokenizer="aigc_text.vocabulary:TextTokenizer",
            data=DataNeeds(modality="text"),
            params="0.8 M and its vocabulary",
        )
    )
    registry.add(
        ModelSpec(
            id="text/lstm",
            summary="LSTM layers that predict the next token, the head tied",
            modality="text",
            license="MIT",
            paper="Hochreiter and Schmidhuber 1997; Press and Wolf 2016, arXiv:1608.05859",
            generator="aigc_text.lstm:LSTM",
            config="aigc_text.config:LSTMConfig",
            trainer="aigc_text.trainer:LanguageTrainer",
            trainer_config="aigc_text.config:LSTMTraining",
            tokenizer="aigc_text.vocabulary:TextTokenizer",
            data=DataNeeds(modality="text"),
            params="0.3 M and its vocabulary",
        )
    )


@hookimpl
def aigc_register_metrics(registry: Registrar) -> None:
    registry.add(
        MetricSpec(
            name="bits-per-byte",
            summary="bits a byte of held-out text, all of it, whatever its tokens",
            modality="text",
            metric="aigc_text.metrics:BitsPerByte",
        )
    )
    registry.add(
        MetricSpec(
            name="window-loss",
            summary="nats a token over windows drawn at random, as nanoGPT reports them",
            modality="text",
            metric="aigc_text.metrics:WindowLoss",
        )
    )


@hookimpl
def aigc_register_formats(registry: Registrar) -> None:
    registry.add(
        FormatSpec(
            name="huggingface",
            summary="folders of transformers: GPT-2",
            models=("text/gpt",),
            format="aigc_text.huggingface:HuggingFace",
        )
    )
