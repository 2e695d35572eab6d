"""Language models: aigc's text backend. Imported for every listing, so it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, FormatSpec, ModelSpec, hookimpl

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
            tokenizer="aigc_text.vocabulary:TextTokenizer",
            data=DataNeeds(modality="text"),
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
