"""How a language model is fitted: what is optimised by what, and that it learns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from aigc_text.coders import Characters
from aigc_text.config import GPTConfig, LanguageTraining, LSTMConfig
from aigc_text.gpt import GPT
from aigc_text.language import LanguageModel
from aigc_text.lstm import LSTM
from aigc_text.muon import Muon, newton_schulz
from aigc_text.trainer import LanguageTrainer
from aigc_text.vocabulary import TextTokenizer

import aigc_core.testing
from aigc_core.errors import UsageError
from aigc_core.interfaces import Batch
from aigc_core.specs import DataInfo
from aigc_core.training.engine import AccelerateEngine
from aigc_core.training.settings import Settings

TEXT = (Path(aigc_core.testing.__file__).parent / "data" / "shakespeare.txt").read_text()[:20000]
TOKENIZER = TextTokenizer(Characters.fit(lambda: [TEXT]))
INFO = DataInfo("text", (17,), assets=TOKENIZER.assets)
TOKENS = torch.from_numpy(TOKENIZER.encode(TEXT)).unfold(0, 17, 16)


def build(kind: str = "gpt") -> LanguageModel:
    torch.manual_seed(0)
    if kind == "lstm":
        return LSTM(LSTMConfig(layers=1, width=24, context=16), INFO)
    return GPT(GPTConfig(layers=2, heads=2, width=16, context=16), INFO)


def trainer(
    kind: str = "gpt", steps: int = 60, settings: Settings | None = None, **options: Any
) -> LanguageTrainer:
    options = {"batch_size": 16, **options}
    engine = AccelerateEngine(0, options["batch_size"], steps, cpu=True, settings=settings)
    engine.set_up()
    return LanguageTrainer(build(kind), LanguageTraining(**options), engine)


def steps(trainer: LanguageTrainer, start: int, stop: int, parts: int = 1) -> list[float]:
    """The losses of some steps, of batches that are functions of the step."""
    losses = []
    for step in range(start, stop):
        index = torch.randint(len(TOKENS), (16,), generator=torch.Generator().manual_seed(step))
        for part, chosen in enumerate(index.chunk(parts)):
            trainer.engine.begin(step, part)  # type: ignore[attr-defined]
            with trainer.engine.part(part):  # type: ignore[attr-defined]
                losses.append(float(trainer.step(Batch(TOKENS[chosen], chosen))["loss"]))
    return losses


@pytest.mark.parametrize("kind", ["gpt", "lstm"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_to_predict(kind: str, optimizer: str) -> None:
    """From about log(V) to less than the entropy of single letters, which takes looking at what stands before."""
    model = trainer(kind, steps=150, optimizer=optimizer, lr=1e-2)
    counts = torch.bincount(TOKENS.flatten()).double()
    frequency = counts[counts > 0] / counts.sum()
    entropy = float(-(frequency * frequency.log()).sum())
    losses = steps(model, 0, 150)
    assert losses[0] > entropy + 0.3
    assert sum(losses[-10:]) / 10 < entropy - 0.2


def test_the_loss_is_that_of_the_next_token() -> None:
    model = trainer()
    with torch.no_grad():
        logits = model.generator(TOKENS[:16, :16]).log_softmax(-1)
    expected = -logits.gather(2, TOKENS[:16, 1:, None]).mean()
    assert float(model.step(Batch(TOKENS[:16], torch.arange(16)))["loss"]) == pytest.approx(float(expected))


@pytest.mark.parametrize("kind", ["gpt", "lstm"])
def test_every_parameter_has_one_optimizer_and_only_matrices_decay(kind: str) -> None:
    model = trainer(kind, weight_decay=0.3)
    assert model.muon is not None
    found: list[torch.Tensor] = []
    for optimizer in (model.optimizer, model.muon):
        for group in optimizer.param_groups:
            found += group["params"]
            for parameter in group["params"]:
                assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0)
    assert sorted(map(id, found)) == sorted(map(id, model.generator.parameters()))
    inner = {id(p) for group in model.muon.param_groups for p in group["params"]}
    named = dict(model.generator.named_parameters())
    assert inner == {id(named[name]) for name in model.generator.stacks()}
    assert trainer(kind, optimizer="adamw").muon is None


def test_muon_makes_each_part_of_a_matrix_orthogonal() -> None:
    """Queries, keys and values each by themselves, whatever the sizes of their gradients."""
    x = torch.randn(2, 24, 8, generator=torch.Generator().manual_seed(0)).double()
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    singular = torch.linalg.svdvals(newton_schulz(x))
    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.3
    assert float((newton_schulz(x) * (u @ v)).sum((1, 2)).min()) > 0.8 * 8, "the singular vectors stay"
    matrix = torch.nn.Parameter(torch.zeros(24, 8))
    matrix.grad = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
    matrix.grad[8:16] *= 1000
    Muon([(matrix, 3)], 1.0, weight_decay=0).step()
    for part in matrix.detach().split(8):
        scaled = torch.linalg.svdvals(part / (0.2 * 8**0.5))
        assert 0.6 < float(scaled.min()) <= float(scaled.max()) < 1.3


def test_a_muon_step_is_of_adamws_size() -> None:
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.zeros(64, 256))
    matrix.grad = torch.randn(64, 256) * 1e-4
    Muon([(matrix, 1)], 0.5, weight_decay=0).step()
    assert float(matrix.detach().square().mean().sqrt()) == pytest.approx(0.5 * 0.2, rel=0.2)


def test_the_learning_rate_rises_then_falls_to_its_share() -> None:
    model = trainer(steps=1000, warmup=0.1, final_lr=0.25)
    rates = [model.schedule(step / 1000) for step in range(1001)]
    assert 0 < rates[0] < rates[50] < rates[99] <= 1
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert rates[-1] == pytest.approx(0.25)
    assert all(a >= b for a, b in pairwise(rates[101:]))


def test_a_long_gradient_is_shortened_when_the_parts_of_a_batch_have_added_up() -> None:
    """Two halves of a batch make the step that the batch makes, shortened or not."""
    results = []
    for parts in (1, 2):
        settings = Settings(precision="fp32", accumulate=parts)
        model = trainer(settings=settings, clip=0.01, optimizer="adamw")
        steps(model, 0, 3, parts)
        results.append(torch.cat([p.detach().flatten() for p in model.generator.parameters()]))
    assert torch.allclose(*results, atol=1e-5)


def test_dropout_does_not_depend_on_the_parts_of_a_batch() -> None:
    losses = {}
    for parts in (1, 2):
        settings = Settings(precision="fp32", accumulate=parts)
        losses[parts] = steps(trainer(settings=settings, dropout=0.5), 0, 1, parts)
    assert losses[1][0] == pytest.approx(sum(losses[2]) / 2, abs=1e-5)
    assert losses[1][0] != steps(trainer(), 0, 1)[0], "nothing was dropped"


@pytest.mark.parametrize("kind", ["gpt", "lstm"])
@pytest.mark.parametrize("lora", [0, 2])
def test_a_run_that_is_taken_up_goes_on_bit_for_bit(kind: str, lora: int) -> None:
    if kind == "lstm" and lora:
        pytest.skip("no adapters")
    options = {"dropout": 0.1, "lora": lora}
    whole = trainer(kind, **options)
    steps(whole, 0, 4)
    half = trainer(kind, **options)
    steps(half, 0, 2)
    again = trainer(kind, **options)
    steps(again, 0, 1)  # somewhere else
    again = trainer(kind, **options)
    again.load_state_dict(half.state_dict())
    steps(again, 2, 4)
    for name, tensor in whole.result().state_dict().items():
        assert torch.equal(tensor, again.result().state_dict()[name]), name


def test_weights_of_8_bits_are_not_trained() -> None:
    generator = build()
    generator.config = generator.config.model_copy(update={"weights": "int8"})
    with pytest.raises(UsageError, match="8 bits can't be trained"):
        LanguageTrainer(generator, LanguageTraining(), AccelerateEngine(0, 16, 10, cpu=True))
