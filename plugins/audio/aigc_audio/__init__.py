"""The registration module of aigc-audio: data only, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from aigc_core import Registrar

SOUNDS = DataNeeds(modality="audio", smallest=(1, 1024))
VOCODER = {"vocoder": "audio/vocoder"}
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
        parts=VOCODER,
        block=16,
    ),
}


@hookimpl
def aigc_register_models(registry: Registrar) -> None:
    registry.add(_tacotron())
    registry.add(_vocoder())
    for model in _vaes():
        registry.add(model)


def _tacotron() -> ModelSpec:
    return ModelSpec(
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


def _vocoder() -> ModelSpec:
    return ModelSpec(
        id="audio/vocoder",
        summary="From mel spectrograms to sound: networks around Griffin-Lim, against critics",
        modality="audio",
        license="MIT",
        paper="Siuzdak 2023, arXiv:2306.00814; Kong et al. 2020, arXiv:2010.05646; Masuyama et al. 2019, arXiv:1903.03971",
        params="2.3 M at 1x8000",
        generator="aigc_audio.vocoder:Vocoder",
        config="aigc_audio.config:VocoderConfig",
        trainer="aigc_audio.vocoder_trainer:VocoderTrainer",
        trainer_config="aigc_audio.config:VocoderTraining",
        data=SOUNDS,
        samplers={
            "copy": SamplerSpec(
                sampler="aigc_audio.vocoder_samplers:Copy",
                config="aigc_audio.config:CopyOptions",
                summary="the mel spectrogram of a given sound, made a sound again",
                nfe="2",
                needs=("sound",),
                random=False,
                block=8,
            )
        },
    )


def _vaes() -> tuple[ModelSpec, ModelSpec]:
    mel = ModelSpec(
        id="audio/vae",
        summary="Convolutional VAE of short sounds over mel spectrograms, class-conditional by option",
        modality="audio",
        license="MIT",
        paper="Kingma and Welling 2014, arXiv:1312.6114; Rybkin et al. 2021, arXiv:2006.13202",
        params="1.0 M at 1x8000",
        generator="aigc_audio.vae:MelVAE",
        config="aigc_audio.config:MelVAEConfig",
        trainer="aigc_audio.vae_trainer:VAETrainer",
        trainer_config="aigc_audio.config:VAETraining",
        data=SOUNDS,
        conditions=("label",),
        samplers=_vae_samplers("Mel", VOCODER),
    )
    raw = ModelSpec(
        id="audio/vae-raw",
        summary="Convolutional VAE of short sounds over their samples, class-conditional by option",
        modality="audio",
        license="MIT",
        paper="Kingma and Welling 2014, arXiv:1312.6114; Rybkin et al. 2021, arXiv:2006.13202",
        params="1.4 M at 1x8000",
        generator="aigc_audio.vae:RawVAE",
        config="aigc_audio.config:RawVAEConfig",
        trainer="aigc_audio.vae_trainer:VAETrainer",
        trainer_config="aigc_audio.config:RawVAETraining",
        data=SOUNDS,
        conditions=("label",),
        samplers=_vae_samplers("", {}),
    )
    return mel, raw


def _vae_samplers(options: str, parts: dict[str, str]) -> dict[str, SamplerSpec]:
    return {
        "prior": SamplerSpec(
            sampler="aigc_audio.vae_samplers:Prior",
            config=f"aigc_audio.config:{options}PriorOptions",
            summary="latents from the prior, of the classes that are asked for",
            parts=parts,
            block=16,
        ),
        "reconstruct": SamplerSpec(
            sampler="aigc_audio.vae_samplers:Reconstruct",
            config=f"aigc_audio.config:{options}ReconstructOptions",
            summary="encodes given sounds and decodes them again",
            nfe="2",
            needs=("sound",),
            parts=parts,
            block=16,
        ),
    }
