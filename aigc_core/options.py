"""Option schemas: one pydantic model a config gives flags, ranges, errors and JSON Schema.

A backend subclasses `Options` in a module that imports no torch, so that help and checks cost nothing.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aigc_core.errors import BackendError, UsageError, did_you_mean

if TYPE_CHECKING:
    from aigc_core.registry import Model

__all__ = ["Field", "Option", "Options", "TrainingOptions", "check_options", "describe", "parse"]


class Options(BaseModel):
    """A frozen record of options. Unknown names are refused; give each field a range and a description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )


class TrainingOptions(Options):
    """What every trainer can be told; a backend's trainer config subclasses it and sets its own defaults."""

    batch_size: int = Field(64, ge=1, le=65536, description="items a step, over all processes")
    lr: float = Field(2e-4, gt=0, le=10, description="learning rate")
    epochs: float = Field(5.0, gt=0, description="passes over the data, where --steps is not given")


@dataclass(frozen=True, slots=True)
class Option:
    """One option as a help page shows it."""

    name: str
    type: str
    default: Any
    limits: str
    help: str


_S = TypeVar("_S", bound=Options)


def describe(schema: type[Options]) -> list[Option]:
    """The options of a schema, in the order of their definition."""
    properties = schema.model_json_schema().get("properties", {})
    return [
        Option(name, _type(entry), entry.get("default"), _limits(entry), entry.get("description", ""))
        for name, entry in properties.items()
    ]


def _type(entry: Mapping[str, Any]) -> str:
    if "anyOf" in entry:
        return " | ".join(_type(part) for part in entry["anyOf"])
    if "enum" in entry:
        return " | ".join(str(value) for value in entry["enum"])
    if "const" in entry:
        return str(entry["const"])
    names = {"integer": "int", "number": "float", "string": "text", "boolean": "bool", "null": "none"}
    kind = entry.get("type", "value")
    return f"list of {_type(entry.get('items', {}))}" if kind == "array" else names.get(kind, kind)


def _limits(entry: Mapping[str, Any]) -> str:
    for part in entry.get("anyOf", ()):
        if limits := _limits(part):
            return limits
    low, above = entry.get("minimum"), entry.get("exclusiveMinimum")
    high, below = entry.get("maximum"), entry.get("exclusiveMaximum")
    parts = [f">= {low}" if low is not None else "", f"> {above}" if above is not None else ""]
    parts += [f"<= {high}" if high is not None else "", f"< {below}" if below is not None else ""]
    return ", ".join(part for part in parts if part)


def parse(schemas: Mapping[str, type[Options]], given: Mapping[str, Any], what: str) -> dict[str, Options]:
    """Sorts options given under one roof into the schemas that own them, and checks every value.

    `given` holds Python values or the strings of a command line (`"1e-4"`, `"true"`, `"1,2"`, `"none"`).
    `what` names their owner in messages (`model 'gan/dcgan'`). Returns one record a schema.
    Raises UsageError for an unknown name (with the nearest known one) or a value out of range, BackendError
    if two schemas have an option of one name.
    """
    owner: dict[str, str] = {}
    for part, schema in schemas.items():
        for name in schema.model_fields:
            if name in owner:
                raise BackendError(f"{what}: both its {owner[name]} and its {part} options have a {name!r}")
            owner[name] = part
    sorted_out: dict[str, dict[str, Any]] = {part: {} for part in schemas}
    for name, value in given.items():
        if name not in owner:
            hint = did_you_mean(name, list(owner)) or f"; there are: {', '.join(owner) or 'none'}"
            raise UsageError(f"{what} has no option {name!r}{hint}")
        field = schemas[owner[name]].model_fields[name]
        sorted_out[owner[name]][name] = _from_text(field.annotation, value)
    return {part: _validate(schema, sorted_out[part], what) for part, schema in schemas.items()}


def check_options(
    model: Model, given: Mapping[str, Any], epochs: float | None = None
) -> tuple[Options, TrainingOptions]:
    """The model's and its training's options; imports no torch. Raises UsageError as `parse` does."""
    for flag in ("steps", "seed", "name", "data"):
        if flag in given and flag not in {**model.config.model_fields, **model.trainer_config.model_fields}:
            raise UsageError(f"model {model.spec.id!r} has no option {flag!r}; did you mean --{flag}?")
    given = given if epochs is None else {**given, "epochs": epochs}
    schemas = {"model": model.config, "training": model.trainer_config}
    parsed = parse(schemas, given, f"model {model.spec.id!r}")
    training = parsed["training"]
    assert isinstance(training, TrainingOptions)
    return parsed["model"], training


def _validate(schema: type[_S], values: Mapping[str, Any], what: str) -> _S:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        reason = first["msg"][:1].lower() + first["msg"][1:]
        name = str(first["loc"][0]) if first["loc"] else ""
        option = next((o for o in describe(schema) if o.name == name), None)
        default = f" (default {option.default})" if option and option.default is not None else ""
        subject = f"option {path} = {values[name]!r}" if name in values else f"option {path}".rstrip()
        raise UsageError(f"{what}: {subject}: {reason}{default}") from None


def _from_text(annotation: Any, value: Any) -> Any:
    """A command line's text as pydantic expects it; pydantic itself turns "3" into 3 and "true" into True."""
    if not isinstance(value, str):
        return value
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        if value.lower() in ("none", "null") and type(None) in arguments:
            return None
        rest = [part for part in arguments if part is not type(None)]
        return _from_text(rest[0], value) if len(rest) == 1 else value
    if origin in (list, tuple, set, frozenset) or annotation in (list, tuple):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value
