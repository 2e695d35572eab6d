"""The conformance kit has teeth: each check catches a backend that was spoilt in just that respect, and says how.

The backend is a copy of our own convolutional GAN. Each mutation is a mistake that an author may make.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers import Site

from aigc_core import registry as registry_module
from aigc_core.backends import BROKEN, OK
from aigc_core.data.sources import open_data
from aigc_core.plugins import probe
from aigc_core.plugins.entrypoints import EntryPoint
from aigc_core.plugins.quarantine import Verdict
from aigc_core.registry import Registry
from aigc_core.specs import DataNeeds
from aigc_core.testing import Outcome, cases, rehearsal
from aigc_core.testing.checks import runs, training
from aigc_core.testing.kit import all_checks, outcomes
from aigc_core.testing.material import real_data

SOURCE = Path(__file__).resolve().parent / "mutant"
MODULES = ("__init__.py", "config.py", "dcgan.py", "samplers.py", "trainer.py")

METADATA = """\
Metadata-Version: 2.1
Name: aigc-mutant
Version: 1.0
Requires-Dist: aigc-core<0.2,>=0.1
"""


@dataclass(frozen=True)
class Edit:
    """In a file of the backend, `old`, which occurs once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """A mistake, and what each check that is to catch it is to say."""

    name: str
    words: Mapping[str, tuple[str, ...]]
    edits: tuple[Edit, ...]


MUTATIONS: list[Mutation] = []


def spoil(name: str, checks: str, words: str | tuple[str, ...], *edits: tuple[str, str, str]) -> None:
    """Adds a mutation. Several checks are separated by blanks; each says one of the words then."""
    said, names = (words,) if isinstance(words, str) else words, checks.split()
    by_check = {checks: said} if len(names) == 1 else {n: (w,) for n, w in zip(names, said, strict=True)}
    MUTATIONS.append(Mutation(name, by_check, tuple(Edit(*edit) for edit in edits)))


# The places where most edits are made.
HOOK = "@hookimpl\ndef aigc_register_models"
SPEC_END = '            samplers={"prior": prior},\n'
STEP = "        count = len(batch)\n"
MADE = "        self.average = engine.average(generator, options.ema_half_life)\n"
FAKES = "made = self.network(self.engine.randn(count, self.generator.latent))"
UPDATE = "        self.average.update()\n"
TOLD = '"critic_loss": critic_loss.detach()'
RESULT = "    def result(self) -> Generator[Options]:\n        return self.average.generator\n"
PICTURES = "        return pictures[:, :, : self.data.shape[1], : self.data.shape[2]]"
LATENT = '    latent: int = Field(64, ge=1, le=4096, description="size of the latent")'
DRAWN = "        pictures: Tensor = generator(block.randn(generator.latent))\n"
NOISE = "block.randn(generator.latent)"
SAMPLER = "class Prior(Sampler[LatentGenerator, PriorOptions]):\n"

# What a package is.
spoil("a misspelt class", "loads", ("broken", "defines no 'DCGANN'", "did you mean 'DCGAN'"),
      ("__init__.py", "aigc_mutant.dcgan:DCGAN\"", "aigc_mutant.dcgan:DCGANN\""))  # fmt: skip
spoil("a generator that is none", "loads", ("aigc_mutant.dcgan:DCGANCritic", "is no aigc_core.interfaces"),
      ("__init__.py", "aigc_mutant.dcgan:DCGAN\"", "aigc_mutant.dcgan:DCGANCritic\""))  # fmt: skip
spoil("a module that can't be imported", "loads", ("cannot provide", "No module named 'no_such_module'"),
      ("samplers.py", "from torch import Tensor", "import no_such_module\nfrom torch import Tensor"))  # fmt: skip
spoil("torch to register", "registration-light", ("aigc_mutant imports", "torch", "where it is used"),
      ("__init__.py", "from typing import TYPE_CHECKING", "import torch\nfrom typing import TYPE_CHECKING"))  # fmt: skip
spoil("slow to register", "registration-light", ("registering takes", "ms, more than 50"),
      ("__init__.py", "from typing import TYPE_CHECKING", "import time\n\ntime.sleep(0.2)\nTYPE_CHECKING = False"))  # fmt: skip
spoil("an id in capitals", "names", ("'DCGAN' is no plain name", "use a-z"),
      ("__init__.py", 'id="mutant/dcgan"', 'id="mutant/DCGAN"'))  # fmt: skip
TWIN = f"""{SPEC_END}            aliases=("gan",),
        )
    )
    registry.add(
        ModelSpec(
            id="mutant/twin", summary="A twin", modality="image", license="MIT", data=data,
            generator="aigc_mutant.dcgan:DCGAN", config="aigc_mutant.config:DCGANConfig",
            samplers={{"prior": prior}}, aliases=("gan",),
"""
spoil("two models of one alias", "names", "mutant/twin and mutant/dcgan are both called 'gan'",
      ("__init__.py", SPEC_END, TWIN))  # fmt: skip
spoil("replaced by nothing", "names", "replaced by 'mutant/newer', which is not there",
      ("__init__.py", SPEC_END, f'{SPEC_END}            replaced_by="mutant/newer",\n'))  # fmt: skip
FORMS = """\
@hookimpl
def aigc_register_formats(registry):
    from aigc_core import FormatSpec
    registry.add(FormatSpec(name="Shelf", summary="x", models=("mutant/dcgan",), format="aigc_mutant.dcgan:DCGAN"))


"""
spoil("a form that is no Format", "names loads", ("'Shelf' is no plain name", "is no aigc_core.interfaces.format.Format"),
      ("__init__.py", HOOK, FORMS + HOOK))  # fmt: skip
spoil("a form of no model", "names loads", ("is of model mutant/other, which is not there", "of format 'shelf' is no"),
      ("__init__.py", HOOK, FORMS.replace("Shelf", "shelf").replace("mutant/dcgan", "mutant/other") + HOOK))  # fmt: skip
spoil("a self-check that finds something", "own-check", "the tables are missing; run make_tables",
      ("__init__.py", HOOK, "@hookimpl\ndef aigc_check(context):\n"
       f"    context.problem('the tables are missing; run make_tables')\n\n\n{HOOK}"))  # fmt: skip
LISTENER = "@hookimpl\ndef aigc_on_event(event):\n    {'train.start': print}[event.kind]\n\n\n"
spoil("deaf to new events", "listens", ("aigc_on_event fails on 'train.log'", "KeyError"),
      ("__init__.py", HOOK, LISTENER + HOOK))  # fmt: skip
spoil("no requirement", "requirements", ("does not require aigc-core", "add `aigc-core>=0.1,<0.2`"),
      ("METADATA", "Requires-Dist: aigc-core<0.2,>=0.1\n", ""))  # fmt: skip
spoil("no upper bound", "requirements", ("has no upper bound", "aigc-core>=0.1,<0.2"),
      ("METADATA", "aigc-core<0.2,>=0.1", "aigc-core>=0.1"))  # fmt: skip
spoil("a module left out of the wheel", "wheel", ("installed from its wheel it fails", "aigc_mutant.samplers"),
      ("RECORD", "aigc_mutant/samplers.py,,\n", ""))  # fmt: skip
spoil(
    "prints, files and pickles behind a curtain", "silent no-pickle",
    ("mutant/dcgan prints 'step 0 step 1 step 2': return metrics instead; mutant/dcgan writes .mutantrc, steps.log: the core",
     "mutant/dcgan uses pickle.dumps; keep tensors as safetensors"),
    ("trainer.py", STEP, f"""\
        import importlib, pathlib
        print("step", self.engine.step)
        pathlib.Path("steps.log").touch()
        pathlib.Path("~/.mutantrc").expanduser().touch()
        getattr(importlib.import_module("pick" + "le"), "dumps")(self.engine.step)
{STEP}"""),
)  # fmt: skip
spoil("torch.save", "no-pickle", ("trainer.py:", "uses torch.save", "safetensors"),
      ("trainer.py", STEP, f"        torch.save(self.state_dict(), self.engine.path)\n{STEP}"))  # fmt: skip

# What a model says of itself.
spoil("an unknown capability", "declares", ("declares 'fast'", "known words: bfloat16-weights, int8-weights"),
      ("__init__.py", SPEC_END, f'{SPEC_END}            capabilities=("fast",),\n'))  # fmt: skip
spoil("a part that is no model", "declares", "its part 'dcgan' is no model; name it as family/name",
      ("__init__.py", '        summary="latents from', '        parts={"helper": "dcgan"}, summary="latents from'))  # fmt: skip
spoil("a part that no option names", "options", "its part 'helper' must be an option",
      ("__init__.py", '        summary="latents from',
       '        parts={"helper": "mutant/dcgan"}, summary="latents from'))  # fmt: skip
spoil("no licence", "declares", ("names no licence", "SPDX"), ("__init__.py", 'license="MIT"', 'license=""'))
spoil("no sampler", "declares", "it has no sampler", ("__init__.py", SPEC_END, ""))
spoil("bounds the wrong way round", "declares", "smallest (1, 8, 8) exceeds largest (4, 4, 64)",
      ("__init__.py", "largest=(4, 64, 64)", "largest=(4, 4, 64)"))  # fmt: skip
spoil("ten times the parameters", "params", ("it declares 4 M at 1x28x28, but has 398,473 parameters",),
      ("__init__.py", "0.4 M at 1x28x28", "4 M at 1x28x28"))  # fmt: skip
spoil("parameters of no shape", "params", "must be like `1.1 M at 1x28x28`",
      ("__init__.py", "0.4 M at 1x28x28", "0.4 M"))  # fmt: skip
spoil("an option without a word", "options", "option 'latent' says nothing; give it a description",
      ("config.py", LATENT, "    latent: int = Field(64, ge=1, le=4096)"))  # fmt: skip
spoil("no lower bound", "options", "option 'latent' has no lower bound; give it ge= or gt=",
      ("config.py", LATENT, LATENT.replace("ge=1, ", "")))  # fmt: skip
spoil("unknown options are ignored", "options", "unknown options are not refused (extra='forbid')",
      ("config.py", LATENT, f'    model_config = {{"extra": "ignore"}}\n{LATENT}'))  # fmt: skip
CLAMP = """
    from pydantic import field_validator

    @field_validator("latent", mode="before")
    def clamp(cls, value: int) -> int:
        return max(value, 1)
"""
spoil("out of bounds is accepted", "options", "option 'latent': 0, out of its bounds, is accepted",
      ("config.py", LATENT, LATENT + CLAMP))  # fmt: skip
spoil("a default out of its bounds", "options", "the default of option 'latent' is not valid",
      ("config.py", LATENT, LATENT.replace("64", "0", 1)))  # fmt: skip
spoil("options that can be changed", "options", "options must be frozen",
      ("config.py", LATENT, f'    model_config = {{"frozen": False}}\n{LATENT}'))  # fmt: skip
spoil("one name for two options", "options", "both its model and its training options have a 'latent'",
      ("config.py", "class DCGANTraining(GANTraining):\n",
       f"class DCGANTraining(GANTraining):\n{LATENT.replace('(64', '(32')}\n"))  # fmt: skip
spoil("numpy in the options", "options-light", ("importing its option schemas imports numpy", "without"),
      ("config.py", "from typing import Literal", "from typing import Literal\n\nimport numpy"))  # fmt: skip
spoil("no crop at odd sizes", "builds step",
      ("sampler prior at 2x27x27 gives (2, 2, 28, 28), not (2, 2, 27, 27)", "a step fails at 2x27x27; mend that"),
      ("dcgan.py", PICTURES, "        return pictures"))  # fmt: skip
spoil("always the size of MNIST", "builds", "built for 1x8x8, its output is (1, 28, 28)",
      ("dcgan.py", 'Output("image", self.data.shape', 'Output("image", (1, 28, 28)'))  # fmt: skip
spoil("a size that is promised too much", "builds", ("it can't be built for 1x1x1", "smallest and largest"),
      ("__init__.py", "smallest=(1, 8, 8)", "smallest=(1, 1, 1)"),
      ("dcgan.py", "        self.latent = config.latent\n", "        self.latent = config.latent\n"
       "        if data.shape[1] < 4:\n            raise ValueError('too small')\n"))  # fmt: skip
spoil("a smallest size that is too small", "smoke", ("at its smallest size, 1x1x1, it can't be trained", "declare a larger"),
      ("__init__.py", "smallest=(1, 8, 8)", "smallest=(1, 1, 1)"))  # fmt: skip

# How it is trained.
spoil("a metric with its graph", "step", ("'critic_loss' is not detached", "add .detach()"),
      ("trainer.py", TOLD, '"critic_loss": critic_loss'))  # fmt: skip
spoil("a metric an item", "step", ("'critic_loss' is of shape (16,), not a 0-d tensor", "average it"),
      ("trainer.py", TOLD, '"critic_loss": scores.detach()'))  # fmt: skip
spoil("a metric that was read", "step", ("'critic_loss' is float, not a 0-d tensor", "leave it on the device"),
      ("trainer.py", TOLD, '"critic_loss": critic_loss.item()'))  # fmt: skip
spoil("a metric that is NaN", "step smoke", ("'critic_loss' is nan at 1x8x8", "'critic_loss' is not finite"),
      ("trainer.py", TOLD, '"critic_loss": scores[:0].detach().mean()'))  # fmt: skip
spoil("no metrics", "step", ("returns no metrics", "at least its loss"),
      ("trainer.py", f"return {{{TOLD}, \"generator_loss\": generator_loss.detach()}}", "return {}"))  # fmt: skip
spoil("the generator is detached in its own loss", "moves", ("the generator: ", "stays as it was", "cut off"),
      ("trainer.py", "(made * gradient)", "(made * 0 * gradient)"))  # fmt: skip
spoil("a layer behind a detached one", "moves", ("the generator: project.weight, project.bias stays as it was", "cut off"),
      ("dcgan.py", "grid = self.project(z)", "grid = self.project(z).detach()"))  # fmt: skip
spoil("an average that is never updated", "moves", ("what is kept: ", "stays as it was", "average ever updated"),
      ("trainer.py", UPDATE, ""))  # fmt: skip
spoil("the wrong sign", "learns", ("it does not learn: 100 steps", "sign of its loss"),
      ("trainer.py", "return -fake.mean()", "return fake.mean()"))  # fmt: skip
spoil("no learning rate", "learns", ("it does not learn: 100 steps", "does its optimizer step"),
      ("trainer.py", "self.network, options.lr", "self.network, 0.0"))  # fmt: skip
spoil("noise from numpy", "deterministic", ("two runs of one seed differ", "engine.randn"),
      ("trainer.py", FAKES, "import numpy\n"
       "            z = torch.from_numpy(numpy.random.randn(count, self.generator.latent)).float()\n"
       "            made = self.network(z)"))  # fmt: skip
spoil("a seed from the clock", "deterministic", ("two runs of one seed differ", "never from the clock"),
      ("trainer.py", STEP, f"        import time\n        torch.manual_seed(time.time_ns())\n{STEP}"),
      ("trainer.py", FAKES, "made = self.network(torch.randn(count, self.generator.latent))"))  # fmt: skip
spoil("an average in a list", "resumes", ("the kept generator differs after a resume", "list or dict"),
      ("trainer.py", MADE, MADE.replace("average = ", "averages = [").replace(")\n", ")]\n")),
      ("trainer.py", UPDATE, UPDATE.replace("average", "averages[0]")),
      ("trainer.py", RESULT, RESULT.replace("average", "averages[0]")))  # fmt: skip
spoil("an average that is left out of the state", "resumes", ("the kept generator differs after a resume", "state_dict()"),
      ("trainer.py", RESULT, "    def _stateful(self):\n        parts = super()._stateful()\n        del parts['average']\n"
       f"        return parts\n\n{RESULT}"))  # fmt: skip
spoil("an optimizer in a dict", "resumes", ("differs after a resume", "state_dict()"),
      ("trainer.py", MADE, f"{MADE}        self.optimizers = {{'generator': self.generator_optimizer}}\n"
       "        del self.generator_optimizer\n"),
      ("trainer.py", "self.generator_optimizer.zero_grad()", "self.optimizers['generator'].zero_grad()"),
      ("trainer.py", "self.generator_optimizer.step()", "self.optimizers['generator'].step()"))  # fmt: skip
spoil("a counter that steers the learning rate", "resumes", ("differs after a resume", "a function of engine.step"),
      ("trainer.py", MADE, f"{MADE}        self.done = 0\n"),
      ("trainer.py", STEP, "        self.done += 1\n        for group in self.generator_optimizer.param_groups:\n"
       f"            group['lr'] = self.options.lr / self.done\n{STEP}"))  # fmt: skip
spoil("a state that no file takes", "resumes", ("its state can't be kept", "set; use tensors, numbers and text"),
      ("trainer.py", RESULT, f"    def state_dict(self):\n        return {{'seen': {{1, 2}}}}\n\n{RESULT}"))  # fmt: skip
spoil("a plain attribute that is trained", "saves", ("sampler prior gives other samples", "a plain attribute"),
      ("trainer.py", UPDATE, f"{UPDATE}        self.average.generator.gain = 0.5\n"),
      ("dcgan.py", PICTURES, f"{PICTURES} * getattr(self, 'gain', 1.0)"))  # fmt: skip
spoil("a buffer that is not saved", "saves", ("sampler prior gives other samples", "not persistent"),
      ("dcgan.py", "        self.latent = config.latent\n", "        self.latent = config.latent\n"
       "        self.register_buffer('gain', torch.ones(()), persistent=False)\n"),
      ("trainer.py", UPDATE, f"        self.generator.gain.mul_(0.9)\n{UPDATE}"),
      ("dcgan.py", PICTURES, f"{PICTURES} * self.gain"))  # fmt: skip
spoil("a config that is changed", "saves", ("its config changes: (latent=65", "is loaded as (latent=66", "as it was given"),
      ("dcgan.py", "        self.latent = config.latent\n", "        self.latent = config.latent\n"
       "        self.config = config.model_copy(update={'latent': config.latent + 1})\n"
       "        config = config.model_copy(update={'latent': 64})\n        self.latent = 64\n"))  # fmt: skip
spoil("a layer that is added in training", "saves",
      ("its own weights file can't be loaded", "config and data alone", "late.weight"),
      ("trainer.py", UPDATE, f"{UPDATE}        self.average.generator.late = nn.Linear(1, 1)\n"))  # fmt: skip
spoil("types that don't mix in a step", "precision", ("a step fails in bfloat16", "cast where torch does not"),
      ("trainer.py", "            scores = self.shared_critic(torch.cat([batch.x, fakes])).to(batch.x.dtype)\n",
       "            raw = self.shared_critic(torch.cat([batch.x, fakes]))\n"
       "            scores = torch.zeros(2 * count)\n            scores[torch.arange(2 * count)] = raw\n"))  # fmt: skip
spoil("samples that hold the step's graph", "shows", ("samples() is not detached", "add .detach()"),
      ("trainer.py", "self.fakes = fakes = made.detach()", "fakes = made.detach()\n            self.fakes = made"))  # fmt: skip
spoil("samples of another step's size", "shows", ("samples() gives (4, 1, 8, 8), not (8, 1, 8, 8)", "the last step"),
      ("trainer.py", "        return self.fakes\n", "        return self.fakes[:4]\n"))  # fmt: skip
spoil("samples in another range", "shows", ("samples() lie in ", "not in the output's -1 .. 1"),
      ("trainer.py", "        return self.fakes\n", "        return self.fakes + 2\n"))  # fmt: skip
spoil("numpy in a sampler", "precision", ("sampler prior fails in bfloat16", "BFloat16"),
      ("samplers.py", DRAWN, f"{DRAWN}        pictures.numpy()\n"))  # fmt: skip
spoil("Ctrl-C is ignored", "cancels", ("Ctrl-C is not heard", "leave the signal handlers alone"),
      ("trainer.py", STEP, f"        import signal\n        signal.signal(signal.SIGINT, signal.SIG_IGN)\n{STEP}"))  # fmt: skip
spoil("a thread that goes on", "cancels", ("leaves threads or processes behind: feeder", "in `finally`"),
      ("trainer.py", STEP, f"""\
        import threading, time
        if self.engine.step == 0:
            threading.Thread(target=time.sleep, args=(9,), name="feeder", daemon=True).start()
{STEP}"""))  # fmt: skip
BFLOAT16 = ("__init__.py", SPEC_END, f'{SPEC_END}            capabilities=("bfloat16-weights",),\n')
spoil(
    "8 bits that nobody wrote",
    "int8-weights",
    ("as_int8() fails", "has no form of 8 bits"),
    ("__init__.py", SPEC_END, f'{SPEC_END}            capabilities=("int8-weights",),\n'),
)
spoil("bfloat16 that numpy does not know", "bfloat16-weights",
      ("sampler prior fails with bfloat16 weights", "BFloat16", "do not declare"),
      BFLOAT16, ("samplers.py", DRAWN, f"        generator.project.weight.numpy()\n{DRAWN}"))  # fmt: skip
spoil("a table that bfloat16 rounds", "bfloat16-weights", ("with bfloat16 weights gives other samples", "a table"),
      BFLOAT16, ("dcgan.py", "        self.latent = config.latent\n", "        self.latent = config.latent\n"
       "        self.register_buffer('clock', torch.arange(300.0))\n"),
      ("dcgan.py", PICTURES, f"{PICTURES} + 0.5 * self.clock[257].cos()"))  # fmt: skip

# How it is sampled.
spoil("a range that is not its own", "output", ("its samples lie in -", "its output declares 0 .. 1"),
      ("dcgan.py", "self.data.shape, -1.0, 1.0)", "self.data.shape, 0.0, 1.0)"))  # fmt: skip
spoil("channels last", "output", "gives (64, 8, 8, 1), not (64, 1, 8, 8)",
      ("samplers.py", DRAWN, f"{DRAWN}        pictures = pictures.permute(0, 2, 3, 1)\n"))  # fmt: skip
spoil("not a number", "output", "its samples are not finite",
      ("samplers.py", DRAWN, f"{DRAWN}        pictures = pictures / 0 - pictures / 0\n"))  # fmt: skip
spoil("noise from torch", "sample-independent leaves-no-trace",
      ("otherwise the second time: draw from the block alone", "sampling draws from torch's, numpy's or Python's"),
      ("samplers.py", NOISE, "__import__('torch').randn(block.size, generator.latent)"))  # fmt: skip
spoil("noise from numpy", "sample-independent leaves-no-trace",
      ("otherwise the second time: draw from the block alone", "sampling draws from torch's, numpy's or Python's"),
      ("samplers.py", "from torch import Tensor", "import numpy\nimport torch\nfrom torch import Tensor"),
      ("samplers.py", NOISE, "torch.from_numpy(numpy.random.randn(block.size, generator.latent)).float()"))  # fmt: skip
spoil("a sampler that counts", "sample-independent", "otherwise the second time",
      ("samplers.py", SAMPLER, f"{SAMPLER}    calls = 0\n"),
      ("samplers.py", DRAWN, f"        self.calls += 1\n{DRAWN}        pictures = pictures / self.calls\n"))  # fmt: skip
spoil(
    "chance that is not declared",
    "sample-independent",
    "another seed gives other samples",
    (
        "__init__.py",
        'config="aigc_mutant.config:PriorOptions",',
        'config="aigc_mutant.config:PriorOptions",\n    random=False,',
    ),
)
spoil("the seed is not used", "sample-independent", "another seed gives the same samples",
      ("samplers.py", NOISE, "Block(0, block.start, block.size, block.device).randn(generator.latent)"))  # fmt: skip
spoil("the place in the block is used", "sample-independent neighbours",
      ("all blocks are the same", "the place in the block used instead of the index"),
      ("samplers.py", NOISE, "block.randn_of(list(range(block.size)), generator.latent)"))  # fmt: skip
spoil("one row for all", "sample-independent", ("all samples of a block are the same", "a row a sample"),
      ("samplers.py", NOISE, "block.randn_of([block.start] * block.size, generator.latent)"))  # fmt: skip
spoil("statistics of the batch", "neighbours leaves-no-trace",
      ("in blocks of 2, ", "sampling changes layers.0."),
      ("samplers.py", DRAWN, f"        generator.train()\n{DRAWN}        generator.eval()\n"))  # fmt: skip
spoil("normalised over the batch", "neighbours", ("in blocks of 2, ", "rows see each other", "a mean over the batch"),
      ("samplers.py", DRAWN, f"{DRAWN}        pictures = pictures / pictures.abs().max()\n"))  # fmt: skip
spoil("another mode", "leaves-no-trace", ("leaves the generator in another mode", "evaluation mode"),
      ("samplers.py", DRAWN, f"{DRAWN}        generator.train()\n"))  # fmt: skip
spoil("as many threads as it likes", "leaves-no-trace", "sampling changes torch's number of threads for the whole",
      ("samplers.py", "from torch import Tensor", "import torch\nfrom torch import Tensor"),
      ("samplers.py", DRAWN, f"        torch.set_num_threads(torch.get_num_threads() + 1)\n{DRAWN}"))  # fmt: skip
spoil("labels that are not used", "conditions", "conditioned on labels, but they change nothing",
      ("__init__.py", SPEC_END, f'{SPEC_END}            conditions=("label",),\n'))  # fmt: skip
spoil("pictures that are not used", "conditions", "it needs pictures, but they change nothing",
      ("__init__.py", '        summary="latents from', '        needs=("image",),\n        summary="latents from'))  # fmt: skip
spoil("Ctrl-C is swallowed", "stops", ("Ctrl-C while it samples is swallowed", "never KeyboardInterrupt"),
      ("samplers.py", DRAWN, """\
        z = block.randn(generator.latent)
        try:
            pictures = generator(z)
        except KeyboardInterrupt:
            pictures = z.new_zeros(block.size, *generator.output.shape)
"""))  # fmt: skip
spoil("Ctrl-C becomes another error", "stops", ("Ctrl-C while it samples becomes", "RuntimeError: no luck", "let it pass"),
      ("samplers.py", DRAWN, "        try:\n            pictures = generator(block.randn(generator.latent))\n"
       "        except BaseException:\n            raise RuntimeError('no luck') from None\n"))  # fmt: skip
spoil("half a file", "stops", ("leaves files behind: half.txt", "the core writes"),
      ("samplers.py", DRAWN, "        import pathlib\n        half = pathlib.Path('half.txt')\n        half.touch()\n"
       f"{DRAWN}        half.unlink()\n"))  # fmt: skip
FITTED = """
    def fitted(self, generator, data, *, seed, track):
        return {"prior": {"mean": torch.VALUE}}
"""
WRITES = FITTED.replace("        return", "        next(generator.parameters()).add_(1)\n        return")
DECLARED = (
    "__init__.py",
    'through the averaged generator",',
    'through the averaged generator", fitted=True,',
)
spoil("a sampler that is fitted to nothing", "fitted", "keeps nothing for prior, which declares fitted=True",
      DECLARED)  # fmt: skip
spoil("a fit by chance", "fitted", ("comes out otherwise the second time", "prior (mean)"),
      DECLARED, ("trainer.py", RESULT, RESULT + FITTED.replace("VALUE", "tensor(np.random.randn(3))")),
      ("trainer.py", "import torch\n", "import numpy as np\nimport torch\n"))  # fmt: skip
spoil("a fit that writes", "fitted", "changes",
      DECLARED, ("trainer.py", RESULT, RESULT + WRITES.replace("VALUE", "ones(3)")))  # fmt: skip


# What is unusual, but right.
HARMLESS: dict[str, tuple[str, tuple[Edit, ...]]] = {
    "bfloat16 weights that it can": ("bfloat16-weights", (Edit(*BFLOAT16),)),
    "one sample a block": (
        "output sample-independent neighbours leaves-no-trace stops",
        (Edit("__init__.py", '        summary="latents from', '        block=1, summary="latents from'),),
    ),
    "a generator that is trained every sixth step": (
        "moves deterministic resumes",
        (
            Edit("trainer.py", "        self.generator_optimizer.step()\n",
                 "        if self.engine.step % 6 == 5:\n            self.generator_optimizer.step()\n"),
            Edit("trainer.py", UPDATE, f"        if self.engine.step % 6 == 5:\n    {UPDATE}"),
        ),
    ),
    "for sampling only": (
        "params options builds smoke output neighbours stops",
        (
            Edit("__init__.py", '            trainer="aigc_mutant.dcgan:DCGANTrainer",\n', ""),
            Edit("__init__.py", '            trainer_config="aigc_mutant.config:DCGANTraining",\n', ""),
        ),
    ),
    # Colour pictures with labels alone, options within narrow bounds or out of a few numbers, a sampler that needs
    # a label, a library that warns, has a cache and pickles for its own use, a thread that ends by itself.
    "hard to please": (
        "",
        (
            Edit("__init__.py", "smallest=(1, 8, 8)", "smallest=(3, 12, 9)"),
            Edit("__init__.py", "largest=(4, 64, 64)", "largest=(3, 24, 24), labels=True"),
            Edit("__init__.py", "0.4 M at 1x28x28", "0.13 M at 3x12x12"),
            Edit("__init__.py", '        summary="latents from', '        needs=("label",), summary="latents from'),
            Edit("__init__.py", SPEC_END,
                 '            samplers={"prior": prior, "plain": dataclasses.replace(prior, needs=())},\n'),
            Edit("__init__.py", "from typing import TYPE_CHECKING", "import dataclasses\nfrom typing import TYPE_CHECKING"),
            Edit("config.py", "    width: int = ", "    width: Literal[8, 24] = "),
            Edit("config.py", "24, ge=4, le=1024, ", "24, "),
            Edit("config.py", "    lr: float = Field(5e-4, gt=0, ", """\
    batch_size: int = Field(64, ge=12, description="pictures a step")
    lr: float = Field(5e-4, ge=1e-6, """),
            Edit("samplers.py", NOISE, f"{NOISE} + (0 if block.labels is None else block.labels[:, None])"),
            Edit("trainer.py", STEP, f"""\
        import os, pathlib, threading, time, warnings
        warnings.warn("all will be otherwise one day", FutureWarning)
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        cache.mkdir(exist_ok=True)
        (cache / "kernels").touch()
        exec("import pickle; pickle.dumps(1)", {{"__name__": "torch._inductor.codecache"}})
        threading.Thread(target=time.sleep, args=(0.05,)).start()
{STEP}"""),
        ),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No other backend is tried, nothing is waited for, and what a mutation does to this process is undone."""
    monkeypatch.setenv("AIGC_PLUGINS", "mutant")
    monkeypatch.setattr(probe, "probe", tried_here)
    monkeypatch.setattr(training, "LEARN_STEPS", 100)
    monkeypatch.setattr(runs, "GRACE", 0.5)
    threads, stream, handler = torch.get_num_threads(), torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    yield
    registry_module.discovered.cache_clear()  # what was found while only the mutant counted
    torch.set_num_threads(threads), torch.set_rng_state(stream), signal.signal(signal.SIGINT, handler)
    for name in [name for name in sys.modules if name.partition(".")[0] == "aigc_mutant"]:
        del sys.modules[name]


def tried_here(points: Sequence[EntryPoint], limit: float) -> dict[EntryPoint, Verdict]:
    """The trial of a new backend without the process of its own, which takes longer than most checks."""
    problems = {point: probe._problem(point) for point in points}
    return {point: Verdict(BROKEN if problem else OK, 0.0, problem) for point, problem in problems.items()}


def install(site: Site, *edits: Edit) -> None:
    """Puts the backend `mutant` into a site folder, as an installer would, with edits."""
    package, info = site.path / "aigc_mutant", site.path / "aigc_mutant-1.0.dist-info"
    package.mkdir(), info.mkdir()
    for name in MODULES:
        (package / name).write_text((SOURCE / name).read_text(encoding="utf-8"), encoding="utf-8")
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[aigc.v1]\nmutant = aigc_mutant\n")
    files = [f"aigc_mutant/{name}" for name in MODULES]
    files += [f"{info.name}/{name}" for name in ("METADATA", "entry_points.txt", "RECORD")]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for edit in edits:
        file = (package if edit.file.endswith(".py") else info) / edit.file
        text = file.read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"{edit.file} holds {text.count(edit.old)} times:\n{edit.old}"
        file.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    importlib.invalidate_caches()


def put_to(folder: Path, *checks: str) -> list[Outcome]:
    """The kit's outcomes for the backend `mutant`."""
    return list(outcomes(cases("mutant", folder, only=checks)))


def test_what_is_not_spoilt_passes_every_check(site: Site, tmp_path: Path) -> None:
    install(site)
    found = put_to(tmp_path / "check")
    assert not [f"{o.name}: {o.problem}" for o in found if not o.ok]
    assert {o.name.partition(" ")[0] for o in found} == set(all_checks())


def test_every_check_has_a_mutation() -> None:
    assert not set(all_checks()) - {check for mutation in MUTATIONS for check in mutation.words}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{' '.join(m.words)}: {m.name}")
def test_it_is_caught(mutation: Mutation, site: Site, tmp_path: Path) -> None:
    install(site, *mutation.edits)
    found = put_to(tmp_path / "check", *mutation.words)
    for check, words in mutation.words.items():
        caught = [o.problem for o in found if o.name.partition(" ")[0] == check and o.problem]
        assert caught, f"{check} does not catch it"
        for word in words:
            assert any(word in problem for problem in caught), f"{word!r} is not said in {caught}"


@pytest.mark.filterwarnings("ignore:all will be otherwise")
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_right_is_let_pass(name: str, site: Site, tmp_path: Path) -> None:
    checks, edits = HARMLESS[name]
    install(site, *edits)
    found = put_to(tmp_path / "check", *checks.split())
    assert not [f"{o.name}: {o.problem}" for o in found if not o.ok]
    assert {o.name.partition(" ")[0] for o in found} == set(checks.split() or all_checks())


@pytest.mark.parametrize(
    ("needs", "shape"),
    [
        (DataNeeds(modality="image", smallest=(3, 12, 4), largest=(4, 16, 6)), (3, 12, 6)),
        (DataNeeds(modality="audio", smallest=(2, 256), largest=(2, 1000)), (2, 1000)),
        (DataNeeds(modality="audio", smallest=(1, 5000)), (1, 5000)),
        (DataNeeds(modality="text", largest=(16,)), (16,)),
        (DataNeeds(modality="text"), (64,)),
    ],
)
def test_real_data_are_brought_to_what_a_model_takes(
    needs: DataNeeds, shape: tuple[int, ...], tmp_path: Path, registry: Registry
) -> None:
    data, size = real_data(needs, registry, tmp_path)
    opened = open_data(data, registry, size=size)
    assert opened.info.shape == shape
    assert bool(opened.info.classes) == (needs.modality != "text")
    items = opened.fetch(torch.arange(8))[0].float()
    assert items.std(dim=0).mean() > 0


def test_what_comes_from_the_sources_is_not_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, place = tmp_path / "source", tmp_path / "source" / "check" / "installed here"
    place.mkdir(parents=True)
    for folder, name in ((source, "forgotten_by_the_wheel"), (place, "held_by_the_wheel")):
        (folder / f"{name}.py").touch()
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.import_module(name)
    assert rehearsal._imported_from(str(source), str(place)) == ["forgotten_by_the_wheel"]
    assert rehearsal._imported_from("", str(place)) == []


def test_what_is_not_a_number_is_named_once_and_not_taken_for_chance(site: Site, tmp_path: Path) -> None:
    network = "        pictures: Tensor = self.layers(grid)"
    install(site, Edit("dcgan.py", network, f"{network} * float('nan')"))
    names = ("saves", "resumes", "deterministic", "sample-independent", "neighbours", "output", "step")
    failed = {o.name.split()[0] for o in put_to(tmp_path / "check", *names) if not o.ok}
    assert failed == {"output", "step"}
