"""Option schemas: text becomes values, and what is wrong is said in one line."""

from __future__ import annotations

from typing import Literal

import pytest

from aigc_core.errors import BackendError, UsageError
from aigc_core.options import Field, Options, TrainingOptions, describe, parse


class Model(Options):
    width: int = Field(8, ge=1, le=64, description="channels")
    hidden: tuple[int, ...] = Field((4, 2), description="widths")
    kind: Literal["a", "b"] = Field("a", description="which")
    rate: float | None = Field(None, gt=0, lt=1, description="or none")
    deep: bool = Field(False, description="deeper")


SCHEMAS = {"model": Model, "training": TrainingOptions}


def test_text_of_a_command_line_becomes_values() -> None:
    given = {"width": "16", "hidden": "3,2,1", "kind": "b", "rate": "1e-2", "deep": "true", "lr": "0.5"}
    parsed = parse(SCHEMAS, given, "model 'x'")
    assert parsed["model"] == Model(width=16, hidden=(3, 2, 1), kind="b", rate=0.01, deep=True)
    assert parsed["training"] == TrainingOptions(lr=0.5)


def test_none_is_none_only_where_it_may_be() -> None:
    assert parse(SCHEMAS, {"rate": "none"}, "x")["model"] == Model()
    with pytest.raises(UsageError, match="option width = 'none': input should be a valid integer"):
        parse(SCHEMAS, {"width": "none"}, "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": "1"}, "model 'x' has no option 'widht'; did you mean 'width'"),
        ({"zzz": "1"}, "there are: width, hidden"),
        ({"width": "0"}, "width = '0': input should be greater than or equal to 1 (default 8)"),
        ({"width": "65"}, "less than or equal to 64"),
        ({"width": "many"}, "valid integer"),
        ({"kind": "c"}, "should be 'a' or 'b'"),
        ({"rate": "nan"}, "finite"),
        ({"rate": "inf"}, "finite"),
        ({"hidden": "1,x"}, "hidden.1"),
        ({"lr": "-1"}, "greater than 0"),
    ],
)
def test_what_is_wrong_is_named_with_its_bounds(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(SCHEMAS, given, "model 'x'")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_schema_describes_itself() -> None:
    shown = {o.name: (o.type, o.default, o.limits) for o in describe(Model)}
    assert shown["width"] == ("int", 8, ">= 1, <= 64")
    assert shown["hidden"] == ("list of int", [4, 2], "")
    assert shown["kind"] == ("a | b", "a", "")
    assert shown["rate"] == ("float | none", None, "> 0, < 1")
    assert shown["deep"] == ("bool", False, "")


def test_options_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Model().width = 3  # type: ignore[misc]


def test_two_schemas_with_an_option_of_one_name_are_refused() -> None:
    with pytest.raises(BackendError, match="both its one and its two options have a 'width'"):
        parse({"one": Model, "two": Model}, {}, "x")
