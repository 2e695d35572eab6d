"""What a backend declares: frozen records of plain data.

Nothing here imports torch, pydantic or a backend. A spec names classes by dotted strings
(`package.module:Class`), which `registry.load` resolves at last use, so that a listing costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

API_VERSION: Final = 1
"""The major version of the contract between core and backends; it names the entry point group."""

GROUP_PREFIX: Final = "aigc.v"
"""Before the API's number in the name of the entry point group: `aigc.v1`."""

CONDITIONS: Final = ("label", "prompt", "image", "sound", "mask")
"""What sampling can be conditioned on."""

CAPABILITIES: Final = {
    "bfloat16-weights": "its samplers work with weights cast to bfloat16",
    "int8-weights": "its config has `weights`, one of which is `int8`: matrices of 8 bits and a scale a row",
}
"""What a model can declare beyond its samplers and conditions; the conformance kit holds it to each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSpec:
    """An algorithm that draws from a generator, swappable without retraining."""

    sampler: str
    """`package.module:Class`, a subclass of `aigc_core.interfaces.Sampler`."""
    config: str
    """`package.module:Class`, a subclass of `aigc_core.options.Options` in a module without torch."""
    summary: str
    """One line for `aigc models show`."""
    nfe: str = "1"
    """Network evaluations a sample, as a number or in terms of the options (`2 * steps - 1`)."""
    needs: tuple[str, ...] = ()
    """Of CONDITIONS: what a request must bring beyond a seed."""
    takes: tuple[str, ...] = ()
    """Of CONDITIONS: what a request may bring, beyond what it must and what the model's `conditions` say."""
    fitted: bool = False
    """Whether it draws with what `Trainer.fitted` gave for it, which the weights file keeps beside the generator. Weights
    without it can't be drawn from by this one."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Options that name weights of another model, which it computes with too, and the id of that model:
    `{"vocoder": "audio/vocoder"}`. The option is a text, empty for none."""
    random: bool = True
    """Whether another seed gives other samples; greedy and beam search find one text for a prompt."""
    block: int = 64
    """Samples computed together; a sample's last bits depend on it, so its record names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataNeeds:
    """What a model can be fitted on; the bounds are axis by axis."""

    modality: str
    """`image`, `text` or `audio`."""
    smallest: tuple[int, ...] = ()
    """(1, 8, 8): one channel, 8x8 pixels; (2,): two bytes of text; (1, 256): 256 samples of mono sound."""
    largest: tuple[int, ...] = ()
    """Likewise; empty for no bound."""
    labels: bool = False
    """Whether it can't do without labels."""
    transcripts: bool = False
    """Whether it can't do without what is said in each sound."""
    moments: bool = False
    """Whether it must know how large values are: then `DataInfo.details` say `mean` and `deviation`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model of a backend: everything that a listing, a help page or a catalogue shows."""

    id: str
    """`family/name`; the family is the name of the backend's entry point."""
    summary: str
    """One line of at most 100 characters."""
    modality: str
    """What it makes: `image`, `text` or `audio`."""
    license: str
    """Of the code, as an SPDX identifier; weights say it too."""
    generator: str
    """`package.module:Class`, a subclass of `aigc_core.interfaces.Generator`; imported at last use."""
    config: str
    """`package.module:Class`, a subclass of `aigc_core.options.Options` in a module without torch."""
    data: DataNeeds
    """What it can be fitted on."""
    trainer: str | None = None
    """`package.module:Class`, a subclass of `aigc_core.interfaces.Trainer`; None for sampling only."""
    trainer_config: str | None = None
    """A subclass of `aigc_core.options.TrainingOptions`; None for that class itself."""
    tokenizer: str | None = None
    """`package.module:Class`, a subclass of `aigc_core.interfaces.Tokenizer`, for a model of texts that is fitted on
    tokens; None for one that takes bytes."""
    samplers: Mapping[str, SamplerSpec] = field(default_factory=dict)
    """The first one is the default."""
    conditions: tuple[str, ...] = ()
    """Of CONDITIONS: what every sampler can be given."""
    capabilities: tuple[str, ...] = ()
    """Of CAPABILITIES: what else it can do."""
    paper: str | None = None
    """Authors, year, arXiv id."""
    params: str | None = None
    """Roughly how many parameters the defaults give, for a reader: `1.1 M at 1x28x28`."""
    aliases: tuple[str, ...] = ()
    """Other short names."""
    replaced_by: str | None = None
    """The id to use instead, where this one is deprecated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A data set known by name."""

    name: str
    """What a user writes after `--data`."""
    summary: str
    """One line for `aigc data list`."""
    modality: str
    """`image`, `text` or `audio`."""
    license: str
    """Of the data."""
    source: str
    """`package.module:function`, called with (split: str); returns an `aigc_core.data.Dataset`."""
    shape: tuple[int, ...] = ()
    """Of one item."""
    count: int = 0
    """Items of the first split."""
    splits: tuple[str, ...] = ("train",)
    """The first one is what a model is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """A figure of merit over samples and data."""

    name: str
    """What a user writes."""
    summary: str
    """One line."""
    modality: str
    """What it judges."""
    metric: str
    """`package.module:Class`"""
    lower_is_better: bool = True
    models: tuple[str, ...] = ()
    """The ids of those that it can judge; empty for all of its modality."""
    default: bool = True
    """Whether it is measured where none is named; False for one that says little more than another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """The form of another library, in which weights are imported and exported."""

    name: str
    """What a user writes: `--format NAME`."""
    summary: str
    """One line."""
    models: tuple[str, ...]
    """The ids of the models whose weights can be written so."""
    format: str
    """`package.module:Class`, a subclass of `aigc_core.interfaces.Format`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """A sub-command that a backend adds under its own name: `aigc BACKEND COMMAND`."""

    name: str
    """Its last word: `aigc BACKEND NAME`."""
    summary: str
    """One line for `aigc BACKEND --help`."""
    command: str
    """`package.module:object`, a click command"""


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What a generator must know of its data to be built, and all of it; kept in the weights file."""

    modality: str
    shape: tuple[int, ...]
    """One item: (channels, height, width) for pictures, (channels, samples) for sound, (bytes,) for text."""
    classes: tuple[str, ...] = ()
    """The names of the labels 0, 1, ...; empty where there are no labels."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the modality needs beyond a shape, as JSON: the `encoding` of text; of sound the `sample_rate`, where they
    are known the names of the `speakers`, and where it has transcripts the first few different ones, as `examples`; for a model
    whose `DataNeeds` ask for `moments` the `mean` of each channel, a list, and the `deviation` of all values from those, where
    values lie in -1 .. 1."""
    assets: Mapping[str, bytes] = field(default_factory=dict)
    """Files that belong to it: a tokenizer's; the `characters` of all transcripts, in UTF-8, sorted; the `words`
    of all captions, a line each. They travel in the
    weights file as tensors, beside the generator's."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a generator emits: the shape of one item and the range of its values.

    Pictures and sounds: floats from `low` to `high`; where sounds are of any length, NaN follows the end of one that
    is shorter than others. Texts: whole numbers 0 .. 255, the bytes of UTF-8, whatever the range; a 0 ends a text.
    """

    modality: str
    """`image`, `audio` or `text`."""
    shape: tuple[int, ...]
    """Of one item; (-1,) for texts and (channels, -1) for sounds of any length."""
    low: float = -1.0
    high: float = 1.0
    details: Mapping[str, Any] = field(default_factory=dict)
    """What a file of samples must say beyond its values: the `sample_rate` of sound."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether one item of such a shape is what it says."""
        return len(shape) == len(self.shape) and all(
            b in (a, -1) for a, b in zip(shape, self.shape, strict=True)
        )


def dotted_paths(spec: ModelSpec | DatasetSpec | MetricSpec | CommandSpec | FormatSpec) -> list[str]:
    """Every `module:attribute` that a spec names."""
    if isinstance(spec, DatasetSpec):
        return [spec.source]
    if isinstance(spec, MetricSpec):
        return [spec.metric]
    if isinstance(spec, CommandSpec):
        return [spec.command]
    if isinstance(spec, FormatSpec):
        return [spec.format]
    paths = [spec.generator, spec.config, spec.trainer, spec.trainer_config, spec.tokenizer]
    for sampler in spec.samplers.values():
        paths += [sampler.sampler, sampler.config]
    return [path for path in paths if path is not None]
