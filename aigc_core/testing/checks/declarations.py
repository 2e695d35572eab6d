"""What a model says of itself, in its spec and its option schemas."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from aigc_core.errors import UsageError
from aigc_core.options import Options, check_options, parse
from aigc_core.specs import CAPABILITIES, CONDITIONS
from aigc_core.testing.kit import Failed, check, doing, require
from aigc_core.testing.subject import Bench

if TYPE_CHECKING:
    from aigc_core.weights.file import Fitted

PARAMS = re.compile(r"([\d.]+) ?([kMBG]?) (?:at|for) (\d+(?:x\d+)*)")
PART = re.compile(r"[^/\s]+/[^/\s]+")
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}


@check("declares", "model")
def declares(bench: Bench, model_id: str) -> None:
    """Its summary, licence, data, samplers, conditions and capabilities are there and are known words."""
    spec = bench.registry.models[model_id]
    require(bool(spec.summary.strip()) and "\n" not in spec.summary and len(spec.summary) <= 100,
            "its summary must be one line of at most 100 characters")  # fmt: skip
    require(bool(spec.license.strip()), "it names no licence; give an SPDX identifier, as `MIT`")
    require(
        spec.data.modality == spec.modality,
        f"it is for {spec.modality}, but its data is {spec.data.modality}",
    )
    low, high = spec.data.smallest, spec.data.largest
    require(
        len(low) == len(high) or not low or not high, "data: smallest and largest have different dimensions"
    )
    require(
        all(a <= b for a, b in zip(low, high, strict=False)), f"data: smallest {low} exceeds largest {high}"
    )
    require(bool(spec.samplers), "it has no sampler")
    for word, known in ((spec.conditions, CONDITIONS), (spec.capabilities, CAPABILITIES)):
        unknown = set(word) - set(known)
        require(not unknown, f"declares {', '.join(sorted(unknown))!r}; known words: {', '.join(known)}")
    for name, sampler in spec.samplers.items():
        require(sampler.block >= 1, f"sampler {name}: its block must be at least 1")
        require(bool(sampler.summary.strip()), f"sampler {name}: its summary is empty")
        for part in sampler.parts.values():
            told = f"sampler {name}: its part {part!r} is no model; name it as family/name"
            require(bool(PART.fullmatch(part)), told)
        for verb, named in (("needs", sampler.needs), ("takes", sampler.takes)):
            told = f"sampler {name} {verb} {', '.join(named)}; known: {CONDITIONS}"
            require(set(named) <= set(CONDITIONS), told)


@check("params", "model")
def params(bench: Bench, model_id: str) -> None:
    """The number of parameters that it declares is true to a tenth, at the shape that it names."""
    spec = bench.registry.models[model_id]
    if spec.params is None:
        return
    match = PARAMS.search(spec.params)
    require(match is not None, f"params {spec.params!r} must be like `1.1 M at 1x28x28`")
    assert match is not None
    import torch

    info = bench.info(model_id, tuple(int(n) for n in match[3].split("x")))
    try:
        with torch.device("meta"):  # the largest models are counted without their memory
            generator = bench.build(model_id, info)
    except Exception:
        generator = bench.build(model_id, info)
    count = sum(p.numel() for p in generator.parameters())
    said = float(match[1]) * UNITS[match[2]]
    require(abs(count - said) <= max(0.1 * count, 0.5 * UNITS[match[2]] * 10 ** -_decimals(match[1])),
            f"it declares {spec.params}, but has {count:,} parameters")  # fmt: skip


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


@check("options", "model")
def options(bench: Bench, model_id: str) -> None:
    """Every option says what it is and has bounds; defaults are valid; what is unknown or out of bounds is
    refused; its JSON Schema says the same. An option that names weights is an empty text where it names none."""
    model = bench.model(model_id)
    schemas: dict[str, type[Options]] = {"model": model.config, "training": model.trainer_config}
    for name in model.spec.samplers:
        schemas[f"sampler {name}"] = model.sampler_config(name)
    for part, schema in schemas.items():
        _check_schema(part, schema)
    check_options(model, {})  # no name is in both
    for name, sampler in model.spec.samplers.items():
        for option in sampler.parts:
            default = getattr(model.sampler_config(name)(), option, None)
            require(
                default == "",
                f"sampler {name}: its part {option!r} must be an option, a text, empty by default",
            )


def _check_schema(part: str, schema: type[Options]) -> None:
    from pydantic import ValidationError

    try:
        defaults = schema()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise Failed(f"{part}: the default of option {name!r} is not valid: {first['msg']}") from error
    dumped = json.loads(json.dumps(defaults.model_dump(mode="json")))
    require(schema.model_validate(dumped) == defaults, f"{part}: options do not survive JSON and back")
    document = json.loads(json.dumps(schema.model_json_schema()))
    require(
        document.get("additionalProperties") is False,
        f"{part}: unknown options are not refused (extra='forbid')",
    )
    require(bool(schema.model_config.get("frozen")), f"{part}: options must be frozen")
    try:
        parse({part: schema}, {"no_such_option_at_all": 1}, part)
    except UsageError:
        pass
    else:
        raise Failed(f"{part}: an unknown option is accepted")
    for name, entry in document.get("properties", {}).items():
        require(
            bool(entry.get("description")), f"{part}: option {name!r} says nothing; give it a description"
        )
        for kind in _numbers(entry):
            _check_bounds(f"{part}: option {name!r}", name, kind, schema)


def _numbers(entry: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [entry, *entry.get("anyOf", [])]
    chosen = ("enum", "const")  # one of a few numbers: that bounds it
    return [p for p in parts if p.get("type") in ("integer", "number") and not any(k in p for k in chosen)]


def _check_bounds(what: str, name: str, entry: dict[str, Any], schema: type[Options]) -> None:
    low = entry.get("minimum", entry.get("exclusiveMinimum"))
    require(low is not None, f"{what} has no lower bound; give it ge= or gt=")
    assert low is not None
    step = 1 if entry["type"] == "integer" else max(abs(low), 1.0)
    high = entry.get("maximum", entry.get("exclusiveMaximum"))
    for value in (
        low - step,
        *([high + (1 if entry["type"] == "integer" else abs(high) + 1)] if high is not None else []),
    ):
        try:
            parse({"p": schema}, {name: value}, "check")
        except UsageError:
            continue
        raise Failed(f"{what}: {value}, out of its bounds, is accepted")


@check("options-light", "model")
def options_light(bench: Bench, model_id: str) -> None:
    """Its option schemas are imported without torch, so that help and checks cost nothing."""
    spec = bench.registry.models[model_id]
    paths = {spec.config, *([spec.trainer_config] if spec.trainer_config else [])}
    paths |= {s.config for s in spec.samplers.values()}
    code = (
        "import importlib, json, sys\n"
        "for path in json.loads(sys.argv[1]):\n"
        "    module, _, name = path.partition(':'); getattr(importlib.import_module(module), name)\n"
        "print(','.join(m for m in ('torch', 'numpy', 'accelerate', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sorted(paths))], capture_output=True, text=True, timeout=120
    )
    require(done.returncode == 0, f"its option schemas can't be imported alone: {done.stderr.strip()[-200:]}")
    heavy = done.stdout.strip().splitlines()[-1:]
    require(
        not "".join(heavy),
        f"importing its option schemas imports {''.join(heavy)}; put them into a module without",
    )


@check("builds", "model")
def builds(bench: Bench, model_id: str) -> None:
    """It is built for every size that it declares, odd ones too, and says that it makes just that."""
    import torch

    spec = bench.registry.models[model_id]
    state = torch.get_rng_state()
    for shape in bench.shapes(model_id):
        text = "x".join(map(str, shape))
        with doing(f"it can't be built for {text}; mend that, or narrow its data's smallest and largest"):
            generator = bench.build(model_id, bench.info(model_id, shape))
        require(
            generator.output.fits(shape),
            f"built for {text}, its output is {generator.output.shape}",
        )
        require(generator.output.modality == spec.modality, f"its output is {generator.output.modality}")
        require(
            generator.output.low < generator.output.high, "its output has no range: low must be below high"
        )
        require(any(True for _ in generator.parameters()), "it has no parameters")
        with torch.random.fork_rng():
            for name in bench.samplers(model_id):
                details = bench.model(model_id).sampler_spec(name)[1]
                if not details.needs and not details.fitted and _small(shape):
                    with doing(f"sampler {name} fails at {text}"):
                        values = bench.draw(model_id, name, generator.eval(), size=2)
                    require(
                        len(values) == 2 and generator.output.fits(tuple(values.shape[1:])),
                        f"sampler {name} at {text} gives {tuple(values.shape)}, not {(2, *shape)}",
                    )
    torch.set_rng_state(state)


def _small(shape: tuple[int, ...]) -> bool:
    import math

    return math.prod(shape) <= 1 << 15


@check("smoke", "model")
def smoke(bench: Bench, model_id: str) -> None:
    """It trains for two steps at its smallest size and samples what is finite: the trial that an install makes."""
    import torch

    from aigc_core.testing.checks.sampling import sounding

    spec = bench.registry.models[model_id]
    smallest = bench.shapes(model_id)[0]
    data = bench.items(model_id, smallest)
    what = f"at its smallest size, {'x'.join(map(str, smallest))},"
    fitted: Fitted = {}
    if spec.trainer is None:
        with doing(f"{what} it can't be built"):
            generator = bench.build(model_id, data.info)
    else:
        with doing(f"{what} it can't be trained; mend that, or declare a larger one"):
            trainer, engine = bench.make(model_id, data.info)
            told = bench.steps(trainer, engine, data, 0, 2)
            generator = trainer.result()
            fitted = bench.fit_samplers(model_id, trainer, generator, data)
        for metrics in told:
            for name, value in metrics.items():
                require(bool(torch.isfinite(torch.as_tensor(value)).all()), f"metric {name!r} is not finite")
    for name in bench.samplers(model_id):
        if not spec.samplers[name].needs:
            with doing(f"{what} sampler {name} fails"):
                own = fitted.get(name, {})
                values = bench.draw(model_id, name, generator.eval(), size=2, fitted=own)
            shape = (2, *generator.output.shape)
            fits = len(values) == 2 and generator.output.fits(tuple(values.shape[1:]))
            require(fits, f"sampler {name} gives {tuple(values.shape)}, not {shape}")
            finite = bool(torch.isfinite(sounding(values, generator.output).float()).all())
            require(finite, f"sampler {name} gives what is not finite")
