"""Language models: aigc's text backend. Imported for every listing, so it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, FormatSpec, MetricSpec, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    samplers = {
        "sample": SamplerSpec(
            sampler="aigc_text.samplers:Sample",
            config="aigc_text.options:SampleOptions",
            summary="each token drawn from its distribution, through the filters that are asked for",
            nfe="the text's tokens",
            block=32,
        ),
        "greedy": SamplerSpec(
            sampler="aigc_text.samplers:Greedy",
            config="aigc_text.options:GreedyOptions",
            summary="the likeliest token each time",
            nfe="the text's tokens",
            random=False,
            block=32,
        ),
        "beam": SamplerSpec(
            sampler="aigc_text.beam:Beam",
            config="aigc_text.options:BeamOptions",
            summary="the likeliest of the texts that several beams follow",
            nfe="beams * the text's tokens",
            random=False,
            block=4,
        ),
    }
    registry.add(
        ModelSpec(
            id="text/gpt",
            summary="GPT-2's transformer, from a few thousand parameters to 1.5 B by its config",
            modality="text",
            license="MIT",
            paper="Radford et al. 2019",
            generator="aigc_text.gpt:GPT",
            config="aigc_text.config:GPTConfig",
            trainer="aigc_text.trainer:LanguageTrainer",
            trainer_config="aigc_text.config:LanguageTraining",
            tokenizer="aigc_text.vocabulary:TextTokenizer",
            data=DataNeeds(modality="text"),
            samplers=samplers,
            conditions=("prompt",),
            capabilities=("int8-weights", "bfloat16-weights"),
        )
    )
    registry.add(
        ModelSpec(
            id="text/lstm",
            summary="LSTM layers between an embedding and a head that share their matrix",
            modality="text",
            license="MIT",
            paper="Hochreiter and Schmidhuber 1997; Press and Wolf 2016, arXiv:1608.05859",
            generator="aigc_text.lstm:LSTM",
            config="aigc_text.config:LSTMConfig",
            trainer="aigc_text.trainer:LanguageTrainer",
            trainer_config="aigc_text.config:LSTMTraining",
            tokenizer="aigc_text.vocabulary:TextTokenizer",
            data=DataNeeds(modality="text"),
            samplers=samplers,
            conditions=("prompt",),
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
            default=False,
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
