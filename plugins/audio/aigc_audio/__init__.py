"""The registration module of aigc-audio: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar

SPEECH = {
    "griffin-lim": SamplerSpec(
        sampler="aigc_audio.tacotron.samplers:GriffinLim",
        config="aigc_audio.config:GriffinLimOptions",
        summary="speech, its sound by Griffin-Lim: no other weights needed",
        nfe="steps until it stops",
        block=16,
    ),
    "neural": SamplerSpec(
        sampler="aigc_audio.tacotron.samplers:Neural",
        config="aigc_audio.config:NeuralOptions",
        summary="speech, its sound by the weights of an audio/vocoder",
        nfe="steps until it stops + 1",
        parts={"vocoder": "audio/vocoder"},
        block=16,
    ),
}


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    registry.add(
        ModelSpec(
            id="audio/tacotron",
            summary="Text to speech in any language and several voices: a small Tacotron 2",
            modality="audio",
            license="MIT",
            paper="Shen et al. 2018, arXiv:1712.05884; Tachibana et al. 2018, arXiv:1710.08969",
            params="2.1 M at 8 kHz",
            generator="aigc_audio.tacotron.network:Tacotron",
            config="aigc_audio.config:TacotronConfig",
            trainer="aigc_audio.tacotron.trainer:TacotronTrainer",
            trainer_config="aigc_audio.config:TacotronTraining",
            data=DataNeeds(modality="audio", smallest=(1, 1024), transcripts=True),
            samplers=SPEECH,
            conditions=("prompt",),
        )
    )
