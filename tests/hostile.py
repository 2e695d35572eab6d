"""Backends that do harm, each a real wheel: what is wrong with each, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers import good_backend
from wheels import wheel

HOOK = "from aigc_core import hookimpl\n@hookimpl\ndef "

NETWORKS = """
import math
import torch
from aigc_core.interfaces import Generator, Sampler, Trainer
from aigc_core.specs import Output

class Net(Generator):
    def __init__(self, config, data):
        super().__init__(config, data)
        self.layer = torch.nn.Linear(4, math.prod(data.shape))
    @property
    def output(self):
        return Output("image", self.data.shape, -1.0, 1.0)
    def forward(self, z):
        return self.layer(z).tanh().view(-1, *self.data.shape)

class Fit(Trainer):
    def __init__(self, generator, options, engine):
        super().__init__(generator, options, engine)
        self.network = engine.prepare(generator)
        self.optimizer = engine.optimizer(torch.optim.Adam(self.network.parameters(), options.lr))
    def step(self, batch):
        loss = (self.network(self.engine.randn(len(batch), 4)) - batch.x).square().mean()
        self.optimizer.zero_grad()
        self.engine.backward(loss)
        self.optimizer.step()
        return {"loss": loss.detach()}

class Draw(Sampler):
    def sample(self, generator, block):
        return generator(block.randn(4))
"""


def whole(name: str) -> dict[str, str]:
    """The files of a backend that works: a registration module and its networks."""
    module = f"aigc_{name.replace('-', '_')}"
    registration = f"""
from aigc_core import DataNeeds, ModelSpec, SamplerSpec, hookimpl

@hookimpl
def aigc_register_models(registry):
    registry.add(ModelSpec(
        id="{name}/net", summary="a model", modality="image", license="MIT",
        generator="{module}.nets:Net", config="aigc_core.options:Options", trainer="{module}.nets:Fit",
        data=DataNeeds(modality="image", smallest=(1, 8, 8), largest=(3, 32, 32)),
        samplers={{"prior": SamplerSpec(sampler="{module}.nets:Draw", config="aigc_core.options:Options", summary="p")}},
    ))
"""
    return {f"{module}/__init__.py": registration, f"{module}/nets.py": NETWORKS}


@dataclass(frozen=True)
class Hostile:
    """One of them."""

    name: str
    files: Mapping[str, str]
    reason: str
    """What an install says, and the kit."""
    state: str = "broken"
    """What a listing says of it, where it was installed by force; `ok` if it shows only when it is used."""
    more: Mapping[str, object] = field(default_factory=dict)
    """Arguments of `wheel`."""

    def wheel(self, folder: Path) -> Path:
        return wheel(folder, self.name, self.files, **self.more)  # type: ignore[arg-type]


def _simple(name: str, code: str, reason: str, state: str = "broken", **more: object) -> Hostile:
    return Hostile(name, {f"aigc_{name.replace('-', '_')}.py": code}, reason, state, more)


def _spoilt(name: str, old: str, new: str, reason: str) -> Hostile:
    files = whole(name)
    nets = f"aigc_{name.replace('-', '_')}/nets.py"
    assert files[nets].count(old) == 1
    return Hostile(name, {**files, nets: files[nets].replace(old, new)}, reason, "ok")


HOSTILE = [
    _simple("h-raises", "\n\nraise RuntimeError('no luck')", "RuntimeError: no luck"),
    _simple("h-exits", "import sys\nsys.exit(3)", "SystemExit: 3"),
    _simple("h-ends", "import os\nos._exit(0)", "importing it ends the process (exit code 0)"),
    _simple("h-crashes", "import ctypes\nctypes.string_at(0)", "importing it ends the process (SIGSEGV)"),
    _simple("h-interrupts", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    _simple("h-prints", "print('hello')\n" + good_backend("h-prints", "a"), "it prints on import: 'hello'"),
    _simple("h-shouts", "import os\nos.system('echo hello')\n" + good_backend("h-shouts", "a"), "it prints on import: 'hello'"),
    _simple("h-sleeps", "import time\ntime.sleep(30)\n" + good_backend("h-sleeps", "a"), "its import takes more than", "slow"),
    _simple("h-syntax", "def broken(:", "SyntaxError"),
    _simple("h-misses", "import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
    _simple("h-empty", "x = 1", "implements no hook"),
    _simple("h-twice", good_backend("h-twice", "a", "a"), "model 'h-twice/a' is registered already"),
    _simple("h-steals", good_backend("gan", "dcgan"), "model id 'gan/dcgan' must be of the form 'h-steals' + '/name'"),
    _simple("h-misspelt", HOOK + "aigc_register_model(registry): pass", "did you mean 'aigc_register_models'?"),
    _simple("h-argument", HOOK + "aigc_register_models(reg): pass", "aigc_register_models"),
    _simple("h-hook", HOOK + "aigc_register_models(registry): 1 / 0", "ZeroDivisionError"),
    _simple("h-spec", HOOK + "aigc_register_models(registry): registry.add({})", "takes a spec, not dict"),
    _simple("h-future", "raise AssertionError", "it is made for API 2, this core speaks API 1", "incompatible", group="aigc.v2"),
    _simple("h-schema", good_backend("h-schema", "a").replace("aigc_core.options:Options", "pathlib:Path"),
            "is no aigc_core.options.Options"),
    _simple("h-class", good_backend("h-class", "a").replace("interfaces:Generator", "interfaces:Nothing"),
            "defines no 'Nothing'"),
    _simple("h-nowhere", "x = 1", "No module named 'not_in_the_wheel'", entry="not_in_the_wheel"),
    _simple("h-digits", "from aigc_core import DatasetSpec, hookimpl\n@hookimpl\ndef aigc_register_datasets(registry):\n"
            "    registry.add(DatasetSpec(name='digits', summary='s', modality='image', license='x', source='pathlib:Path'))\n",
            "dataset 'digits' is registered already"),
    _spoilt("h-dies-late", "        return generator(block.randn(4))", "        import os; os._exit(0)",
            "its trial ended with exit code 0"),
    _spoilt("h-builds-not", "super().__init__(config, data)", "raise ValueError('too small')", "ValueError: too small"),
    _spoilt("h-shapeless", "        return generator(block.randn(4))", "        return generator(block.randn(4))[1:]",
            "sampler prior gives (1, 1, 8, 8), not (2, 1, 8, 8)"),
    _spoilt("h-nan", "loss.detach()}", "loss.detach() * float('nan')}", "metric 'loss' is not finite"),
    _spoilt("h-needs", "import math", "import math, a_library_nobody_has", "No module named 'a_library_nobody_has'"),
]  # fmt: skip
"""What an install refuses after it has tried it."""


FOUL = [
    Hostile("h-overwrites", {**whole("h-overwrites"), "aigc_core/registry.py": "raise SystemExit"}, "it would overwrite"),
    Hostile("h-hooks-in", {**whole("h-hooks-in"), "h_hooks_in.pth": "import os\n"},
            "which Python would run at every start"),
    Hostile("h-core", whole("h-core"), "can't be installed here", more={"requires": ("aigc-core==0.0.1",)}),
    Hostile("h-python", whole("h-python"), "can't be installed here",
            more={"requires": ("aigc-core<0.2", "no-such-library-of-anyone")}),
    Hostile("h-poses", whole("h-poses"), "bin/aigc, which is not its own",
            more={"scripts": "[console_scripts]\naigc = aigc_h_poses:main\n"}),
    Hostile("h-none", {"aigc_h_none.py": ""}, "is no backend", more={"group": ""}),
    _simple("h-gan", good_backend("gan", "dcgan"), "is offered by aigc-gan, which is installed", family="gan"),
]  # fmt: skip
"""What an install refuses before, or that would harm by being there."""
