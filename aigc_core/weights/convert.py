"""The same weights in another precision, as a version of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aigc_core.errors import UsageError
from aigc_core.sampling import golden
from aigc_core.sampling.request import in_precision
from aigc_core.weights.file import encode, load
from aigc_core.weights.layout import check_name
from aigc_core.weights.store import Store

if TYPE_CHECKING:
    from aigc_core.registry import Registry
    from aigc_core.weights.version import Version

KEPT: Final = ("int8",)
"""The precisions that weights can be kept in, beside the one that they are trained in."""


def convert(
    reference: str, precision: str, name: str | None, registry: Registry, remarks: list[str]
) -> Version:
    """Keeps weights in a precision as the next version of a name, by default their own with `-int8`.

    The record names the weights that they were made of as parents. Raises UsageError where the model has no such form.
    """
    if precision not in KEPT:
        raise UsageError(f"--precision must be one of {', '.join(KEPT)}, not {precision!r}")
    store = Store()
    weights = load(store.resolve(reference), registry)
    if weights.generator.config.model_dump().get("weights") == precision:
        raise UsageError(f"{reference} is of {precision} already")
    if name is None:
        if weights.name is None:
            raise UsageError(f"{reference} is a file: name what is made of it, --name N")
        name = f"{weights.name.partition('@')[0]}-{precision}"
    check_name(name)
    record = weights.record
    data = {key: record["data"][key] for key in ("name", "split", "digest", "count")}
    training = {**record["training"], "parents": [weights.tensors_digest], "converted": precision}
    made = in_precision(weights, precision).generator
    content, _ = encode(
        made, weights.model, data, training, license=record["license"], parameters=record["parameters"],
        fitted=weights.fitted,
    )  # fmt: skip
    return golden.publish(store, name, content, {}, registry, remarks)
