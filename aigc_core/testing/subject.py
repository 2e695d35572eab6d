"""A backend on the bench: what several checks of it share."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_core.errors import UsageError
from aigc_core.testing.kit import environment

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.backends import Backend
    from aigc_core.data.dataset import Dataset
    from aigc_core.interfaces import Batch, Block, Generator, Sampler, Trainer
    from aigc_core.options import Options
    from aigc_core.registry import Model, Registry
    from aigc_core.specs import DataInfo, Output
    from aigc_core.training.engine import AccelerateEngine
    from aigc_core.weights.file import Fitted

PROMPTS = ("the king", "and so")
"""What a model that takes prompts is given, where its data have no transcripts."""
BATCH = 8
"""Items a step, where it does not matter and the model's options allow it."""


@dataclass(frozen=True)
class Bench:
    """A backend, a registry that knows it, and a folder to write into."""

    registry: Registry
    backend: Backend
    folder: Path

    @property
    def models(self) -> list[str]:
        """The ids of its models."""
        return [i for i in self.registry.models if i.startswith(f"{self.backend.name}/")]

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Within the block, what is kept is kept below the folder."""
        with environment(AIGC_HOME=str(self.folder / "home")):
            yield

    def model(self, model_id: str) -> Model:
        return self.registry.load(model_id)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def source(self, model_id: str) -> tuple[str, tuple[int, int] | None]:
        """The tiny real data set that a model is put to, as `train` takes it: (data, size)."""
        from aigc_core.testing.material import real_data

        return real_data(self.model(model_id).spec.data, self.registry, self.folder)

    @functools.lru_cache(maxsize=8)  # noqa: B019 (a bench lives as long as its checks)
    def data(self, model_id: str) -> Dataset:
        """The same, opened."""
        from aigc_core.data.sources import open_data

        data, size = self.source(model_id)
        opened = open_data(data, self.registry, size=size)
        model = self.model(model_id)
        if model.spec.data.moments:
            from aigc_core.data.moments import with_moments

            opened = with_moments(opened)
        if model.tokenizer is None:
            return opened
        from aigc_core.data.tokens import for_model

        return for_model(opened, model.tokenizer, self._config(model_id), {}, None)

    def shapes(self, model_id: str) -> list[tuple[int, ...]]:
        """Shapes of items that the model is to be built for; what takes tokens cuts its own."""
        from aigc_core.testing.material import shapes

        model = self.model(model_id)
        return shapes(model.spec.data) if model.tokenizer is None else [self.data(model_id).info.shape]

    def items(self, model_id: str, shape: tuple[int, ...]) -> Dataset:
        """A few items of a shape: noise, but for what takes tokens."""
        from aigc_core.testing.material import random_items

        if self.model(model_id).tokenizer is not None:
            return self.data(model_id)
        return random_items(self.info(model_id, shape), 4 * self.batch_size(model_id))

    def info(self, model_id: str, shape: tuple[int, ...]) -> DataInfo:
        """What a generator is told of data of a shape, with labels where the model needs them."""
        from aigc_core.testing.material import info_of

        if self.model(model_id).tokenizer is not None:
            return self.data(model_id).info
        needs = self.registry.models[model_id].data
        classes = ("a", "b") if needs.labels else ()
        return info_of(needs.modality, shape, classes, transcripts=needs.transcripts)

    def batch_size(self, model_id: str) -> int:
        """BATCH, or the least above it that the training options allow."""
        from aigc_core.options import describe, parse

        schema = self.model(model_id).trainer_config
        default = next(o.default for o in describe(schema) if o.name == "batch_size")
        for size in (BATCH, 2 * BATCH, 4 * BATCH):
            with contextlib.suppress(UsageError):
                parse({"training": schema}, {"batch_size": size}, model_id)
                return size
        return int(default)

    def build(self, model_id: str, info: DataInfo) -> Generator[Any]:
        """A generator of default options, initialised from a fixed seed."""
        import torch

        torch.manual_seed(0)
        return self.model(model_id).generator(self._config(model_id), info)

    def _config(self, model_id: str) -> Options:
        from aigc_core.options import parse

        return parse({"model": self.model(model_id).config}, {}, model_id)["model"]

    def make(
        self, model_id: str, info: DataInfo, *, seed: int = 0, half: bool = False
    ) -> tuple[Trainer[Any, Any], AccelerateEngine]:
        """A trainer of default options and its engine; `half` computes in bfloat16."""
        from aigc_core.options import TrainingOptions, parse
        from aigc_core.training.engine import AccelerateEngine
        from aigc_core.training.settings import Settings

        model = self.model(model_id)
        size = self.batch_size(model_id)
        options = parse({"t": model.trainer_config}, {"batch_size": size}, model_id)["t"]
        assert isinstance(options, TrainingOptions)
        settings = Settings(precision="bf16" if half else "fp32", cpu=True)
        engine = AccelerateEngine(seed, size, 100, settings=settings)
        generator = self.build(model_id, info).to(engine.device).train()
        engine.begin(0)  # what a trainer draws as it is made is the same each time
        return model.trainer(generator, options, engine), engine

    def steps(
        self,
        trainer: Trainer[Any, Any],
        engine: AccelerateEngine,
        data: Dataset,
        start: int,
        stop: int,
        seed: int = 0,
    ) -> list[dict[str, Tensor]]:
        """Trains from one step to another; the metrics of each."""
        from aigc_core.data.batches import Batches

        size = trainer.options.batch_size
        batches = Batches(data, size, seed, trainer.generator.output, engine.device)
        told = []
        for number, batch in enumerate(batches.steps(start, stop), start):
            engine.begin(number)
            told.append(dict(trainer.step(batch)))
        return told

    def trained(self, model_id: str) -> Generator[Any]:
        """The generator of a short training on real data, ready to sample."""
        return self._trained(model_id)[0]

    def fitted(self, model_id: str) -> Fitted:
        """What its samplers draw with beside it."""
        return self._trained(model_id)[1]

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _trained(self, model_id: str) -> tuple[Generator[Any], Fitted]:
        data = self.data(model_id)
        if self.model(model_id).spec.trainer is None:
            return self.build(model_id, data.info).eval().requires_grad_(False), {}
        trainer, engine = self.make(model_id, data.info)
        self.steps(trainer, engine, data, 0, 5)
        generator = trainer.result().eval().requires_grad_(False)
        return generator, self.fit_samplers(model_id, trainer, generator, data)

    def fit_samplers(
        self, model_id: str, trainer: Trainer[Any, Any], generator: Generator[Any], data: Dataset
    ) -> Fitted:
        """What a trainer keeps for samplers, as at the end of a training."""
        from aigc_core.progress import Progress
        from aigc_core.training.fitted import fit_samplers

        spec = self.registry.models[model_id]
        return fit_samplers(trainer, spec, generator, data, 0, Progress(False).track)

    def draw(
        self,
        model_id: str,
        sampler: str,
        generator: Generator[Any],
        *,
        seed: int = 3,
        start: int = 0,
        size: int | None = None,
        by: Sampler[Any, Any] | None = None,
        **given: Any,
    ) -> Tensor:
        """One block of a sampler with its default options, given what it needs and its parts; of a new one, or `by` a
        given one."""
        import torch

        spec = self.model(model_id).sampler_spec(sampler)[1]
        block = self.block(model_id, sampler, generator, seed, start, size or spec.block, **given)
        with torch.inference_mode():
            return (by or self.sampler(model_id, sampler)).sample(generator, block)

    def sampler(self, model_id: str, sampler: str) -> Sampler[Any, Any]:
        """A sampler with its default options; those of the parts that it is given name their models."""
        model = self.model(model_id)
        return model.sampler(sampler)(model.sampler_config(sampler)(**model.spec.samplers[sampler].parts))

    def samplers(self, model_id: str) -> list[str]:
        """The samplers of a model, but those with a part whose model is not installed: nothing is known of them."""
        known = self.registry.models
        return [
            name for name, spec in known[model_id].samplers.items() if set(spec.parts.values()) <= set(known)
        ]

    def part(self, model_id: str, generator: Generator[Any]) -> Generator[Any]:
        """A generator that can be a part of another one's sampling: of the same sample rate, or what else there is."""
        trained = self.trained(model_id)
        if trained.output.details == generator.output.details:
            return trained
        return self.build(model_id, generator.data).eval().requires_grad_(False)

    def prompts(self, info: DataInfo) -> tuple[str, ...]:
        """What a model that takes prompts is given: of sounds what is said in them, so that it knows the letters."""
        said = tuple(map(str, info.details.get("examples", ())))
        return said if len(said) > 1 else PROMPTS

    def block(
        self,
        model_id: str,
        sampler: str,
        generator: Generator[Any],
        seed: int,
        start: int,
        size: int,
        **given: Any,
    ) -> Block:
        """A block with the pictures, masks, sounds, labels, prompts, parts and fitted tensors that a sampler takes."""
        import torch

        from aigc_core.data.batches import Batches
        from aigc_core.interfaces import Block

        _, spec = self.model(model_id).sampler_spec(sampler)
        device = torch.device("cpu")
        index = torch.arange(start, start + size)
        for need, name in (("image", "images"), ("sound", "sounds")):
            if need in spec.needs and name not in given:
                batches = Batches(self.data(model_id), size, 0, generator.output, device)
                given[name] = _cut(batches.batch(index % len(self.data(model_id))), generator.output)
        if "mask" in (*spec.needs, *spec.takes) and "masks" not in given:  # the left half is to be filled in
            given["masks"] = torch.zeros(size, 1, *generator.output.shape[1:])
            given["masks"][..., : generator.output.shape[2] // 2] = 1
        if spec.fitted and "fitted" not in given:
            given["fitted"] = self.fitted(model_id).get(sampler, {})
        if "label" in spec.needs and "labels" not in given:  # else each class in turn, where it knows any
            given["labels"] = index % max(len(generator.data.classes), 1)
        if "prompt" in spec.needs and "prompts" not in given:
            prompts = self.prompts(generator.data)
            given["prompts"] = tuple(prompts[i % len(prompts)] for i in index.tolist())
        if "parts" not in given:
            given["parts"] = {o: self.part(part, generator) for o, part in spec.parts.items()}
        return Block(seed, start, size, device, **given)


def _cut(batch: Batch, output: Output) -> Tensor:
    """Items as a sampler is given them: NaN follows the end of a sound that is shorter than others, or than what a
    generator makes."""
    import torch

    ends = batch.extras.get("length")
    if output.modality != "audio" or ends is None:
        return batch.x
    beyond = torch.arange(batch.x.shape[2]) >= ends[:, None, None]
    length = output.shape[-1] if output.shape[-1] > 0 else int(ends.max())
    x = batch.x.masked_fill(beyond, float("nan"))[:, :, :length]
    return torch.nn.functional.pad(x, (0, length - x.shape[2]), value=float("nan"))
